"""Positions along the axes of a volume in HDF5: scales of its dimensions, or fields of a group of class NXdata."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tomostain.io.metadata.nexus_groups import text_of
from tomostain.io.metadata.placement import Placement, along_axes
from tomostain.io.metadata.units import to_um, unit_um

if TYPE_CHECKING:
    import h5py
    from numpy.typing import NDArray

_LONGEST_AXIS = 10**6


def step_um(axis: "h5py.Dataset | None", size: int) -> float | None:
    """Return the step of evenly spaced positions in µm; None without a unit or if they are uneven."""
    positions = _positions(axis, size)
    if axis is None or positions is None:
        return None
    step = (positions[-1] - positions[0]) / (size - 1)
    if not np.allclose(np.diff(positions), step, rtol=0.01, atol=0):
        return None
    return to_um(abs(float(step)), text_of(axis.attrs.get("units", "")))


def placement_along(axes: "Sequence[h5py.Dataset | None]", sizes: Sequence[int]) -> Placement | None:
    """Return where a volume lies, by the positions of its voxels along z, y and x.

    Parameters
    ----------
    axes : sequence of h5py.Dataset or None
        Positions along z, y and x, one group of three after another. The first group that states all of them counts.
    sizes : sequence of int
        Their lengths.

    Returns
    -------
    Placement or None
        In µm; an axis of decreasing positions has the other direction. None unless all three are stated evenly, with
        units of length.
    """
    for first in range(0, len(axes), 3):
        ends = [_ends_um(axis, size) for axis, size in zip(axes[first : first + 3], sizes, strict=True)]
        z, y, x = ends
        if z is not None and y is not None and x is not None:
            signs = [-1.0 if last < start else 1.0 for start, last in (z, y, x)]
            return along_axes((z[0], y[0], x[0]), (signs[0], signs[1], signs[2]))
    return None


def _ends_um(axis: "h5py.Dataset | None", size: int) -> tuple[float, float] | None:
    """Return the first and the last of evenly spaced positions, µm."""
    positions = _positions(axis, size)
    if axis is None or positions is None or step_um(axis, size) is None:
        return None
    factor = unit_um(text_of(axis.attrs.get("units", ""))) or 0.0
    return float(f"{positions[0] * factor:.12g}"), float(f"{positions[-1] * factor:.12g}")


def _positions(axis: "h5py.Dataset | None", size: int) -> "NDArray[np.float64] | None":
    if axis is None or getattr(axis, "shape", None) != (size,) or not 1 < size <= _LONGEST_AXIS:
        return None
    if axis.dtype.kind not in "iuf":
        return None
    positions = np.asarray(axis[()], dtype=float)
    return positions if np.isfinite(positions).all() else None
