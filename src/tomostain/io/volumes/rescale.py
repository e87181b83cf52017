"""Grey values that are stored as whole numbers, with a scale and an offset stated next to them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.volumes.base import Source


@dataclass(frozen=True)
class Rescale:
    """The values of a volume are ``slope * stored + intercept``.

    Attributes
    ----------
    slope, intercept : float
    source : str
        What states them, for messages.
    """

    slope: float = 1.0
    intercept: float = 0.0
    source: str = ""

    @property
    def is_identity(self) -> bool:
        """Whether the values are those that are stored."""
        return self.slope == 1.0 and self.intercept == 0.0


_NAMES = (
    ("scale_factor", "add_offset"),
    ("scaling_factor", "offset"),
    ("rescaleslope", "rescaleintercept"),
    ("rescale_slope", "rescale_intercept"),
    ("scl_slope", "scl_inter"),
)

IDENTITY: Rescale = Rescale()


def rescale_of(path: Path, slope: object, intercept: object, source: str) -> Rescale:
    """Return a scale and an offset as a file states them; None for one that it does not state.

    Raises
    ------
    InputError
        If they are not finite numbers, or the scale is 0.
    """
    try:
        values = [float(np.asarray(value).item()) for value in (1.0 if slope is None else slope, intercept or 0.0)]
    except (TypeError, ValueError):
        values = [math.nan, math.nan]
    if not all(map(math.isfinite, values)) or values[0] == 0:
        raise InputError(
            f"{path}: states a scale of {_short(slope)} and an offset of {_short(intercept)} for its values "
            f"({source}), which are not understood; correct or remove them"
        )
    return Rescale(values[0], values[1], source)


def stated_rescale(path: Path, attributes: Mapping[str, Any]) -> Rescale:
    """Return the scale and the offset that attributes of an array state.

    Known are ``scale_factor`` and ``add_offset`` (CF conventions: netCDF, xarray), ``scaling_factor`` and ``offset``
    (NeXus), and the slope and intercept of DICOM and NIfTI. An offset alone is only known in the first.

    Raises
    ------
    InputError
        As `rescale_of`.
    """
    by_name = {
        str(name).lower(): value for name, value in attributes.items() if np.asarray(value, dtype=object).size == 1
    }
    for slope, intercept in _NAMES:
        if slope in by_name or (intercept in by_name and intercept == "add_offset"):
            is_nifti = slope == "scl_slope" and not np.any(by_name[slope])  # 0: not scaled
            if not is_nifti:
                return rescale_of(path, by_name.get(slope), by_name.get(intercept), slope)
    return IDENTITY


def _short(value: object) -> str:
    return " ".join(str(value).split())[:40]


def rescaled(source: Source, rescale: Rescale) -> Source:
    """Return a source of the values that are meant, as float32; unchanged if they are those that are stored."""
    if rescale.is_identity:
        return source

    def read(start: int, stop: int) -> NDArray[Any]:
        values = np.asarray(source.read(start, stop)).astype(np.float64)
        return np.asarray(values * rescale.slope + rescale.intercept, dtype=np.float32)

    return replace(source, dtype=np.dtype(np.float32), read=read, bits=None)
