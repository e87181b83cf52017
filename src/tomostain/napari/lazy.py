"""Arrays that read a volume when napari shows a part of it: never a whole volume in memory."""

import operator
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tomostain.io import Volume
from tomostain.io.ome_zarr.reader import StainedVolume

Block = Callable[[Sequence[int], Sequence[int]], NDArray[Any]]
"""Reads the part from a first to an end index (half-open) of the axes that are read lazily."""
_CACHE_BYTES = 64 * 2**20
COARSEST_PX = 256
"""The coarsest level of a volume without a pyramid is at most this large; napari shows it in 3D."""


class LazyArray:
    """An array of which napari reads parts, with a small cache of those read last.

    An index of slices returns a view and reads nothing: napari crops the shown axes first and chooses the slice
    afterwards. An index with an integer, and `numpy.asarray`, read. Several threads may read.

    Parameters
    ----------
    shape : tuple of int
        Of the whole array.
    dtype : numpy dtype
    block : callable
        Reads a part of the first `lazy_axes` axes, whole along the others.
    lazy_axes : int
    """

    def __init__(self, shape: Sequence[int], dtype: DTypeLike, block: Block, lazy_axes: int = 3) -> None:
        self.dtype, self._lazy = np.dtype(dtype), lazy_axes
        self._parts = _Parts(block)
        self._ranges = tuple(range(length) for length in shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return tuple(len(each) for each in self._ranges)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._ranges)

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes that the whole array would take in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        """Return the length of the first axis."""
        return len(self._ranges[0])

    def __getitem__(self, index: Any) -> Any:
        """Return a view for slices only; values for an index with an integer, as in NumPy's basic indexing."""
        indices = list(index) if isinstance(index, tuple) else [index]
        if Ellipsis in indices:
            dots = indices.index(Ellipsis)
            indices[dots : dots + 1] = [slice(None)] * (self.ndim - len(indices) + 1)
        indices += [slice(None)] * (self.ndim - len(indices))
        if len(indices) > self.ndim:
            raise IndexError(f"{len(indices)} indices for {self.ndim} axes")
        chosen = [_chosen(each, positions) for each, positions in zip(indices, self._ranges, strict=True)]
        if all(isinstance(each, range) for each in chosen):
            view = copy(self)
            view._ranges = tuple(each for each in chosen if isinstance(each, range))
            return view
        return self._values(chosen)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Read all of it."""
        return np.asarray(self._values(self._ranges), dtype=dtype)

    def _values(self, chosen: Sequence[int | range]) -> NDArray[Any]:
        """Read positions along each axis."""
        if any(isinstance(each, range) and not each for each in chosen):
            return np.empty([len(each) for each in chosen if isinstance(each, range)], self.dtype)
        spans, inside = zip(*(_span(each) for each in chosen), strict=True)
        values = self._parts.read(spans[: self._lazy])
        others = (_inside_whole(each) for each in chosen[self._lazy :])
        return values[(*inside[: self._lazy], *others)]


class _Parts:
    """Reads parts with a function and keeps the last ones. One thread reads at a time."""

    def __init__(self, block: Block) -> None:
        self._block, self._lock = block, threading.RLock()
        self._cache: OrderedDict[tuple[tuple[int, int], ...], NDArray[Any]] = OrderedDict()

    def read(self, spans: tuple[tuple[int, int], ...]) -> NDArray[Any]:
        """Return the part between the half-open ranges of the axes."""
        with self._lock:
            if spans in self._cache:
                self._cache.move_to_end(spans)
                return self._cache[spans]
            values = self._block([start for start, _ in spans], [stop for _, stop in spans])
            if values.nbytes <= _CACHE_BYTES // 4:
                self._cache[spans] = values
                while sum(each.nbytes for each in self._cache.values()) > _CACHE_BYTES:
                    self._cache.popitem(last=False)
            return values


def stained_levels(stained: StainedVolume) -> list[LazyArray]:
    """Return the levels of a stained volume, finest first, each of shape (Z, Y, X, 3)."""

    def level_block(level: int) -> Block:
        return lambda first, end: stained.block(first, end, level)

    return [LazyArray((*shape, 3), np.uint8, level_block(level)) for level, (shape, _) in enumerate(stained.levels)]


def channel_levels(levels: Sequence[LazyArray], channel: int) -> list[LazyArray]:
    """Return one channel of the levels of a stained volume, each of shape (Z, Y, X)."""

    def channel_block(array: LazyArray) -> Block:
        return lambda first, end: np.asarray(array[tuple(map(slice, first, end))])[..., channel]

    return [LazyArray(array.shape[:3], array.dtype, channel_block(array)) for array in levels]


def volume_levels(volume: Volume) -> list[LazyArray]:
    """Return levels of a µCT volume, finest first, each of shape (Z, Y, X).

    The coarser levels take every second, fourth … voxel, so that they cost no preparation and no disk.
    """
    step, levels = 1, [LazyArray(volume.shape, volume.dtype, volume.block)]
    while max(volume.shape) > COARSEST_PX * step:
        step *= 2
        shape = tuple(-(-side // step) for side in volume.shape)
        levels.append(LazyArray(shape, volume.dtype, _strided(volume, step)))
    return levels


def shown(levels: Sequence[LazyArray]) -> tuple[Any, dict[str, bool]]:
    """Return data and the keyword argument `multiscale` of a layer: napari takes a single level as an array."""
    is_pyramid = len(levels) > 1
    return (list(levels) if is_pyramid else levels[0]), {"multiscale": is_pyramid}


def _strided(volume: Volume, step: int) -> Block:
    """Return a function that reads every n-th voxel, one slice in memory at a time."""

    def block(first: Sequence[int], end: Sequence[int]) -> NDArray[Any]:
        low = [start * step for start in first]
        high = [min((stop - 1) * step + 1, side) for stop, side in zip(end, volume.shape, strict=True)]
        return np.stack(
            [
                volume.block((z, *low[1:]), (z + 1, *high[1:]))[0, ::step, ::step].copy()
                for z in range(low[0], high[0], step)
            ]
        )

    return block


def _chosen(index: SupportsIndex | slice, positions: range) -> int | range:
    """Return the positions that an index of one axis selects."""
    if isinstance(index, slice):
        return positions[index]
    number = operator.index(index)
    if not -len(positions) <= number < len(positions):
        raise IndexError(f"index {number} is out of range for {len(positions)} values")
    return positions[number]


def _span(chosen: int | range) -> tuple[tuple[int, int], int | slice]:
    """Return the half-open range that contains positions, and their index inside it."""
    if isinstance(chosen, int):
        return (chosen, chosen + 1), 0
    low, high = min(chosen[0], chosen[-1]), max(chosen[0], chosen[-1]) + 1
    return (low, high), slice(None, None, chosen.step if len(chosen) > 1 else 1)


def _inside_whole(chosen: int | range) -> int | slice:
    """Return the index of positions along an axis that is read whole."""
    if isinstance(chosen, int):
        return chosen
    stop = chosen.stop if chosen.stop >= 0 else None
    return slice(chosen.start, stop, chosen.step)


def cropped(array: Any, axis: int, share: float) -> tuple[Any, int]:
    """Return the part of an array beyond a share of one axis, for a swipe; and how many values are left out.

    Parameters
    ----------
    array : ndarray or LazyArray
    axis : int
    share : float
        0: all of it; 1: only the last value.
    """
    start = min(round(share * array.shape[axis]), array.shape[axis] - 1)
    shape = [length - (start if number == axis else 0) for number, length in enumerate(array.shape)]
    if not isinstance(array, LazyArray):
        return array[tuple(slice(start if number == axis else 0, None) for number in range(array.ndim))], start
    lazy_axes = 3 if array.ndim >= 3 else array.ndim

    def block(first: Sequence[int], end: Sequence[int]) -> NDArray[Any]:
        # The whole axis is read, so that the cache serves the next position of the swipe.
        spans = [slice(a, b) for a, b in zip(first, end, strict=True)]
        spans[axis] = slice(None)
        inside = [slice(None)] * lazy_axes
        inside[axis] = slice(start + first[axis], start + end[axis])
        return np.asarray(array[tuple(spans)])[tuple(inside)]

    return LazyArray(shape, array.dtype, block, lazy_axes), start
