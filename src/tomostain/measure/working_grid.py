"""The volumes of a measurement at the voxel size of the tissue classifier.

A classifier knows structures by their size in voxels. A finer volume is measured at the voxel size of the classifier:
on that level of its pyramid, or resampled while it is read. A coarser one is refused, because detail cannot be added.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tomostain.imaging.resampling import resample_volume
from tomostain.io import StainedVolume, Volume
from tomostain.io.metadata.placement import Placement
from tomostain.measure.label_source import Shape, VoxelSize
from tomostain.measure.refused import UncertaintyMap

TOLERANCE = 0.1
"""Relative difference of two voxel sizes that count as equal, as for the classifier."""
RGB = NDArray[np.uint8]


class Colours(Protocol):
    """A stained volume on any grid: `StainedVolume`, `StainedLevel` or `ResampledColours`."""

    @property
    def path(self) -> Path:
        """The OME-Zarr folder."""

    @property
    def shape(self) -> Shape:
        """(Z, Y, X), voxels."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8."""

    @property
    def voxel_um(self) -> VoxelSize:
        """Voxel size (z, y, x), µm."""

    @property
    def placement(self) -> Placement | None:
        """Where the volume lies in the coordinates of its file."""

    @property
    def provenance(self) -> dict[str, Any]:
        """Model, input and options of the staining."""

    def read(self, start: int, stop: int) -> RGB:
        """Return the slices `start` to `stop`, shape (stop - start, Y, X, 3)."""


@dataclass(frozen=True, eq=False)
class StainedLevel:
    """A coarser level of a stained volume: `Colours`."""

    stained: StainedVolume
    level: int

    @property
    def path(self) -> Path:
        """The OME-Zarr folder."""
        return self.stained.path

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8."""
        return self.stained.dtype

    @property
    def shape(self) -> Shape:
        """(Z, Y, X) of the level, voxels."""
        return self.stained.levels[self.level][0]

    @property
    def voxel_um(self) -> VoxelSize:
        """Voxel size (z, y, x) of the level, µm."""
        return self.stained.levels[self.level][1]

    @property
    def placement(self) -> Placement | None:
        """Where the level lies in the coordinates of its file."""
        return self.stained.placements[self.level]

    @property
    def provenance(self) -> dict[str, Any]:
        """Model, input and options of the staining."""
        return self.stained.provenance

    def read(self, start: int, stop: int) -> RGB:
        """Return the slices `start` to `stop` of the level."""
        return self.stained.read(start, stop, self.level)


@dataclass(frozen=True, eq=False)
class _Channel:
    """One channel of a stained volume as an array that is read by slices. Three of them share the last slices."""

    shape: Shape
    channel: int
    read: Callable[[int, int], RGB]
    dtype: DTypeLike = np.uint8
    ndim: int = 3

    def __getitem__(self, span: slice) -> NDArray[np.uint8]:
        return self.read(*span.indices(self.shape[0])[:2])[..., self.channel]


class ResampledColours:
    """A stained volume that is resampled to another voxel size while it is read: `Colours`.

    Parameters
    ----------
    stained : Colours
    target_um : float
        New voxel size, µm.
    """

    def __init__(self, stained: Colours, target_um: float) -> None:
        self.path, self.provenance = stained.path, stained.provenance
        self.dtype: np.dtype[Any] = np.dtype(np.uint8)
        last: dict[tuple[int, int], RGB] = {}

        def read(start: int, stop: int) -> RGB:
            if (start, stop) not in last:
                last.clear()
                last[start, stop] = stained.read(start, stop)
            return last[start, stop]

        def channel(number: int) -> Volume:
            values: Any = _Channel(stained.shape, number, read)
            whole = Volume.from_array(values, stained.voxel_um, str(stained.path), placement=stained.placement)
            return resample_volume(whole, target_um)

        self._channels = [channel(number) for number in range(3)]
        self.shape: Shape = self._channels[0].shape
        self.voxel_um: VoxelSize = self._channels[0].voxel_um
        self.placement: Placement | None = self._channels[0].placement

    def read(self, start: int, stop: int) -> RGB:
        """Return the slices `start` to `stop`, shape (stop - start, Y, X, 3)."""
        return np.stack([channel.read(start, stop) for channel in self._channels], axis=-1)


def is_finer(voxel_um: VoxelSize, target_um: float) -> bool:
    """Return whether a volume has to be resampled to a coarser grid, and can be.

    Examples
    --------
    >>> is_finer((5.0, 5.0, 5.0), 20.0), is_finer((19.0, 20.0, 20.0), 20.0), is_finer((50.0, 5.0, 5.0), 20.0)
    (True, False, False)
    """
    largest = max(voxel_um) / target_um
    return largest <= 1 + TOLERANCE and min(voxel_um) / target_um < 1 - TOLERANCE


def colours_at(stained: StainedVolume, target_um: float, *, levels: bool = True) -> Colours:
    """Return a stained volume at a voxel size: itself, a level of its pyramid, or resampled.

    Parameters
    ----------
    stained : StainedVolume
    target_um : float
        Voxel size, µm.
    levels : bool
        False: resample the finest level, so that the grid is that of a µCT that is resampled in the same way.
    """
    if not is_finer(stained.voxel_um, target_um):
        return stained
    usable = [n for n, (_, size) in enumerate(stained.levels) if max(size) <= (1 + TOLERANCE) * target_um]
    level = StainedLevel(stained, max(usable) if levels else 0)
    return ResampledColours(level, target_um) if is_finer(level.voxel_um, target_um) else level


def scan_at(ct: Volume, target_um: float) -> Volume:
    """Return a µCT at a voxel size, µm: itself, or resampled."""
    return resample_volume(ct, target_um) if is_finer(ct.voxel_um, target_um) else ct


def uncertainty_at(uncertainty: UncertaintyMap, target_um: float, *, levels: bool = True) -> UncertaintyMap:
    """Return an uncertainty map at a voxel size; one in three channels by its pyramid, or resampled.

    Parameters
    ----------
    uncertainty : UncertaintyMap
    target_um : float
        Voxel size, µm.
    levels : bool
        See `colours_at`.
    """
    if not is_finer(uncertainty.voxel_um, target_um):
        return uncertainty
    if uncertainty.stained is not None:
        colours = colours_at(uncertainty.stained, target_um, levels=levels)
        return replace(
            uncertainty,
            shape=colours.shape,
            voxel_um=colours.voxel_um,
            _read=lambda start, stop: colours.read(start, stop)[..., 0],
        )
    assert uncertainty.volume is not None
    volume = resample_volume(uncertainty.volume, target_um)
    return replace(uncertainty, shape=volume.shape, voxel_um=volume.voxel_um, _read=volume.read)
