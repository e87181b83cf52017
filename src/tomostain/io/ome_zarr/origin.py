"""Where a stained volume begins in the µCT that a slide was registered to."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tomostain.io.metadata.placement import Placement

Triple = tuple[float, float, float]
_RESAMPLED_VOXELS = 4
"""Resampling to smaller voxels moves the first voxel back by fewer voxels. A larger distance is a stated position."""


def stated_origin_um(stated: object) -> Triple:
    """Return ``origin_um`` of a part of a provenance; 0 if it states none."""
    values = stated.get("origin_um") if isinstance(stated, Mapping) else None
    if not isinstance(values, Sequence) or len(values) != 3:
        return (0.0, 0.0, 0.0)
    z, y, x = (float(value) for value in values)
    return (z, y, x) if np.isfinite((z, y, x)).all() else (0.0, 0.0, 0.0)


def offset_between(
    placement: Placement,
    recorded_um: Triple,
    other_um: Sequence[float] | NDArray[np.float64],
    other_region_um: Sequence[float] | NDArray[np.float64] | None,
    voxel_um: Triple,
    resampled_um: Sequence[float] | NDArray[np.float64] | None = None,
) -> Triple:
    """Return where a volume with a placement begins, µm along its axes from the first voxel of another volume.

    The positions that the two files state are compared only if both state one, or if the one that is stated can come
    from `resample`. Otherwise one file is a copy that lost its position.

    Parameters
    ----------
    placement : Placement
    recorded_um : tuple of float
        The offset in the provenance: of a region, and of resampling.
    other_um : sequence of float
        Where the other volume begins, along the same axes; 0 if its file states no position and it is no region.
    other_region_um : sequence of float, optional
        The part of it that is due to a region, 0 for a whole volume. By default it is not known.
    voxel_um : tuple of float
    resampled_um : sequence of float, optional
        Half of how much larger the voxels of the file are than those of the other one: the distance of the first voxels
        if one is a resampled copy of the other. By default the sizes are not known.
    """
    recorded, other = np.array(recorded_um, np.float64), np.array(other_um, np.float64)
    is_zero = functools.partial(np.allclose, 0.0, rtol=0, atol=min(voxel_um) / 1000)
    stated = np.subtract(placement.along_axes_um, recorded)
    unknown = other if is_zero(stated) else np.zeros(3)
    region = unknown if other_region_um is None else np.array(other_region_um, np.float64)
    other_stated = other - region
    is_resampled = resampled_um is not None and is_zero(stated - other_stated - resampled_um)
    if is_zero(other_stated):
        # An older version did not record the region: its position is then all that is known of it.
        may_be_region = not is_zero(region) and is_zero(recorded)
        is_near = resampled_um is None and _is_of_resampling(stated, voxel_um)
        is_compared = may_be_region or is_resampled or is_near
    elif is_zero(stated):
        is_near = bool((other_stated >= 0).all()) and _is_of_resampling(other_stated, voxel_um)
        is_compared = is_resampled or (resampled_um is None and is_near)
    else:
        is_compared = True
    z, y, x = (float(value) for value in recorded - region + (stated - other_stated) * is_compared)
    return z, y, x


def _is_of_resampling(stated_um: NDArray[np.float64], voxel_um: Triple) -> bool:
    """Return whether a position can be that of a resampled volume: half the difference of the two voxel sizes."""
    voxels = stated_um / voxel_um
    return bool((voxels > -_RESAMPLED_VOXELS).all() and (voxels < 0.5).all())
