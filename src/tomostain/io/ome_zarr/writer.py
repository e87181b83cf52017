"""Writing a stained volume as OME-Zarr 0.5, one z chunk at a time, so that interrupted work can be continued.

One shard is one z chunk: the unit of work, of resuming and of a cluster job. While the volume is being written, its
folder ``.tomostain-progress`` holds the plan and one file for each finished chunk with the checksum of the shard (so
that several writers need not share a file). The folder is removed when the pyramid is complete and the checksums are in
``0/SHA256SUMS``. A volume that has this folder is not finished and is not opened. Any number of processes may write one
volume: each locks its chunk.
"""

import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.deprecation import renamed_method
from tomostain.errors import InputError
from tomostain.io.atomic import write_text
from tomostain.io.chunk_progress import ChunkProgress
from tomostain.io.full_disk import FullDiskError, is_full_disk
from tomostain.io.locks import SharedLock, lock
from tomostain.io.ome_zarr.coarser import CoarserLevels
from tomostain.io.ome_zarr.plan import (
    FINISH_LOCK,
    PLAN,
    PROGRESS,
    begin,
    channels_of,
    dtype_of,
    reduction_of,
    unfinished,
)
from tomostain.io.ome_zarr.pyramid import Shape, pyramid_shapes, reduce
from tomostain.io.ome_zarr.repair import remove_damaged
from tomostain.io.ome_zarr.shard_file import ShardLayout
from tomostain.io.ome_zarr.shards import (
    ABSENT,
    damaged_shards,
    read_shard_sums,
    shard_checksum,
    shard_name,
    write_shard_sums,
)
from tomostain.paths import StrPath
from tomostain.progress import Progress, silent, track

IN_USE = "presence.lock"
_FINISHED = ".tomostain-finished"
logger = logging.getLogger("tomostain.io")


