"""Writing a stained volume as OME-Zarr 0.5, one z chunk at a time, so that interrupted work can be continued.

One shard is one z chunk: the unit of work, of resuming and of a cluster job. While the volume is being written, its
folder ``.tomostain-progress`` holds the plan and one file for each finished chunk with the checksum of the shard (so
that several writers need not share a file). The folder is removed when the pyramid is complete and the checksums are in
``0/SHA256SUMS``. A volume that has this folder is not finished and is not opened. Any number of processes may write one
volume: each locks its chunk.
"""

import errno
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.atomic import make_parent, refuse_existing, write_text
from tomostain.io.chunk_progress import ChunkProgress
from tomostain.io.locks import SharedLock, is_unlocked, lock
from tomostain.io.metadata.units import check_pixels, check_voxel_um
from tomostain.io.ome_zarr.plan import (
    PLAN,
    PROGRESS,
    begin,
    channels_of,
    difference,
    make_plan,
    stored_plan,
    unfinished,
)
from tomostain.io.ome_zarr.pyramid import Shape, halve, pyramid_shapes
from tomostain.io.ome_zarr.shards import damaged_shards, shard_checksum, shard_name, write_shard_sums
from tomostain.progress import Progress, silent, track

if TYPE_CHECKING:
    pass

_IN_USE = "presence.lock"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
logger = logging.getLogger("tomostain.io")


def create_stained(
    path: str | os.PathLike[str],
    shape: Shape,
    voxel_um: float | Sequence[float],
    *,
    slab: int = 32,
    provenance: Mapping[str, Any],
    overwrite: bool = False,
    resume: bool = False,
) -> "StainedWriter":
    """Begin a stained volume, or continue one whose writing was interrupted.

    Parameters
    ----------
    path : str or os.PathLike
        The OME-Zarr folder.
    shape : tuple of int
        (Z, Y, X), voxels.
    voxel_um : float or sequence of float
        Voxel size, or (z, y, x), µm.
    slab : int
        Slices that are written at a time: the thickness of a shard. Writing takes about 7 bytes per voxel of such a z
        chunk in addition to the chunk itself, finishing 13 (measured with 32 × 700 × 700 voxels of noise).
    provenance : mapping
        What the volume is made of (model hash, input fingerprint, resolved options), as JSON can hold. A run is
        continued only if it is the same, so it must not hold anything that changes from run to run (a date, a
        duration).
    overwrite : bool
        Remove an existing volume and start again (unless `resume` finds it unfinished and of the same provenance).
    resume : bool
        Continue an unfinished volume. A complete one has nothing pending and is left as it is.

    Returns
    -------
    StainedWriter

    Raises
    ------
    InputError
        If the folder exists and neither option allows for it, is not a stained volume, was made of something else (the
        message names the difference), or is to be replaced while another process writes it.
    """
    return create_ome_zarr(
        path, (*shape, 3), voxel_um, slab=slab, provenance=provenance, overwrite=overwrite, resume=resume
    )


def create_ome_zarr(
    path: str | os.PathLike[str],
    shape: Sequence[int],
    voxel_um: float | Sequence[float],
    *,
    slab: int = 32,
    provenance: Mapping[str, Any],
    overwrite: bool = False,
    resume: bool = False,
) -> "OmeZarrWriter":
    """Begin an 8-bit volume of one or three channels, or continue one; see `create_stained`.

    Parameters
    ----------
    shape : sequence of int
        (Z, Y, X) for a grey volume, (Z, Y, X, 3) for a stained one.
    path, voxel_um, slab, provenance, overwrite, resume
        As for `create_stained`.

    Returns
    -------
    OmeZarrWriter
    """
    path = Path(path)
    check_pixels(path, shape[1:3])
    if min(shape) < 1 or slab < 1 or len(shape) not in (3, 4):
        raise ValueError(f"shape {tuple(shape)} or slab {slab}: give positive numbers, and (Z, Y, X) or (Z, Y, X, 3)")
    plan = make_plan(shape, check_voxel_um(voxel_um, "voxel_um"), min(slab, shape[0]), provenance)
    make_parent(path)
    # Of several processes that begin at the same time, one makes the arrays and the others find them.
    with lock(path.with_name(f".{path.name}.lock"), wait=True):
        return _begin_or_continue(path, plan, overwrite, resume)


