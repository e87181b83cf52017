"""Where a stained volume begins in the µCT that a slide was registered to."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tomostain.io.metadata.placement import Placement

Triple = tuple[float, float, float]
_RESAMPLED_VOXELS = 4
"""Resampling moves the first voxel by fewer voxels. A larger distance is a position that a file states."""


def stated_origin_um(stated: object) -> Triple:
    """Return ``origin_um`` of a part of a provenance; 0 if it states none."""
    values = stated.get("origin_um") if isinstance(stated, Mapping) else None
    if not isinstance(values, Sequence) or len(values) != 3:
        return (0.0, 0.0, 0.0)
    z, y, x = (float(value) for value in values)
    return (z, y, x) if np.isfinite((z, y, x)).all() else (0.0, 0.0, 0.0)


def offset_between(
    placement: Placement, volume_origin_um: Sequence[float] | NDArray[np.float64], voxel_um: Triple, recorded_um: Triple
) -> Triple:
    """Return where a volume with a placement begins, µm along its axes from the first voxel of another volume.

    Parameters
    ----------
    placement : Placement
    volume_origin_um : sequence of float
        Where the other volume begins, along the same axes; 0 if its file states no position.
    voxel_um : tuple of float
    recorded_um : tuple of float
        The offset in the provenance. It is returned if the other volume states no position, but the file that was
        stained did.
    """
    difference = np.subtract(placement.along_axes_um, volume_origin_um)
    far = np.abs(difference - recorded_um) > _RESAMPLED_VOXELS * max(voxel_um)
    if far.any() and not np.any(volume_origin_um):
        return recorded_um
    z, y, x = (float(value) for value in difference)
    return z, y, x
