"""The volumes of the plane view as 8-bit pyramids that are read brick by brick, with a bounded cache."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from tomostain.integers import to_integers
from tomostain.io import Volume
from tomostain.io.metadata.placement import Placement
from tomostain.io.ome_zarr.levels import ZarrLevels

Bytes = NDArray[np.uint8]
Triple = tuple[float, float, float]
Shape = tuple[int, int, int]
Read = Callable[[Sequence[int], Sequence[int]], Bytes]

CACHE_BYTES = 2**29
"""Maximum size of all bricks in memory."""
_BRICK_SIDE = 128
"""A brick of a Zarr has the depth of a chunk, and about this many voxels along y and x."""
_BAND_ROWS = 256
"""Rows of a slice that are converted to 8 bits at a time."""


class BrickCache:
    """The bricks that were read last. Threads that ask for the same brick at the same time read it once.

    Parameters
    ----------
    max_bytes : int
    """

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self._max, self._bytes = max_bytes, 0
        self._lock = threading.Lock()
        self._bricks: OrderedDict[Hashable, Bytes] = OrderedDict()
        self._reading: dict[Hashable, Future[Bytes]] = {}

    @property
    def size_bytes(self) -> int:
        """Size of the bricks that are stored."""
        return self._bytes

    def get(self, key: Hashable, read: Callable[[], Bytes]) -> Bytes:
        """Return a brick, which is read if it is not stored. An error of `read` is raised, and nothing is stored."""
        with self._lock:
            if key in self._bricks:
                self._bricks.move_to_end(key)
                return self._bricks[key]
            waiting = self._reading.get(key)
            if waiting is None:
                future = self._reading[key] = Future()
        if waiting is not None:
            return waiting.result()
        try:
            brick = read()
        except BaseException as error:
            with self._lock:
                del self._reading[key]
            future.set_exception(error)
            raise
        with self._lock:
            del self._reading[key]
            self._store(key, brick)
        future.set_result(brick)
        return brick

    def _store(self, key: Hashable, brick: Bytes) -> None:
        self._bricks[key] = brick
        self._bytes += brick.nbytes
        while self._bytes > self._max and len(self._bricks) > 1:
            self._bytes -= self._bricks.popitem(last=False)[1].nbytes


@dataclass(frozen=True)
class Level:
    """One resolution of a volume.

    Attributes
    ----------
    shape : tuple of int
        (Z, Y, X), voxels.
    voxel_um : tuple of float
        Voxel size (z, y, x), µm.
    origin_um : tuple of float
        Centre of the first voxel (z, y, x), µm, from the centre of the first voxel of the view.
    brick : tuple of int
        Voxels (z, y, x) that are read together.
    read : callable
        Takes first and end (z, y, x; half-open) and returns uint8 of shape (z, y, x, channels).
    """

    shape: Shape
    voxel_um: Triple
    origin_um: Triple
    brick: Shape
    read: Read

    def brick_ranges(self, first: Sequence[int], end: Sequence[int]) -> list[range]:
        """Return the indices of the bricks, along z, y and x, that hold the voxels from `first` to `end`."""
        return [range(a // n, -(-b // n)) for a, b, n in zip(first, end, self.brick, strict=True)]


@dataclass(frozen=True)
class Pyramid:
    """A volume at several resolutions, finest first.

    Attributes
    ----------
    levels : tuple of Level
    channels : int
        1 or 3.
    nearest : bool
        Take the nearest voxel instead of interpolating: for labels.
    cache : BrickCache
        Shared with other pyramids.
    """

    levels: tuple[Level, ...]
    channels: int
    cache: BrickCache
    nearest: bool = False

    def block(self, level: int, first: Sequence[int], end: Sequence[int]) -> Bytes:
        """Return the voxels from `first` to `end` (z, y, x; half-open) of a level, shape (z, y, x, channels).

        Raises
        ------
        InputError
            If the stored data are damaged.
        """
        chosen = self.levels[level]
        result = np.empty((*(b - a for a, b in zip(first, end, strict=True)), self.channels), np.uint8)
        for place in product(*chosen.brick_ranges(first, end)):
            low = [index * side for index, side in zip(place, chosen.brick, strict=True)]
            high = [min(a + side, n) for a, side, n in zip(low, chosen.brick, chosen.shape, strict=True)]
            brick = self.cache.get((id(self), level, place), partial(chosen.read, low, high))
            ranges = [(max(a, p), min(b, q)) for a, b, p, q in zip(first, end, low, high, strict=True)]
            target = tuple(slice(p - a, q - a) for (p, q), a in zip(ranges, first, strict=True))
            source = tuple(slice(p - a, q - a) for (p, q), a in zip(ranges, low, strict=True))
            result[target] = brick[source]
        return result


def zarr_levels(volume: ZarrLevels, placement: Placement, channels: int | None = None) -> tuple[Level, ...]:
    """Return the levels of an OME-Zarr image of 8 bits.

    Parameters
    ----------
    volume : ZarrLevels
    placement : Placement
        Where the first voxel of the view lies.
    channels : int, optional
        Number of channels that are used. Default: all.
    """

    def reader(index: int) -> Read:
        return lambda first, end: np.ascontiguousarray(volume.block(index, first, end)[..., :channels])

    levels = []
    for index, facts in enumerate(volume.levels):
        brick_y, brick_x = (side * max(1, _BRICK_SIDE // side) for side in facts.chunk[1:])
        brick = (facts.chunk[0], brick_y, brick_x)
        origin_um = relative_um(facts.placement, placement)
        levels.append(Level(facts.shape, facts.voxel_um, origin_um, brick, reader(index)))
    return tuple(levels)


def relative_um(placement: Placement, view: Placement) -> Triple:
    """Return the origin of a placement along the axes of another one, from its origin (z, y, x), µm."""
    moved = np.subtract(placement.origin_um, view.origin_um) @ np.asarray(view.direction)
    z, y, x = (float(value) for value in moved)
    return z, y, x


def slices_level(volume: Volume, window: tuple[float, float], origin_um: Triple = (0.0, 0.0, 0.0)) -> Level:
    """Return a µCT volume of any format as a level that is read by whole slices, in 8 bits between two grey values.

    Rows are converted in bands, so that a large slice is not in memory as floating-point numbers.
    """
    low, high = window

    def read(first: Sequence[int], end: Sequence[int]) -> Bytes:
        grey = volume.block(first, end)
        result = np.empty((*grey.shape, 1), np.uint8)
        for row in range(0, grey.shape[1], _BAND_ROWS):
            band = grey[:, row : row + _BAND_ROWS].astype(np.float32)
            shares = np.clip((band - np.float32(low)) / np.float32(high - low), 0, 1)
            result[:, row : row + _BAND_ROWS, :, 0] = to_integers(shares * 255, np.uint8, str(volume.path))
        return result

    return Level(volume.shape, volume.voxel_um, origin_um, (1, *volume.shape[1:]), read)