def _begin_or_continue(path: Path, plan: dict[str, Any], overwrite: bool, resume: bool) -> "OmeZarrWriter":
    """Begin or continue a volume while no other process does so."""
    if path.is_dir() and any(path.iterdir()):
        stored = stored_plan(path)
        differs = difference(stored, plan) if stored is not None else "it is not a stained volume"
        if resume and differs is None and not (overwrite and not unfinished(path)):
            return OmeZarrWriter(path, plan)
        if not overwrite:
            if resume:
                raise InputError(
                    f"{path}: cannot be continued, {differs}; give another name, or add `overwrite=True` to start again"
                )
            refuse_existing(path, overwrite, "stained volume")
        if stored is None:
            raise InputError(f"{path}: is not a stained volume, so it is not replaced; give another name, or remove it")
        if not is_unlocked(path / PROGRESS / _IN_USE):
            raise InputError(
                f"{path}: another process is staining it; wait until it ends or stop it, or give another name"
            )
        shutil.rmtree(path)
    else:
        refuse_existing(path, overwrite, "stained volume")
        if path.is_file():
            path.unlink()
    begin(path, plan)
    return OmeZarrWriter(path, plan)


def slabs_left(path: str | os.PathLike[str]) -> int:
    """Return the number of z chunks of a volume that are not written yet; 0 if it is finished."""
    path = Path(path)
    plan = stored_plan(path)
    return len(OmeZarrWriter(path, plan).pending()) if plan is not None and unfinished(path) else 0


