"""NumPy's basic indexing, and dask arrays, for volumes that are read by slices."""

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tomostain.errors import InputError

if TYPE_CHECKING:
    import dask.array

Index = SupportsIndex | slice
"""Basic index of one axis, as in NumPy."""

_DASK_SLICES = 32


class SliceIndexing:
    """NumPy's basic indexing, `len`, `numpy.asarray` and dask arrays for a class that reads slices and blocks.

    Subclasses have ``shape``, ``dtype``, ``read`` and ``block``.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]

    if TYPE_CHECKING:

        def read(self, start: int, stop: int) -> NDArray[Any]:
            """Return the slices `start` to `stop`."""

        def block(self, first: Sequence[int], end: Sequence[int]) -> NDArray[Any]:
            """Return the voxels from `first` to `end` (z, y, x; half-open)."""

    @property
    def array_shape(self) -> tuple[int, ...]:
        """Shape of ``numpy.asarray(volume)``: (Z, Y, X), and the channels if there are several."""
        return self.shape

    @property
    def ndim(self) -> int:
        """Number of axes of ``numpy.asarray(volume)``."""
        return len(self.array_shape)

    def __len__(self) -> int:
        """Return the number of slices along z."""
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Read a part: integers, slices and ``...`` for z, y, x and the channel; nothing else is read.

        Returns
        -------
        ndarray
            In memory, with the axes that NumPy's basic indexing would leave.

        Raises
        ------
        IndexError
            If an index is out of range, or there are more indices than axes.
        TypeError
            If an index is neither an integer nor a slice.
        """
        z, y, x, *others = _expanded(index, self.array_shape)
        rows, columns = (_positions(i, n, axis) for i, n, axis in zip((y, x), self.shape[1:], "yx", strict=True))
        planes = _positions(z, self.shape[0], "z")
        values = self._planes(planes, rows, columns)
        remaining = tuple(0 if not isinstance(i, slice) else slice(None) for i in (z, y, x))
        return values[(*remaining, *others)]

    def _planes(self, planes: range, rows: range, columns: range) -> NDArray[Any]:
        """Read evenly spaced positions of all three axes."""
        if not (planes and rows and columns):
            return np.empty((len(planes), len(rows), len(columns), *self.array_shape[3:]), self.dtype)
        if abs(planes.step) > 1 and len(planes) > 1:
            return np.concatenate([self._planes(range(z, z + 1), rows, columns) for z in planes])
        axes = (planes, rows, columns)
        low = tuple(min(axis[0], axis[-1]) for axis in axes)
        high = tuple(max(axis[0], axis[-1]) + 1 for axis in axes)
        is_whole = low[1:] == (0, 0) and high[1:] == self.shape[1:]
        values = self.read(low[0], high[0]) if is_whole else self.block(low, high)
        steps = tuple(slice(None, None, axis.step if len(axis) > 1 else 1) for axis in axes)
        return values[steps]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Read the whole volume into memory."""
        if copy is False:
            raise ValueError("a volume cannot become an array without a copy; leave out copy=False")
        return np.asarray(self[:], dtype=dtype)

    def to_dask(self, slices: int = _DASK_SLICES) -> "dask.array.Array":
        """Return a dask array that reads the volume when it is computed.

        Parameters
        ----------
        slices : int
            Slices of one chunk; a chunk is whole along y and x.

        Returns
        -------
        dask.array.Array
            Of shape `array_shape` and type `dtype`.

        Raises
        ------
        InputError
            If dask is not installed.
        """
        try:
            import dask.array
        except ImportError:
            raise InputError("a dask array needs dask; pip install 'tomostain[io]'") from None
        chunks = (min(slices, self.shape[0]), *self.array_shape[1:])
        return dask.array.from_array(_DaskSource(self), chunks=chunks, asarray=False, name=False)


class _DaskSource:
    """A volume with the attributes that dask asks of an array: ``shape`` has one number for each axis."""

    def __init__(self, volume: SliceIndexing) -> None:
        self.volume, self.shape = volume, volume.array_shape
        self.dtype, self.ndim = volume.dtype, volume.ndim

    def __getitem__(self, index: Any) -> NDArray[Any]:
        return self.volume[index]


def _expanded(index: Any, shape: Sequence[int]) -> list[Index]:
    """Return one index for each axis: ``...`` and missing ones become full slices."""
    indices = list(index) if isinstance(index, tuple) else [index]
    dots = [i for i, value in enumerate(indices) if value is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    position = dots[0] if dots else len(indices)
    count = len(indices) - len(dots)
    if count > len(shape):
        raise IndexError(f"too many indices: the volume has {len(shape)} axes, {count} were indexed")
    full: list[Index] = [slice(None)] * (len(shape) - count)
    return [*indices[:position], *full, *indices[position + len(dots) :]]


def _positions(index: Index, length: int, axis: str) -> range:
    """Return the positions on an axis that an index asks for; an integer gives one."""
    if isinstance(index, slice):
        return range(length)[index]
    try:
        if isinstance(index, (bool, np.bool_)):
            raise TypeError
        number = operator.index(index)
    except TypeError:
        raise TypeError(f"{axis}: index volumes with integers and slices, not with {type(index).__name__}") from None
    if not -length <= number < length:
        raise IndexError(f"{axis}: index {number} is out of range for {length} voxels")
    number %= length
    return range(number, number + 1)
