"""Labels without the voxels whose uncertainty is too high."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tomostain.errors import InputError
from tomostain.io import StainedVolume, Volume, open_stained
from tomostain.io.volumes.volume import VolumeSource
from tomostain.measure.classes import Labels
from tomostain.measure.label_files import VoxelGrid, check_grid, open_with_default
from tomostain.measure.label_source import GridOfLabels, LabelSource, Shape, VoxelSize
from tomostain.measure.statistics.abstention import Uncertainty, refuse


@dataclass(frozen=True)
class UncertaintyMap:
    """The uncertainty of every voxel of a volume, read by slices.

    Attributes
    ----------
    path : Path
    shape : tuple of int
        (Z, Y, X), voxels.
    voxel_um : tuple of float
        Voxel size (z, y, x), µm.
    stained : StainedVolume or None
        The file, if it is grey in three channels.
    volume : Volume or None
        The file otherwise.
    """

    path: Path
    shape: Shape
    voxel_um: VoxelSize
    _read: Callable[[int, int], Uncertainty]
    stained: StainedVolume | None = None
    volume: Volume | None = None

    def read(self, start: int, stop: int) -> Uncertainty:
        """Return slices `start` to `stop` (half-open): uint8 from 0 to 255, or float from 0 to 1.

        Raises
        ------
        InputError
            If the values are neither.
        """
        values = self._read(start, stop)
        if values.dtype != np.uint8 and values.dtype.kind != "f":
            raise InputError(f"{self.path}: holds {values.dtype}; an uncertainty is uint8, or float from 0 to 1")
        if values.dtype.kind == "f" and not (np.nanmin(values) >= 0 and np.nanmax(values) <= 1):
            raise InputError(
                f"{self.path}: holds values from {np.nanmin(values):g} to {np.nanmax(values):g}; an uncertainty lies "
                "between 0 and 1"
            )
        return values


def open_uncertainty(path: VolumeSource | StainedVolume, like: VoxelGrid | None = None) -> UncertaintyMap:
    """Open an uncertainty map: one that ``tomostain stain`` wrote, or a grey volume.

    Parameters
    ----------
    path : path, StainedVolume, Volume, array-like or tuple (array, voxel_um)
    like : VoxelGrid, optional
        The volume that was measured. Shape and voxel size are compared with it.

    Returns
    -------
    UncertaintyMap

    Raises
    ------
    InputError
        If it cannot be opened, or lies on another grid than `like`.
    """
    result = _open(path, None if like is None else like.voxel_um)
    if like is not None:
        check_grid(result.path, result, like)
    return result


def _open(path: VolumeSource | StainedVolume, default_um: VoxelSize | None) -> UncertaintyMap:
    """Open a map. `default_um` is its voxel size where a grey volume states none."""
    if isinstance(path, str | os.PathLike | StainedVolume):
        try:
            stained = open_stained(path)
        except InputError:
            pass  # a grey volume, or neither
        else:
            return UncertaintyMap(stained.path, stained.shape, stained.voxel_um, _first_channel(stained), stained)
    assert not isinstance(path, StainedVolume)
    volume = open_with_default(path, default_um)
    return UncertaintyMap(volume.path, volume.shape, volume.voxel_um, volume.read, volume=volume)


def _first_channel(stained: StainedVolume) -> Callable[[int, int], Uncertainty]:
    """Return a reader of a map that is stored as grey in three channels."""

    def read(start: int, stop: int) -> Uncertainty:
        return stained.read(start, stop)[..., 0]

    return read


@dataclass(frozen=True)
class RefusedLabels(GridOfLabels):
    """Labels in which voxels with a high uncertainty are `TissueClass.NOT_MEASURED`: a `LabelSource`.

    Attributes
    ----------
    labels : LabelSource
    uncertainty : UncertaintyMap
        On the same grid.
    max_uncertainty : float
        0 to 1. Voxels above it are refused.
    """

    labels: LabelSource
    uncertainty: UncertaintyMap
    max_uncertainty: float

    def read(self, start: int, stop: int) -> Labels:
        """Return the slices `start` to `stop` (half-open)."""
        return refuse(self.labels.read(start, stop), self.uncertainty.read(start, stop), self.max_uncertainty)
