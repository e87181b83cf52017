"""Arrays that are on disk for the length of one piece of work, written slab by slab by any number of processes."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.io.atomic import write_text
from tomostain.io.locks import lock

_PLAN = "plan.json"
_INNER = 64


class Scratch:
    """An array (N, Y, X) or (N, Y, X, C) whose slabs along the first axis are written in any order, each once.

    Parameters
    ----------
    path : Path
        Its folder. What is there is gone on with if it is of the same plan, and else removed.
    shape : tuple of int
    dtype : numpy dtype
    slab : int
        Planes of a slab.
    plan : mapping
        What the content is made of, as JSON can hold.
    """

    def __init__(self, path: Path, shape: Sequence[int], dtype: Any, slab: int, plan: Mapping[str, Any]) -> None:
        import zarr

        self.path, self.shape, self.slab = Path(path), tuple(shape), min(slab, shape[0])
        about = {"shape": list(shape), "dtype": str(np.dtype(dtype)), "slab": self.slab, "plan": dict(plan)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with lock(self.path.with_name(f"{self.path.name}.lock"), wait=True):
            if not self._is_of(about):
                shutil.rmtree(self.path, ignore_errors=True)
                self._make(dtype)
                write_text(self.path / _PLAN, json.dumps(about))
        self._array: Any = zarr.open_array(self.path / "array", mode="r+")

    def _is_of(self, about: dict[str, Any]) -> bool:
        try:
            found = json.loads((self.path / _PLAN).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return bool(found == json.loads(json.dumps(about)))

    def _make(self, dtype: Any) -> None:
        import zarr

        rows, columns = self.shape[1:3]
        inner = (self.slab, min(_INNER, rows), min(_INNER, columns))
        # A shard a slab, so that each has one writer.
        shard = (self.slab, -(-rows // inner[1]) * inner[1], -(-columns // inner[2]) * inner[2])
        zarr.create_array(
            self.path / "array",
            shape=self.shape,
            chunks=(*inner, *self.shape[3:]),
            shards=(*shard, *self.shape[3:]),
            dtype=np.dtype(dtype),
            overwrite=True,
        )

    def slabs(self) -> list[tuple[int, int]]:
        """Return the half-open ranges of all slabs."""
        return [(n, min(n + self.slab, self.shape[0])) for n in range(0, self.shape[0], self.slab)]

    def pending(self) -> list[tuple[int, int]]:
        """Return the slabs that are not written yet."""
        return [slab for slab in self.slabs() if not self._marker(slab[0]).exists()]

    @contextmanager
    def lock(self, first: int) -> Iterator[bool]:
        """Claim a slab for the length of a block; yields False if another process has it or it has been written."""
        with lock(self._marker(first).with_suffix(".lock")) as ours:
            yield ours and not self._marker(first).exists()

    def write(self, first: int, values: NDArray[Any]) -> None:
        """Write a slab and then record it as done."""
        self._array[first : first + len(values)] = values
        write_text(self._marker(first), "")

    def read(self, *where: slice) -> NDArray[Any]:
        """Return a box: slices along the first axes."""
        return np.asarray(self._array[where])

    def _marker(self, first: int) -> Path:
        return self.path / f"{first:06d}.done"
