"""Whole numbers whose sign is stated next to them: the type of the array is another one than that of the values."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.io.volumes.base import Source

_BIGDATAVIEWER = re.compile(r"/?t\d{5}/s\d{2,}/\d+/cells")


def with_stated_sign(source: Source, attributes: Mapping[str, Any], name: str = "") -> Source:
    """Return a source of the values that are meant by an array of whole numbers.

    The attribute ``_Unsigned`` (netCDF) states that signed values are unsigned, or the inverse. BigDataViewer stores
    unsigned values of 16 bits as signed ones, because older versions of its HDF5 library had no others.

    Parameters
    ----------
    source : Source
        Of the stored values.
    attributes : mapping
        Of the array.
    name : str
        Path of the array in its file.
    """
    stated = _text(attributes.get("_Unsigned", ""))
    is_unsigned, is_signed = stated == "true", stated == "false"
    if source.dtype == np.int16 and _BIGDATAVIEWER.fullmatch(name):
        is_unsigned = True
    kind = source.dtype.kind
    if not ((kind == "i" and is_unsigned) or (kind == "u" and is_signed)):
        return source
    other = "u" if kind == "i" else "i"

    def read(start: int, stop: int) -> NDArray[Any]:
        values = np.ascontiguousarray(source.read(start, stop))
        return values.view(values.dtype.str.replace(kind, other))

    return replace(source, dtype=np.dtype(source.dtype.str.replace(kind, other)), read=read)


def _text(value: object) -> str:
    """Return an attribute in lower case, also one of a single element; "" for other lists and arrays."""
    if isinstance(value, np.ndarray | list | tuple):
        if len(items := np.asarray(value, dtype=object).ravel()) != 1:
            return ""
        value = items[0]
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return text.strip().lower()