class OmeZarrWriter:
    """Writes a volume one z chunk at a time.

    Made by `tomostain.io.create_stained` or `tomostain.io.create_ome_zarr`.

    Attributes
    ----------
    path : Path
        The OME-Zarr folder.
    shape : tuple of int
        (Z, Y, X), voxels.
    channels : int
        3 for a stained volume, 1 for a grey one.
    dtype : numpy.dtype
        uint8 for a stained volume; uint8, uint16 or float32 for a grey one.
    """

    def __init__(self, path: StrPath, plan: Mapping[str, Any]) -> None:
        import zarr

        self.path = path = Path(path)
        self.shape: Shape = tuple(plan["shape"])
        self.channels = channels_of(plan)
        self.dtype = dtype_of(plan)
        self._z_chunk = int(plan["slab"])
        self._plan = dict(plan)
        shapes = pyramid_shapes(self.shape)
        self._levels = [
            ChunkProgress(path / PROGRESS, shape[0], self._z_chunk, prefix=f"{level}-")
            for level, shape in enumerate(shapes)
        ]
        self._reduction = reduction_of(plan)
        self._coarser_levels = CoarserLevels(shapes, self._z_chunk, self._reduction)
        if not (path / "zarr.json").is_file() or "tomostain" not in zarr.open_group(path, mode="r").attrs:
            begin(path, self._plan)  # interrupted before the arrays were complete
        self._group: zarr.Group = zarr.open_group(path, mode="r+")
        self._in_use: SharedLock | None = None
        if not self.complete:
            self._hold()
        else:
            self._remove_leftovers()

    @property
    def complete(self) -> bool:
        """Whether `finish` has been done."""
        return not unfinished(self.path)

    def z_chunks(self, level: int = 0) -> list[tuple[int, int]]:
        """Return the half-open ranges of slices of all z chunks of a level."""
        return self._levels[level].chunks()

    slabs, heal = renamed_method("z_chunks"), renamed_method("repair")

    def pending(self) -> list[tuple[int, int]]:
        """Return the z chunks (z0, z1) that are not written yet."""
        pending = self._levels[0].pending()
        return [] if self.complete else pending  # another process may finish the volume meanwhile

    @contextmanager
    def lock(self, z0: int) -> Iterator[bool]:
        """Lock a z chunk for the length of a block; yields False if another process holds it or it is written."""
        try:
            with self._levels[0].lock(z0) as is_locked:
                yield is_locked and not self.complete  # a finished volume has no records of its chunks
        except FileNotFoundError:
            if not self.complete:  # else other processes have finished the volume and removed the progress folder
                raise
            yield False

    def write(self, z0: int, values: NDArray[Any]) -> None:
        """Write one z chunk and then record it as done. May be called from several threads.

        Chunks of coarser levels that it completes are written before it is recorded. So no process writes them while
        another one, which finds all chunks recorded, finishes the volume.

        Parameters
        ----------
        z0 : int
            First slice of a chunk, as `pending` returns it.
        values : ndarray of `dtype`, shape (z, Y, X, 3), or (z, Y, X) for a grey volume
            All slices of the chunk.
        """
        z1 = dict(self.z_chunks()).get(z0)
        if self.complete or z1 is None:
            raise ValueError(f"the z chunk at slice {z0} is not one of those to write: {self.pending()[:4]}")
        shape = (z1 - z0, *self.shape[1:], *([self.channels] if self.channels > 1 else []))
        if values.dtype != self.dtype or values.shape != shape:
            raise ValueError(f"the z chunk is {values.dtype} {values.shape}, expected {self.dtype} {shape}")
        self._write(0, z0, np.moveaxis(values, -1, 0) if self.channels > 1 else values[None])

    def _write(self, level: int, z0: int, values: NDArray[Any]) -> None:
        """Write a shard (C, Z, Y, X) and those of coarser levels that it completes, and then record it."""
        with ThreadPoolExecutor(1, "tomostain-coarser") as thread:
            coarser = thread.submit(self._write_coarser, level, z0, values)  # while the values are compressed
            checksum = self._store(level, z0, values)
            coarser.result()
        self._levels[level].record(z0, checksum)

    def _write_coarser(self, level: int, z0: int, values: NDArray[Any]) -> None:
        """Halve the values of a shard, and write the shard of the next level if they complete it."""
        coarser = self._coarser_levels.add(level, z0, values)
        if coarser is not None and not self._levels[level + 1].is_done(coarser[0]):
            self._write(level + 1, *coarser)

    def finish(self, progress: Progress = silent) -> None:
        """Build the coarser levels by z chunks, continuing after an interruption, and mark the volume complete.

        Of several processes that find all chunks written, one does it and the others wait.

        Raises
        ------
        InputError
            If chunks are still pending.
        """
        with lock(self.path / FINISH_LOCK, wait=True):
            pending = self.pending()  # another process may have removed damaged shards until now
            if pending:
                raise InputError(
                    f"{self.path}: {len(pending)} of {len(self.z_chunks())} z chunks are not stained yet (the first "
                    f"begins at slice {pending[0][0]}); run the same command again to continue"
                )
            if not self.complete:
                self._finish(progress)

    def _finish(self, progress: Progress) -> None:
        work = [(level, z0, z1) for level in range(1, len(self._levels)) for z0, z1 in self.z_chunks(level)]
        for done, (level, z0, z1) in enumerate(work):
            progress("pyramid", done, len(work))
            if not self._levels[level].is_done(z0):
                values = self._coarser(level, z0, z1)
                self._levels[level].record(z0, self._store(level, z0, values))
        if work:
            progress("pyramid", len(work), len(work))
        sums = {self._shard(level, z0): self._levels[level].text(z0) for level, z0 in self._all_chunks()}
        write_shard_sums(self.path, sums)
        self._group.attrs.update({"tomostain": {**self._plan, "complete": True}})
        for partial in self.path.rglob("*.partial"):  # of writers that were killed
            partial.unlink(missing_ok=True)
        self.release()
        # One rename finishes the volume; if the removal of the files is interrupted, that does no harm.
        shutil.rmtree(self.path / _FINISHED, ignore_errors=True)  # of an older completion that was interrupted
        finished = (self.path / PROGRESS).rename(self.path / _FINISHED)
        shutil.rmtree(finished, ignore_errors=True)

    def _remove_leftovers(self) -> None:
        """Remove what a process left in a complete volume when it was killed after the last step."""
        shutil.rmtree(self.path / _FINISHED, ignore_errors=True)
        if (self.path / FINISH_LOCK).exists():
            with suppress(InputError), lock(self.path / FINISH_LOCK):  # its end removes the file, unless it is in use
                pass

    def repair(self, progress: Progress = silent, only: Sequence[int] | None = None) -> list[str]:
        """Make damaged shards pending again, also those of a complete volume.

        Parameters
        ----------
        progress : Progress
            Called for each shard.
        only : sequence of int, optional
            The first slices of the chunks to check; by default all chunks of all levels.

        Returns
        -------
        list of str
            The damaged shards.
        """
        checked = self._all_chunks() if only is None else [(0, z0) for z0 in only]
        damaged: list[str] = []
        if not self.complete:
            written, checked = [(level, z0) for level, z0 in checked if self._levels[level].is_done(z0)], []
            for level, z0 in track(written, "checking", progress) if written else ():
                shard = self._shard(level, z0)
                is_removed = remove_damaged(self.path, shard, self._levels[level], z0)
                if is_removed:
                    damaged.append(shard)
                elif is_removed is None:
                    checked.append((level, z0))
        if checked:  # of a complete volume
            damaged += self._reopen_damaged([self._shard(*chunk) for chunk in checked], progress)
        if damaged:
            logger.info("%s: %d damaged shard(s) are written again: %s", self.path, len(damaged), ", ".join(damaged))
        return damaged

    def release(self) -> None:
        """Release this process's hold on the volume, so that others may delete it; also at the end of this object."""
        if self._in_use:
            self._in_use.release()

    leave = release

    def _all_chunks(self) -> list[tuple[int, int]]:
        """Return level and first slice of every chunk."""
        return [(level, z0) for level in range(len(self._levels)) for z0, _ in self.z_chunks(level)]

    def _reopen_damaged(self, names: Sequence[str], progress: Progress) -> list[str]:
        """Make the damaged ones of some shards of a complete volume pending, and return them."""
        candidates = damaged_shards(self.path, names, progress)
        if not candidates:
            return []
        with lock(self.path / FINISH_LOCK, wait=True):
            # Another process may have made them pending, or have written them again.
            damaged = (damaged_shards(self.path, candidates) or []) if self.complete else []
            if damaged:
                self._reopen(damaged)
            elif not self.complete:
                self._hold()
        return damaged

    def _reopen(self, damaged: Sequence[str]) -> None:
        """Make a complete volume unfinished, with the damaged shards removed and pending.

        To write a shard, Zarr would read its index, which may be damaged. They are removed before another process can
        see that they are pending. After an interruption, the volume is complete and they are found again.
        """
        folder = self.path / ".tomostain-healing"
        shutil.rmtree(folder, ignore_errors=True)
        write_text(folder / PLAN, json.dumps(self._plan, indent=1))
        sums = read_shard_sums(self.path) or {}
        for level, z0 in self._all_chunks():
            name = self._shard(level, z0)
            if name not in damaged:
                (folder / self._levels[level].marker(z0).name).write_text(sums.get(name, ABSENT))
        for name in damaged:
            (self.path / name).unlink(missing_ok=True)
        folder.rename(self.path / PROGRESS)
        self._hold()

    def _hold(self) -> None:
        """Take a shared lock, so that no other process removes the volume."""
        with suppress(FileNotFoundError):  # another process has just finished it
            self._in_use = SharedLock(self.path / PROGRESS / IN_USE)

    def _store(self, level: int, z0: int, values: NDArray[Any]) -> str:
        """Write a shard (C, Z, Y, X) and return its checksum."""
        shard = self.path / self._shard(level, z0)
        array = self._array(level)
        layout = ShardLayout.of(array.metadata.to_dict(), array.dtype)
        try:
            if layout is not None:
                return layout.write(shard, values)
            array[:, z0 : z0 + values.shape[1]] = values  # an array that an older version made in another way
            return shard_checksum(shard)
        except OSError as error:
            if not is_full_disk(error):
                raise
            where = f"slice {z0}" + (f" of level {level}" if level else "")
            raise FullDiskError(f"{self.path}: the disk is full at {where}") from None

    def _array(self, level: int) -> Any:
        return self._group[str(level)]

    def _shard(self, level: int, z0: int) -> str:
        return shard_name(level, z0, self._z_chunk)

    def _coarser(self, level: int, z0: int, z1: int) -> NDArray[Any]:
        """Return the slices z0 to z1 of a level, from the next finer one; one fine chunk is in memory at a time."""
        half = max(1, self._z_chunk // 2)
        parts = []
        for z in range(z0, z1, half):
            finer = np.asarray(self._array(level - 1)[:, 2 * z : 2 * min(z + half, z1)])
            parts.append(reduce(finer, self._reduction))
        return np.concatenate(parts, axis=1)


StainedWriter = OmeZarrWriter
"""The writer of a volume with three channels."""
