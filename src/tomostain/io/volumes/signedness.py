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
    stated = np.ravel(attributes.get("_Unsigned", ""))
    text = stated[0].decode(errors="replace") if isinstance(stated[0], bytes) else str(stated[0])
    is_unsigned = text.strip().lower() == "true"
    is_signed = text.strip().lower() == "false"
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
