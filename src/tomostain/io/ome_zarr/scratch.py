"""Temporary arrays on disk for one piece of work, written by z chunks by any number of processes."""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tomostain.io.atomic import write_text
from tomostain.io.chunk_progress import ChunkProgress, plane_chunks
from tomostain.io.locks import lock
from tomostain.paths import StrPath

_PLAN = "plan.json"


class Scratch:
    """An array (N, Y, X) or (N, Y, X, C) that is written by chunks of the first axis, each once, in any order.

    Parameters
    ----------
    path : str or os.PathLike
        Its folder. Existing content is reused if it was written for the same plan, otherwise deleted.
    shape : tuple of int
    dtype : numpy dtype
    z_chunk : int
        Planes of a chunk.
    plan : mapping
        What the content is made of, as JSON can hold.
    """

    def __init__(
        self,
        path: StrPath,
        shape: Sequence[int],
        dtype: DTypeLike,
        z_chunk: int,
        plan: Mapping[str, object],
    ) -> None:
        import zarr

        self.path, self.shape, self.z_chunk = Path(path), tuple(shape), min(z_chunk, shape[0])
        self._progress = ChunkProgress(self.path, self.shape[0], self.z_chunk)
        content = {"shape": list(shape), "dtype": str(np.dtype(dtype)), "slab": self.z_chunk, "plan": dict(plan)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with lock(self.path.with_name(f"{self.path.name}.lock"), wait=True):
            if not self._has_plan(content):
                shutil.rmtree(self.path, ignore_errors=True)
                self._create(dtype)
                write_text(self.path / _PLAN, json.dumps(content))
        self._array: zarr.Array = zarr.open_array(self.path / "array", mode="r+")

    def _has_plan(self, content: Mapping[str, object]) -> bool:
        try:
            stored = json.loads((self.path / _PLAN).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return bool(stored == json.loads(json.dumps(content)))

    def _create(self, dtype: DTypeLike) -> None:
        import zarr

        inner, shard = plane_chunks(*self.shape[1:3])
        # One shard for each chunk, so that each has one writer.
        zarr.create_array(
            self.path / "array",
            shape=self.shape,
            chunks=(self.z_chunk, *inner, *self.shape[3:]),
            shards=(self.z_chunk, *shard, *self.shape[3:]),
            dtype=np.dtype(dtype),
            overwrite=True,
        )

    def z_chunks(self) -> list[tuple[int, int]]:
        """Return the half-open ranges of all chunks."""
        return self._progress.chunks()

    def pending(self) -> list[tuple[int, int]]:
        """Return the chunks that are not written yet."""
        return self._progress.pending()

    def lock(self, first: int) -> AbstractContextManager[bool]:
        """Lock a chunk for the length of a block; yields False if another process holds it or it is written."""
        return self._progress.lock(first)

    def write(self, first: int, values: NDArray[Any]) -> None:
        """Write a chunk and then record it as done."""
        self._array[first : first + len(values)] = values
        self._progress.record(first)

    def read(self, *where: slice) -> NDArray[Any]:
        """Return a box: slices along the first axes."""
        return np.asarray(self._array[where])
