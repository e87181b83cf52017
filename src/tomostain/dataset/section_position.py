"""A section that was registered in one volume, in the coordinates of another copy of it: a region, or resampled."""

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
        In the coordinates of the volume in which it was registered. If it does not state where that volume begins, that
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
    stated = state_volume(section, volume)
    offset_um = _offset_um(section, stated)
    return stated if not offset_um.any() else replace(stated, origin_um=section.origin_um - offset_um)


def moved_between_um(section: Section, other: Section) -> Float | None:
    """Return the µm to add to points in the volume of a section for points in the volume of another section.

    Parameters
    ----------
    section : Section
    other : Section
        If one of the two does not state where its volume begins, their volume is the same.

    Returns
    -------
    ndarray, shape (3,), or None
        None if the volumes begin at different places, and neither section states both its region and its voxel size.
    """
    origins = section.volume_origin_um, other.volume_origin_um
    if origins[0] is None or origins[1] is None or np.array_equal(origins[0], origins[1]):
        return np.zeros(3)
    if _states_all(other):
        return -_offset_um(section, other)
    return _offset_um(other, section) if _states_all(section) else None


def _states_all(section: Section) -> bool:
    return section.region_um is not None and section.volume_voxel_um is not None


def _offset_um(section: Section, other: Section) -> Float:
    """Return where the volume of a section that states all of it begins, µm along its axes from that of a section."""
    assert section.volume_origin_um is not None
    assert other.volume_origin_um is not None
    assert other.region_um is not None
    assert other.volume_voxel_um is not None
    begins_um, region_um, voxel_um = _triple(other.volume_origin_um), other.region_um, _triple(other.volume_voxel_um)
    if section.region_um is None or section.volume_voxel_um is None:  # an older pair
        stated_um = section.volume_origin_um - (0 if section.region_um is None else section.region_um)
        resampled_um = -stated_um if _is_of_larger_voxels(stated_um, voxel_um) else None
        recorded_um, origin_um = _triple(region_um), section.volume_origin_um
        offset_um = offset_between(
            Placement(begins_um), recorded_um, origin_um, section.region_um, voxel_um, resampled_um
        )
        return np.array(offset_um)
    # Without their regions: the positions that the files state.
    mine, its = other.volume_origin_um - region_um, section.volume_origin_um - section.region_um
    atol = min(voxel_um) / 1000
    apart_um, resampled_um = mine - its, (other.volume_voxel_um - section.volume_voxel_um) / 2
    both = not np.allclose(mine, 0, atol=atol) and not np.allclose(its, 0, atol=atol)
    # A file that states none may have lost it, or be the original of a resampled copy, of which the first voxel is
    # half the difference of the sizes further along each axis.
    is_compared = both or np.allclose(apart_um, resampled_um, rtol=0, atol=atol)
    return np.asarray(region_um - section.region_um + apart_um * is_compared)


def _region_um(volume: Volume) -> Triple:
    z, y, x = (index * size for index, size in zip(volume.origin, volume.voxel_um, strict=True))
    return z, y, x


def _triple(values: Float) -> Triple:
    z, y, x = (float(value) for value in values)
    return z, y, x


def _is_of_larger_voxels(stated_um: NDArray[np.float64], voxel_um: Triple) -> bool:
    """Return whether a position can be that of a copy with larger voxels, which are cubes.

    It is half the difference of the voxel sizes along each axis, so that all three give the same larger size.
    """
    larger_um = 2 * stated_um + voxel_um
    low, high = _LARGER_VOXELS
    is_cube = bool(np.ptp(larger_um) <= 1e-3 * larger_um.max())
    return is_cube and bool((stated_um >= 0).all()) and low * min(voxel_um) < larger_um.max() <= high * min(voxel_um)
