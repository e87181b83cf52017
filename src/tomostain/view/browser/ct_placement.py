"""Where a µCT volume lies next to the volume that was stained from it."""

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io import Volume
from tomostain.io.metadata.placement import Placement
from tomostain.io.ome_zarr.reader import StainedVolume


def ct_placement(volume: Volume, stained: StainedVolume) -> Placement:
    """Return where the first voxel of a µCT volume lies in the coordinates of a stained volume.

    If both state a placement, it is that of the µCT. Otherwise the stained volume begins at its `resampling_offset_um`
    from the first voxel of the µCT that was stained.

    Raises
    ------
    InputError
        If the stained volume is not inside the µCT, or only a part of it and neither states where.
    """
    placement = stained.placement or Placement()
    origin = placement.moved([-value for value in stained.resampling_offset_um])
    stated, is_stated = volume.placement, volume.placement is not None and stained.placement is not None
    if stated is not None and is_stated:
        if not np.allclose(stated.direction, placement.direction, atol=1e-6):
            raise InputError(
                f"`ct` {volume.path}: its axes have other directions than those of the stained volume "
                f"({stated.describe()}; {placement.describe()}); give the volume that was stained",
                parameter="ct",
            )
        origin = stated
    elif stained.placement is not None and not _has_extent_of(volume, stained, origin):
        origin = Placement()  # a region of a volume that states no placement
        is_stated = True
    start, sides, stain_sides = _extents(volume, stained, origin)
    slack = np.maximum(volume.voxel_um, stained.voxel_um) * 1.01
    is_inside = (start <= slack).all() and (start + sides >= stain_sides - slack).all()
    if not is_inside or not (is_stated or _has_extent_of(volume, stained, origin)):
        raise InputError(
            f"`ct` {volume.path}: covers {_sides(sides)} µm from ({', '.join(f'{value:g}' for value in start)}) µm, "
            f"the stained volume {_sides(stain_sides)} µm; give the volume that was stained",
            parameter="ct",
        )
    return origin


def _extents(
    volume: Volume, stained: StainedVolume, origin: Placement
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return where the µCT begins, from the border of the stained volume, and the sides of the two (z, y, x), µm."""
    placement = stained.placement or Placement()
    centre = np.subtract(origin.origin_um, placement.origin_um) @ np.asarray(placement.direction)
    start = centre - np.asarray(volume.voxel_um) / 2 + np.asarray(stained.voxel_um) / 2
    return start, np.multiply(volume.shape, volume.voxel_um), np.multiply(stained.shape, stained.voxel_um)


def _has_extent_of(volume: Volume, stained: StainedVolume, origin: Placement) -> bool:
    """Return whether the µCT begins and ends where the stained volume does, to one voxel."""
    start, sides, stain_sides = _extents(volume, stained, origin)
    slack = np.maximum(volume.voxel_um, stained.voxel_um) * 1.01
    return bool((np.abs(start) <= slack).all() and (np.abs(start + sides - stain_sides) <= slack).all())


def _sides(sides_um: NDArray[np.float64]) -> str:
    return " × ".join(f"{side:g}" for side in sides_um)
