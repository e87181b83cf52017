"""Label volumes that are read by slices, so that a measure never needs the whole volume in memory."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.measure.classes import TITLES, Labels, TissueClass

Shape = tuple[int, int, int]
VoxelSize = tuple[float, float, float]


class LabelSource(Protocol):
    """Tissue classes of a volume, read by slices.

    Attributes
    ----------
    shape : tuple of int
        (Z, Y, X), voxels.
    voxel_um : tuple of float
        Voxel size (z, y, x), µm.
    """

    @property
    def shape(self) -> Shape:
        """(Z, Y, X), voxels."""

    @property
    def voxel_um(self) -> VoxelSize:
        """Voxel size (z, y, x), µm."""

    def read(self, start: int, stop: int) -> Labels:
        """Return the slices `start` to `stop` (half-open), uint8 of shape (stop - start, Y, X)."""


class GridOfLabels:
    """Shape and voxel size of a volume that lies on the grid of its attribute `labels`."""

    labels: LabelSource

    @property
    def shape(self) -> Shape:
        """(Z, Y, X), voxels."""
        return self.labels.shape

    @property
    def voxel_um(self) -> VoxelSize:
        """Voxel size (z, y, x), µm."""
        return self.labels.voxel_um


class LabelArray:
    """A label volume in memory.

    Parameters
    ----------
    labels : ndarray of uint8, shape (Z, Y, X)
        Values of `TissueClass`.
    voxel_um : float or tuple of float
        Voxel size, or (z, y, x), µm.

    Raises
    ------
    InputError
        If the array is not three-dimensional and uint8, holds another value, or the voxel size is not positive.

    Examples
    --------
    >>> LabelArray(np.zeros((3, 4, 5), np.uint8), 20.0).read(0, 2).shape
    (2, 4, 5)
    """

    def __init__(self, labels: Labels, voxel_um: float | VoxelSize) -> None:
        if labels.ndim != 3 or labels.dtype != np.uint8:
            raise InputError(f"`labels`: {labels.dtype} of shape {labels.shape}; give uint8 of shape (Z, Y, X)")
        check_classes(labels, "`labels`")
        sizes = (voxel_um,) * 3 if isinstance(voxel_um, int | float) else tuple(voxel_um)
        if len(sizes) != 3 or not all(np.isfinite(size) and size > 0 for size in sizes):
            raise InputError(f"`voxel_um` is {voxel_um}; give one positive number or three, µm", parameter="voxel_um")
        self.labels = labels
        z, y, x = (float(size) for size in sizes)
        self._voxel_um = (z, y, x)

    @property
    def shape(self) -> Shape:
        """(Z, Y, X), voxels."""
        z, y, x = self.labels.shape
        return z, y, x

    @property
    def voxel_um(self) -> VoxelSize:
        """Voxel size (z, y, x), µm."""
        return self._voxel_um

    def read(self, start: int, stop: int) -> Labels:
        """Return the slices `start` to `stop` (half-open)."""
        return self.labels[start:stop]


def check_classes(labels: Labels, source: str) -> None:
    """Raise unless all values are tissue classes.

    Parameters
    ----------
    labels : ndarray of uint8
    source : str
        What the labels are, for the message.

    Raises
    ------
    InputError
        If there is another value. The message lists the values.

    Examples
    --------
    >>> check_classes(np.array([7], np.uint8), "labels.tif")
    Traceback (most recent call last):
    ...
    tomostain.errors.InputError: labels.tif: the values 7 are not tissue classes; the classes are 0 (void), ...
    """
    present = np.flatnonzero(np.bincount(labels.reshape(-1), minlength=256))
    refuse_values([int(value) for value in present if value not in set(TissueClass)], source)


def refuse_values(unknown: Sequence[float] | NDArray[np.generic], source: str) -> None:
    """Raise an `InputError` that lists values that are not tissue classes, if there are any."""
    if len(unknown):
        classes = ", ".join(f"{int(each)} ({TITLES[each]})" for each in TissueClass)
        listed = ", ".join(f"{value:g}" for value in unknown[:10])
        raise InputError(f"{source}: the values {listed} are not tissue classes; the classes are {classes}")
