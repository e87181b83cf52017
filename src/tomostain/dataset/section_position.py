"""A section that was found in one volume, in the coordinates of another copy of it: a region, or resampled."""

from dataclasses import replace

import numpy as np

from tomostain.geometry.section import Section
from tomostain.io import Volume
from tomostain.io.metadata.placement import Placement
from tomostain.io.ome_zarr.origin import Triple, offset_between


def state_volume(section: Section, volume: Volume) -> Section:
    """Return a section in the coordinates of a volume that states where this volume begins."""
    placement = volume.placement or Placement()
    return replace(section, volume_origin_um=np.array(placement.along_axes_um), region_um=np.array(_region_um(volume)))


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
    placement = volume.placement or Placement()
    offset_um = offset_between(
        placement, _region_um(volume), section.volume_origin_um, section.region_um, volume.voxel_um
    )
    moved = section if not any(offset_um) else replace(section, origin_um=section.origin_um - np.array(offset_um))
    return state_volume(moved, volume)


def _region_um(volume: Volume) -> Triple:
    z, y, x = (index * size for index, size in zip(volume.origin, volume.voxel_um, strict=True))
    return z, y, x
