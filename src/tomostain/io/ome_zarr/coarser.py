"""The coarser levels of a volume from the z chunks that this process writes, so that no chunk is read again.

Two chunks of a level make one chunk of the next level. Halves whose neighbour is written by another process, or was
written before an interruption, are dropped: `OmeZarrWriter.finish` reads those chunks from the disk.
"""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.io.ome_zarr.pyramid import Reduction, Shape, reduce

_MAX_WAITING = 8
"""Halves of each level that wait for their neighbour: at most the memory of one z chunk."""


class CoarserLevels:
    """Halves of z chunks, until those of a chunk of the next level are complete. Used by several threads.

    Parameters
    ----------
    shapes : sequence of tuple of int
        (Z, Y, X) of all levels.
    z_chunk : int
        Slices of a z chunk of every level.
    reduction : {"mean", "nearest", "mean_nonzero"}
        How eight voxels become one.
    """

    def __init__(self, shapes: Sequence[Shape], z_chunk: int, reduction: Reduction = "mean") -> None:
        self._reduction = reduction
        self._depths, self._z_chunk = [shape[0] for shape in shapes], z_chunk
        self._waiting: list[dict[int, NDArray[Any]]] = [{} for _ in shapes]
        self._lock = threading.Lock()

    def add(self, level: int, z0: int, values: NDArray[Any]) -> tuple[int, NDArray[Any]] | None:
        """Add a z chunk of a level.

        Parameters
        ----------
        level, z0 : int
            Level and first slice of the chunk.
        values : ndarray, shape (C, Z, Y, X)

        Returns
        -------
        tuple of int and ndarray, or None
            First slice and values of the chunk of the next level, if this one completes it.
        """
        depth, size = self._depths[level], self._z_chunk
        if level + 1 == len(self._depths) or (size % 2 and size < depth):
            return None  # slices of an odd chunk are averaged with those of its neighbour
        start = z0 // (2 * size) * size
        parts = [z for z in (2 * start, 2 * start + size) if z < depth]
        half = reduce(values, self._reduction)
        with self._lock:
            waiting = self._waiting[level]
            waiting[z0] = half
            if not all(z in waiting for z in parts):
                if len(waiting) > _MAX_WAITING:
                    del waiting[next(iter(waiting))]
                return None
            halves = [waiting.pop(z) for z in parts]
        return start, np.concatenate(halves, axis=1) if len(halves) > 1 else halves[0]
