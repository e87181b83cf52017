"""Values that stand for "no data": ``_FillValue`` and ``missing_value`` of the CF conventions (netCDF, xarray)."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.volumes.base import Source

_NAMES = ("_FillValue", "missing_value")


def without_fill_values(path: Path, source: Source, attributes: Mapping[str, Any]) -> Source:
    """Return a source that refuses to read voxels of which the attributes of its array state that they hold no data.

    They are not grey values, and no grey value is known for them. Zeros are read, as everywhere where data are missing;
    NaN is left to the checks of values that are not finite. Apply it to the stored values, before a scale.

    Raises
    ------
    InputError
        When slices with such voxels are read, or if the attribute is no number.
    """
    fills = {value: name for name in _NAMES for value in _numbers(path, name, attributes.get(name))}
    if not fills:
        return source

    def read(start: int, stop: int) -> NDArray[Any]:
        values = np.asarray(source.read(start, stop))
        for value, name in fills.items():
            is_fill = values == value
            if is_fill.any():
                slices = np.flatnonzero(is_fill.any(axis=(1, 2)))
                raise InputError(
                    f"{path}: {is_fill.sum()} voxels hold no data (value {value:g}, stated by {name}; first in slice "
                    f"{start + slices[0]}); crop them, or replace them by the grey value of the background and remove "
                    "the attribute"
                )
        return values

    return replace(source, read=read)


def _numbers(path: Path, name: str, stated: Any) -> list[float]:
    """Return the values of an attribute except 0 and NaN. xarray writes numbers to Zarr 3 as base64 of 8 bytes."""
    if stated is None:
        return []
    try:
        if isinstance(stated, str) and stated.lower() != "nan":
            stated = np.frombuffer(base64.b64decode(stated, validate=True), "<f8")
        values = np.asarray(stated, dtype=np.float64).ravel().tolist()
    except (TypeError, ValueError, binascii.Error):
        text = " ".join(str(stated).split())[:40]
        raise InputError(f"{path}: its {name} '{text}' is not a number; correct or remove the attribute") from None
    return [value for value in values if value == value and value != 0]
