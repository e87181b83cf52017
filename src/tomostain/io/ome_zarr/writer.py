"""Writing a stained volume as OME-Zarr 0.5, slab by slab, so that it can be continued after a break.

One shard is one z-slab: the unit of work, of resuming and of a cluster job. While the volume is being written, a folder
``.tomostain-progress`` in it holds the plan and one file a finished slab with the shard's checksum (so that several
writers need not share a file); it goes when the pyramid is complete and the checksums stand in ``0/SHA256SUMS``. A
volume that has it is not finished and is not opened. Any number of processes may write one volume:
each claims its slab.
"""

import errno
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.atomic import make_parent, refuse_existing, write_text
from tomostain.io.locks import SharedLock, is_unlocked, lock
from tomostain.io.metadata.units import check_pixels, check_voxel_um
from tomostain.io.ome_zarr.plan import PLAN, PROGRESS, begin, difference, found_plan, make_plan, unfinished
from tomostain.io.ome_zarr.pyramid import Shape, halve, pyramid_shapes
from tomostain.io.ome_zarr.shards import damaged, digest, shard_name, write_sums
from tomostain.progress import Progress, silent, track

_PRESENCE = "presence.lock"


def create_stained(
    path: Path,
    shape: Shape,
    voxel_um: float | Sequence[float],
    *,
    slab: int = 32,
    provenance: Mapping[str, Any],
    overwrite: bool = False,
    resume: bool = False,
) -> "StainedWriter":
    """Begin a stained volume, or go on with one that was broken off.

    Parameters
    ----------
    path : Path
        The OME-Zarr folder.
    shape : tuple of int
        (Z, Y, X), voxels.
    voxel_um : float or sequence of float
        Voxel size, or (z, y, x), µm.
    slab : int
        Slices written at a time: the thickness of a shard. Writing takes about 7 bytes a voxel
        of a slab beside the slab itself, finishing 13 (measured with 32 × 700 × 700 voxels of noise).
    provenance : mapping
        What the volume was made of (model hash, input fingerprint, resolved options), as JSON can hold. A run is
        continued only if it is the same, so it must hold nothing that changes from run to run (no date, no duration).
    overwrite : bool
        Remove a volume that is there and begin anew (unless `resume` finds it unfinished and of the same provenance).
    resume : bool
        Go on with an unfinished volume; one that is already complete has nothing pending and is left as it is.

    Returns
    -------
    StainedWriter

    Raises
    ------
    InputError
        If the folder exists and neither option allows for it, is no stained volume, was made of something else (the
        message says what differs), or is to be replaced while another process is at it.
    """
    path = Path(path)
    check_pixels(path, shape[1:])
    if min(shape) < 1 or slab < 1:
        raise ValueError(f"shape {shape} and slab {slab} must be positive")
    plan = make_plan(shape, check_voxel_um(voxel_um, "voxel_um"), min(slab, shape[0]), provenance)
    make_parent(path)
    # Of several that begin at once, one makes the arrays and the others find them.
    with lock(path.with_name(f".{path.name}.lock"), wait=True):
        return _begin_or_continue(path, plan, overwrite, resume)


def _begin_or_continue(path: Path, plan: dict[str, Any], overwrite: bool, resume: bool) -> "StainedWriter":
    """Do what `create_stained` says, alone."""
    if path.is_dir() and any(path.iterdir()):
        found = found_plan(path)
        differs = difference(found, plan) if found is not None else "it is no stained volume"
        if resume and differs is None and not (overwrite and not unfinished(path)):
            return StainedWriter(path, plan)
        if not overwrite:
            if resume:
                raise InputError(
                    f"{path}: cannot be continued, {differs}; give another name, or add `overwrite=True` to start again"
                )
            refuse_existing(path, overwrite, "stained volume")
        if found is None:
            raise InputError(f"{path}: is no stained volume, so it is not replaced; give another name, or remove it")
        if not is_unlocked(path / PROGRESS / _PRESENCE):
            raise InputError(f"{path}: another process is staining it; wait for it or end it, or give another name")
        shutil.rmtree(path)
    else:
        refuse_existing(path, overwrite, "stained volume")
        if path.is_file():
            path.unlink()
    begin(path, plan)
    return StainedWriter(path, plan)


