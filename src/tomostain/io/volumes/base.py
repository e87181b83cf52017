"""What all volumes share: the protocol by which they are read, and what a reader returns."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tomostain.io.metadata.placement import Placement
from tomostain.io.metadata.units import Spacing
from tomostain.io.parallel import in_parallel
from tomostain.io.volumes.missing import NOTHING_MISSING, MissingData

Voxel = tuple[float, float, float]
"""Voxel size (z, y, x), µm."""

ReadSlices = Callable[[int, int], NDArray[Any]]
"""Function that takes ``start`` and ``stop`` and returns these slices, shape (stop - start, Y, X)."""


class VolumeLike(Protocol):
    """Anything that is read by z slices: `Volume`, `StainedVolume`, or a class of your own."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, Y, X), voxels."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values that `read` returns."""

    @property
    def voxel_um(self) -> Voxel:
        """Voxel size (z, y, x), µm."""

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return the slices `start` to `stop` (half-open), shape (stop - start, Y, X) or (stop - start, Y, X, C)."""


@dataclass(frozen=True)
class Source:
    """What every reader returns: the facts of a stored volume and a function that reads its slices.

    Attributes
    ----------
    shape : tuple of int
        (Z, Y, X), voxels.
    dtype : numpy.dtype
        Type of the stored values.
    spacing : tuple
        Voxel size (z, y, x), µm, as the file states it; None for an axis whose size it does not state.
    read : callable
        Takes ``start`` and ``stop`` and returns these slices, shape (stop - start, Y, X). It is called from several
        threads and processes.
    ends : tuple of Path, optional
        First and last file of a folder of slices, in the order in which they are read.
    placement : Placement, optional
        Where the volume lies; its lengths are in the unit of `step`.
    step : tuple of float, optional
        Voxel size (z, y, x) in the unit of the file, which may be unknown. By default, `spacing`.
    missing : MissingData, optional
        Slices of which data are missing; `read` returns zeros there. Unless the user allows it, they are an error.
    bits : int, optional
        Significant bits of unsigned values, where the file states fewer than its type has.
    conflict : str
        What the files state differently of the voxel size, as the beginning of a message; an error unless the user
        gives the size. "" if nothing.
    unknown_unit : str
        A unit of the voxel size that the files state and that is not known; "" if there is none.
    numbering_step : int
        Of a folder of slices, the difference of their numbers.
    is_concurrent : bool
        Whether several threads should call `read` at the same time: it is thread-safe, a call needs no more memory than
        its slices, and the calls do not wait for one another.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    spacing: Spacing
    read: ReadSlices
    ends: tuple[Path, Path] | None = None
    placement: Placement | None = None
    step: Voxel | None = None
    missing: MissingData = NOTHING_MISSING
    bits: int | None = None
    conflict: str = ""
    unknown_unit: str = ""
    numbering_step: int = 1
    is_concurrent: bool = False


def read_each(
    volume: VolumeLike, indices: Iterable[int], then: Callable[[int, NDArray[Any]], NDArray[Any]] | None = None
) -> list[NDArray[Any]]:
    """Read single slices of a volume, several at the same time if it is made for that.

    Parameters
    ----------
    volume : VolumeLike
        Read by one thread, unless it has an attribute ``is_concurrent`` that is true.
    indices : iterable of int
    then : callable, optional
        Takes the index and the values of a slice, and returns the part to store, so that not all slices are in memory
        at the same time.

    Returns
    -------
    list of ndarray
        Slices, shape (Y, X), or the results of `then`.

    Raises
    ------
    InputError
        As `Volume.read`.

    Examples
    --------
    >>> from tomostain.io import Volume
    >>> volume = Volume.from_array(np.arange(4, dtype=np.uint8)[:, None, None], voxel_um=5)
    >>> [int(image[0, 0]) for image in read_each(volume, [3, 1])]
    [3, 1]
    """

    def read(z: int) -> NDArray[Any]:
        image = volume.read(z, z + 1)[0]
        return image if then is None else then(z, image)

    return list((in_parallel if getattr(volume, "is_concurrent", False) else map)(read, indices))
