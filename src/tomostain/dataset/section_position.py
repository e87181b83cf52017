"""A section that was found in one volume, in the coordinates of another copy of it: a region, or resampled."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tomostain.geometry.section import Section
from tomostain.io import Volume
from tomostain.io.metadata.placement import Placement
from tomostain.io.ome_zarr.origin import Triple, offset_between

Float = NDArray[np.float64]
_LARGER_VOXELS = (2.01, 32.0)
"""Sides of the voxels of a coarser copy, in voxels. A position of half a voxel may also be that of the first corner."""


def state_volume(section: Section, volume: Volume) -> Section:
    """Return a section in the coordinates of a volume that states where this volume begins."""
    placement = volume.placement or Placement()
    return replace(
        section,
        volume_origin_um=np.array(placement.along_axes_um),
        region_um=np.array(_region_um(volume)),
        volume_voxel_um=np.array(volume.voxel_um),
    )


def section_in_volume(section: Section, volume: Volume) -> Section:
    """Return a section in the coordinates of a volume, in which the centre of the first voxel is at 0.

    Parameters
    ----------
    section : Section
        In the coordinates of the volume in which it was found. If it does not state where that volume begins, that
        volume is this one.
    volume : Volume
        That volume, a region of it or one that contains it, or a resampled copy.

    Examples
    --------
    >>> volume = Volume.from_array(np.zeros((8, 8, 8)), 5.0)
    >>> axes = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])
    >>> section = state_volume(Section(np.array([5.0, 0.0, 0.0]), *axes), volume.region((2, 0, 0), (8, 8, 8)))
    >>> section_in_volume(section, volume).origin_um.tolist()
    [15.0, 0.0, 0.0]
    """
    if section.volume_origin_um is None:
        return section
    offset_um = _offset_um(section, volume)
    moved = section if not offset_um.any() else replace(section, origin_um=section.origin_um - offset_um)
    return state_volume(moved, volume)


def _offset_um(section: Section, volume: Volume) -> Float:
    """Return where a volume begins, µm along its axes from the first voxel of the volume that a section states."""
    placement, region_um = volume.placement or Placement(), np.array(_region_um(volume))
    assert section.volume_origin_um is not None
    if section.region_um is None or section.volume_voxel_um is None:  # an older pair
        stated_um = section.volume_origin_um - (0 if section.region_um is None else section.region_um)
        resampled_um = -stated_um if _is_of_larger_voxels(stated_um, volume.voxel_um) else None
        offset_um = offset_between(
            placement, _region_um(volume), section.volume_origin_um, section.region_um, volume.voxel_um, resampled_um
        )
        return np.array(offset_um)
    # Without their regions: the positions that the files state.
    mine, other = np.array(placement.along_axes_um) - region_um, section.volume_origin_um - section.region_um
    atol = min(volume.voxel_um) / 1000
    apart_um, resampled_um = mine - other, (np.array(volume.voxel_um) - section.volume_voxel_um) / 2
    both = not np.allclose(mine, 0, atol=atol) and not np.allclose(other, 0, atol=atol)
    # A file that states none may have lost it, or be the original of a resampled copy, of which the first voxel is
    # half the difference of the sizes further along each axis.
    is_compared = both or np.allclose(apart_um, resampled_um, rtol=0, atol=atol)
    return np.asarray(region_um - section.region_um + apart_um * is_compared)


def _region_um(volume: Volume) -> Triple:
    z, y, x = (index * size for index, size in zip(volume.origin, volume.voxel_um, strict=True))
    return z, y, x


def _is_of_larger_voxels(stated_um: NDArray[np.float64], voxel_um: Triple) -> bool:
    """Return whether a position can be that of a copy with larger voxels, which are cubes.

    It is half the difference of the voxel sizes along each axis, so that all three give the same larger size.
    """
    larger_um = 2 * stated_um + voxel_um
    low, high = _LARGER_VOXELS
    is_cube = bool(np.ptp(larger_um) <= 1e-3 * larger_um.max())
    return is_cube and bool((stated_um >= 0).all()) and low * min(voxel_um) < larger_um.max() <= high * min(voxel_um)