class OmeZarrWriter:
    """Writes a volume one z chunk at a time; made by `create_stained` or `create_ome_zarr`.

    Attributes
    ----------
    path : Path
        The OME-Zarr folder.
    shape : tuple of int
        (Z, Y, X), voxels.
    channels : int
        3 for a stained volume, 1 for a grey one.
    """

    def __init__(self, path: Path, plan: Mapping[str, Any]) -> None:
        import zarr

        self.path = path
        self.shape: Shape = tuple(plan["shape"])
        self.channels = channels_of(plan)
        self._slab = int(plan["slab"])
        self._plan = dict(plan)
        self._levels = [
            ChunkProgress(path / PROGRESS, shape[0], self._slab, prefix=f"{level}-")
            for level, shape in enumerate(pyramid_shapes(self.shape))
        ]
        if not (path / "zarr.json").is_file() or "tomostain" not in zarr.open_group(path, mode="r").attrs:
            begin(path, self._plan)  # interrupted before the arrays were complete
        self._group: zarr.Group = zarr.open_group(path, mode="r+")
        self._in_use: SharedLock | None = None
        if not self.complete:
            self._hold()

    @property
    def complete(self) -> bool:
        """Whether `finish` has been done."""
        return not unfinished(self.path)

    def slabs(self, level: int = 0) -> list[tuple[int, int]]:
        """Return the half-open ranges of slices of all z chunks of a level."""
        return self._levels[level].chunks()

    def pending(self) -> list[tuple[int, int]]:
        """Return the z chunks (z0, z1) that are not written yet."""
        return [] if self.complete else self._levels[0].pending()

    @contextmanager
    def lock(self, z0: int) -> Iterator[bool]:
        """Lock a z chunk for the length of a block; yields False if another process holds it or it is written."""
        try:
            with self._levels[0].lock(z0) as is_locked:
                yield is_locked
        except FileNotFoundError:
            if not self.complete:  # else other processes have finished the volume and removed the progress folder
                raise
            yield False

    def write(self, z0: int, values: NDArray[np.uint8]) -> None:
        """Write one z chunk and then record it as done.

        Parameters
        ----------
        z0 : int
            First slice of a chunk, as `pending` returns it.
        values : ndarray of uint8, shape (z, Y, X, 3), or (z, Y, X) for a grey volume
            All slices of the chunk.
        """
        z1 = dict(self.slabs()).get(z0)
        if self.complete or z1 is None:
            raise ValueError(f"the z chunk at slice {z0} is not one of those to write: {self.pending()[:4]}")
        shape = (z1 - z0, *self.shape[1:], *([self.channels] if self.channels > 1 else []))
        if values.dtype != np.uint8 or values.shape != shape:
            raise ValueError(f"the z chunk is {values.dtype} {values.shape}, expected uint8 {shape}")
        self._store(0, z0, np.moveaxis(values, -1, 0) if self.channels > 1 else values[None])

    def finish(self, progress: Progress = silent) -> None:
        """Build the coarser levels by z chunks, continuing after an interruption, and mark the volume complete.

        Of several processes that find all chunks written, one does it and the others wait.

        Raises
        ------
        InputError
            If chunks are still pending.
        """
        pending = self.pending()
        if pending:
            raise InputError(
                f"{self.path}: {len(pending)} of {len(self.slabs())} z chunks are not stained yet (the first begins at "
                f"slice {pending[0][0]}); run the same command again to continue"
            )
        with lock(self.path / ".tomostain-finish.lock", wait=True):
            if not self.complete:
                self._finish(progress)

    def _finish(self, progress: Progress) -> None:
        work = [(level, z0, z1) for level in range(1, len(self._levels)) for z0, z1 in self.slabs(level)]
        for done, (level, z0, z1) in enumerate(work):
            progress("pyramid", done, len(work))
            if not self._levels[level].is_done(z0):
                self._store(level, z0, self._coarser(level, z0, z1))
        progress("pyramid", len(work), len(work))
        sums = {self._shard(level, z0): self._levels[level].text(z0) for level, z0 in self._all_chunks()}
        write_shard_sums(self.path, sums)
        self._group.attrs.update({"tomostain": {**self._plan, "complete": True}})
        for partial in self.path.rglob("*.partial"):  # of writers that were killed
            partial.unlink(missing_ok=True)
        self.release()
        # One rename finishes the volume; if the removal of the files is interrupted, that does no harm.
        finished = (self.path / PROGRESS).rename(self.path / ".tomostain-finished")
        shutil.rmtree(finished, ignore_errors=True)

    def heal(self, progress: Progress = silent, only: Sequence[int] | None = None) -> list[str]:
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
        if self.complete:
            damaged = damaged_shards(self.path, [self._shard(*chunk) for chunk in checked], progress) or []
            if damaged:
                self._reopen([chunk for chunk in self._all_chunks() if self._shard(*chunk) not in damaged])
            self._remove(damaged)
        else:
            damaged = []
            written = [(level, z0) for level, z0 in checked if self._levels[level].is_done(z0)]
            for level, z0 in track(written, "checking", progress) if written else ():
                shard = self._shard(level, z0)
                if self._levels[level].text(z0) != shard_checksum(self.path / shard):
                    # The shard first: after an interruption between the two, it is found again.
                    self._remove([shard])
                    self._levels[level].forget(z0)
                    damaged.append(shard)
        if damaged:
            logger.info("%s: %d damaged shard(s) are written again: %s", self.path, len(damaged), ", ".join(damaged))
        return damaged

    def release(self) -> None:
        """Release this process's hold on the volume, so that others may delete it; also at the end of this object."""
        if self._in_use:
            self._in_use.release()

    leave = release

    def _remove(self, damaged: list[str]) -> None:
        """Remove damaged shards: to write one, Zarr would read its index, which may be damaged."""
        for name in damaged:
            (self.path / name).unlink(missing_ok=True)

    def _all_chunks(self) -> list[tuple[int, int]]:
        """Return level and first slice of every chunk."""
        return [(level, z0) for level in range(len(self._levels)) for z0, _ in self.slabs(level)]

    def _reopen(self, intact: Sequence[tuple[int, int]]) -> None:
        """Make a complete volume unfinished, with all but the intact shards pending."""
        folder = self.path / ".tomostain-healing"
        shutil.rmtree(folder, ignore_errors=True)
        write_text(folder / PLAN, json.dumps(self._plan, indent=1))
        for level, z0 in intact:
            marker = folder / self._levels[level].marker(z0).name
            marker.write_text(shard_checksum(self.path / self._shard(level, z0)))
        folder.rename(self.path / PROGRESS)
        self._hold()

    def _hold(self) -> None:
        """Take a shared lock, so that no other process removes the volume."""
        with suppress(FileNotFoundError):  # another process has just finished it
            self._in_use = SharedLock(self.path / PROGRESS / _IN_USE)

    def _store(self, level: int, z0: int, values: NDArray[np.uint8]) -> None:
        """Write a shard (C, Z, Y, X) and then its checksum, which marks it as done."""
        try:
            self._array(level)[:, z0 : z0 + values.shape[1]] = values
            self._levels[level].record(z0, shard_checksum(self.path / self._shard(level, z0)))
        except OSError as error:
            if error.errno not in _NO_SPACE:
                raise
            where = f"slice {z0}" + (f" of level {level}" if level else "")
            raise InputError(
                f"{self.path}: the disk is full at {where}; make room and run the same command again to continue"
            ) from None

    def _array(self, level: int) -> Any:
        return self._group[str(level)]

    def _shard(self, level: int, z0: int) -> str:
        return shard_name(level, z0, self._slab)

    def _coarser(self, level: int, z0: int, z1: int) -> NDArray[np.uint8]:
        """Return the slices z0 to z1 of a level, from the next finer one; one fine chunk is in memory at a time."""
        half = max(1, self._slab // 2)
        parts = []
        for z in range(z0, z1, half):
            fine = np.asarray(self._array(level - 1)[:, 2 * z : 2 * min(z + half, z1)])
            # Few slices at a time: the sums take two bytes per voxel.
            parts += [halve(fine[:, i : i + 8]) for i in range(0, fine.shape[1], 8)]
        return np.concatenate(parts, axis=1)


StainedWriter = OmeZarrWriter
"""The writer of a volume with three channels."""