def slabs_left(path: Path) -> int:
    """Return how many slabs of a volume that was begun are not written yet; 0 if it is finished."""
    plan = found_plan(path)
    return len(StainedWriter(path, plan).pending()) if plan is not None and unfinished(path) else 0


class StainedWriter:
    """Writes a stained volume slab by slab; made by `create_stained`.

    Attributes
    ----------
    path : Path
        The OME-Zarr folder.
    shape : tuple of int
        (Z, Y, X), voxels.
    """

    def __init__(self, path: Path, plan: Mapping[str, Any]) -> None:
        import zarr

        self.path = path
        self.shape: Shape = tuple(plan["shape"])
        self._slab = int(plan["slab"])
        self._plan = dict(plan)
        if not (path / "zarr.json").is_file() or "tomostain" not in zarr.open_group(path, mode="r").attrs:
            begin(path, self._plan)  # broken off before the arrays were all there
        self._group: Any = zarr.open_group(path, mode="r+")
        self._presence: SharedLock | None = None
        if not self.complete:
            self._attend()

    @property
    def complete(self) -> bool:
        """Whether `finish` has been done."""
        return not unfinished(self.path)

    def slabs(self, level: int = 0) -> list[tuple[int, int]]:
        """Return the half-open slice ranges of all slabs of a level."""
        depth = pyramid_shapes(self.shape)[level][0]
        return [(z, min(z + self._slab, depth)) for z in range(0, depth, self._slab)]

    def pending(self) -> list[tuple[int, int]]:
        """Return the slabs (z0, z1) that are not written yet."""
        return [] if self.complete else [s for s in self.slabs() if not self._marker(0, s[0]).exists()]

    @contextmanager
    def lock(self, z0: int) -> Iterator[bool]:
        """Claim a slab for the length of a block; yields False if another process has it, or it has been written."""
        try:
            with lock(self._marker(0, z0).with_suffix(".lock")) as ours:
                yield ours and not self._marker(0, z0).exists()
        except FileNotFoundError:
            if not self.complete:  # else others have finished it all, and the folder of progress is gone
                raise
            yield False

    def write(self, z0: int, rgb: NDArray[np.uint8]) -> None:
        """Write one slab and then record it as done.

        Parameters
        ----------
        z0 : int
            First slice of a slab, as `pending` names it.
        rgb : ndarray of uint8, shape (z, Y, X, 3)
            All slices of the slab.
        """
        z1 = dict(self.slabs()).get(z0)
        if self.complete or z1 is None:
            raise ValueError(f"slab at slice {z0} is not one of those to write: {self.pending()[:4]}")
        if rgb.dtype != np.uint8 or rgb.shape != (z1 - z0, *self.shape[1:], 3):
            raise ValueError(f"slab is {rgb.dtype} {rgb.shape}, expected uint8 {(z1 - z0, *self.shape[1:], 3)}")
        self._store(0, z0, np.moveaxis(rgb, -1, 0))

    def finish(self, progress: Progress = silent) -> None:
        """Build the coarser levels slab by slab (continuing where a break left them) and mark the volume complete.

        Of several processes that find all slabs written, one does it and the others wait.

        Raises
        ------
        InputError
            If slabs are still pending.
        """
        pending = self.pending()
        if pending:
            raise InputError(
                f"{self.path}: {len(pending)} of {len(self.slabs())} slabs are not stained yet (the first begins at "
                f"slice {pending[0][0]}); run the same command again to continue"
            )
        with lock(self.path / ".tomostain-finish.lock", wait=True):
            if not self.complete:
                self._finish(progress)

    def _finish(self, progress: Progress) -> None:
        work = [(level, z0, z1) for level in range(1, len(pyramid_shapes(self.shape))) for z0, z1 in self.slabs(level)]
        for done, (level, z0, z1) in enumerate(work):
            progress("pyramid", done, len(work))
            if not self._marker(level, z0).exists():
                self._store(level, z0, self._coarser(level, z0, z1))
        progress("pyramid", len(work), len(work))
        write_sums(self.path, {self._shard(*which): self._marker(*which).read_text() for which in self._everything()})
        self._group.attrs.update({"tomostain": {**self._plan, "complete": True}})
        for partial in self.path.rglob("*.partial"):  # of writers that were killed
            partial.unlink(missing_ok=True)
        self.leave()
        # One rename ends it; the removal file by file may break off without harm.
        finished = (self.path / PROGRESS).rename(self.path / ".tomostain-finished")
        shutil.rmtree(finished, ignore_errors=True)

    def heal(self, progress: Progress = silent, only: Sequence[int] | None = None) -> list[str]:
        """Take shards that are not what was written for pending again, if need be of a volume that was complete.

        Parameters
        ----------
        progress : Progress
            Told of every shard.
        only : sequence of int, optional
            The first slices of the slabs to look at; by default all slabs of all levels.

        Returns
        -------
        list of str
            The damaged shards.
        """
        wanted = self._everything() if only is None else [(0, z0) for z0 in only]
        if self.complete:
            bad = damaged(self.path, [self._shard(*which) for which in wanted], progress) or []
            if bad:
                self._reopen([which for which in self._everything() if self._shard(*which) not in bad])
            return self._without(bad)
        bad = []
        written = [which for which in wanted if self._marker(*which).is_file()]
        for which in track(written, "checking", progress) if written else ():
            if self._marker(*which).read_text() != digest(self.path / self._shard(*which)):
                # The shard first: broken off between the two, it is found again.
                bad += self._without([self._shard(*which)])
                self._marker(*which).unlink(missing_ok=True)
        return bad

    def leave(self) -> None:
        """Be at the work no longer: others may remove it. Ends with this object, too."""
        if self._presence:
            self._presence.release()

    def _without(self, bad: list[str]) -> list[str]:
        """Remove damaged shards: to write one, its index would be read, which may be what is damaged."""
        for name in bad:
            (self.path / name).unlink(missing_ok=True)
        return bad

    def _everything(self) -> list[tuple[int, int]]:
        """Return level and first slice of every shard."""
        return [(level, z0) for level in range(len(pyramid_shapes(self.shape))) for z0, _ in self.slabs(level)]

    def _reopen(self, good: Sequence[tuple[int, int]]) -> None:
        """Make a complete volume unfinished, with all but the good shards pending."""
        place = self.path / ".tomostain-healing"
        shutil.rmtree(place, ignore_errors=True)
        write_text(place / PLAN, json.dumps(self._plan, indent=1))
        for which in good:
            (place / self._marker(*which).name).write_text(digest(self.path / self._shard(*which)))
        place.rename(self.path / PROGRESS)
        self._attend()

    def _attend(self) -> None:
        """Be at the work, so that nobody removes it meanwhile."""
        with suppress(FileNotFoundError):  # others have just finished it
            self._presence = SharedLock(self.path / PROGRESS / _PRESENCE)

    def _store(self, level: int, z0: int, values: NDArray[np.uint8]) -> None:
        """Write a shard (C, Z, Y, X) and then its checksum, which says that it is done."""
        try:
            self._group[str(level)][:, z0 : z0 + values.shape[1]] = values
            write_text(self._marker(level, z0), digest(self.path / self._shard(level, z0)))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            where = f"slice {z0}" + (f" of level {level}" if level else "")
            raise InputError(
                f"{self.path}: the disk is full at {where}; make room and run the same command again to continue"
            ) from None

    def _shard(self, level: int, z0: int) -> str:
        return shard_name(level, z0, self._slab)

    def _coarser(self, level: int, z0: int, z1: int) -> NDArray[np.uint8]:
        """Return the slices z0 to z1 of a level from the one below, one fine slab in memory at a time."""
        half = max(1, self._slab // 2)
        parts = []
        for z in range(z0, z1, half):
            fine = np.asarray(self._group[str(level - 1)][:, 2 * z : 2 * min(z + half, z1)])
            # Few slices at a time: the sums take two bytes a voxel.
            parts += [halve(fine[:, i : i + 8]) for i in range(0, fine.shape[1], 8)]
        return np.concatenate(parts, axis=1)

    def _marker(self, level: int, z0: int) -> Path:
        return self.path / PROGRESS / f"{level}-{z0:06d}.done"
