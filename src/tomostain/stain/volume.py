"""Stain a volume from disk to disk, in z chunks (paper section 2.11): resumable, with any number of slices."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Unpack, overload

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import DamagedDataWarning, InputError, InterruptedRunError, PlacementWarning, warn_user
from tomostain.io import Volume, create_stained
from tomostain.io.array_source import ArraySource
from tomostain.io.full_disk import naming_full_disk
from tomostain.io.ome_zarr.writer import StainedWriter
from tomostain.paths import StrPath
from tomostain.progress import AGAIN, Progress, ShouldStop, how_to_continue, never, raising_on_stop, silent
from tomostain.stain.chunk import Chunk, PendingChunk, begin_chunk, read_chunk, stain_to_array
from tomostain.stain.job import StainJob
from tomostain.stain.job_statistics import with_volume_statistics
from tomostain.stain.multi_axis import OtherAxes
from tomostain.stain.pipeline import overlapped
from tomostain.stain.request import Model, StainOptions, StainRequest, make_request

# Next to the checksums, for the reason given in `tomostain.io.ome_zarr.shards`.
STATISTICS = "0/statistics.safetensors"
_log = logging.getLogger(__name__)
RGB = NDArray[np.uint8]
Part = tuple[int, int]


@overload
def stain_volume(
    model: Model,
    volume: "StrPath | Volume | ArraySource",
    out: StrPath,
    *,
    part: Part = ...,
    progress: Progress = ...,
    should_stop: ShouldStop = ...,
    **options: Unpack[StainOptions],
) -> Path: ...


@overload
def stain_volume(
    model: Model,
    volume: "StrPath | Volume | ArraySource",
    out: None = None,
    *,
    part: Part = ...,
    progress: Progress = ...,
    should_stop: ShouldStop = ...,
    **options: Unpack[StainOptions],
) -> RGB: ...


def stain_volume(
    model: Model,
    volume: "StrPath | Volume | ArraySource",
    out: StrPath | None = None,
    *,
    part: Part = (1, 1),
    progress: Progress = silent,
    should_stop: ShouldStop = never,
    **options: Unpack[StainOptions],
) -> Path | RGB:
    """Stain a volume, from disk to disk or into an array.

    Parameters
    ----------
    model : path, Translator or Stainer
        A model folder or a loaded model.
    volume : path, Volume, array-like or tuple (array, voxel_um)
        Anything that `tomostain.io.open_volume` opens. The voxel size of an array is `voxel_um`, or in the tuple.
    out : path, optional
        The stained OME-Zarr. None: return an array, for volumes that fit into memory.
    part, progress, should_stop
        As `stain`.
    **options
        The fields of `StainRequest`, such as ``config``, ``intensity``, ``voxel_um`` and ``device``.

    Returns
    -------
    Path or ndarray of uint8, shape (Z, Y, X, 3)
        `out`, or the colours if `out` is None.

    Raises
    ------
    InputError
        If model, volume or options do not fit together, or `out` exists.
    InterruptedRunError
        After `should_stop` returned True. Chunks that are written to `out` stay, and the same call continues.
    """
    request = make_request(model, volume, out, **options)
    if out is not None:
        return stain(request, part=part, progress=progress, should_stop=should_stop)
    if part != (1, 1):
        raise InputError("`part`: several processes can only share a volume on disk; give `out`", parameter="part")
    return stain_to_array(StainJob.open(request), progress, should_stop)


def stain(
    request: StainRequest, *, part: Part = (1, 1), progress: Progress = silent, should_stop: ShouldStop = never
) -> Path:
    """Stain a volume from disk to disk.

    Parameters
    ----------
    request : StainRequest
    part : (int, int)
        (k, n): stain only the k-th of n parts, so that n jobs share the work. The last job completes the volume.
    progress : Progress
        Called after every slice.
    should_stop : callable
        Asked between two z chunks, whether they are verified, stained or downsampled.

    Returns
    -------
    Path
        `request.out`.

    Raises
    ------
    InputError
        If model, volume or options do not fit together, or the output exists.
    InterruptedRunError
        After `should_stop` returned True. Written chunks stay, and the same call continues.

    Notes
    -----
    Memory holds one z chunk in the model, one that is read ahead (with the halo of the Gaussian), one that is being
    written and one batch of patches, for any number of slices. With a GPU and many cores, up to two chunks are read and
    four are written at the same time, if a quarter of the free memory of the host and of the GPU suffices. The result
    depends neither on the size of the chunks nor on the number of processes; on a GPU, up to rounding. The same call in
    several processes shares the work, and each chunk is locked by one of them.
    """
    if not 1 <= part[0] <= part[1]:
        raise InputError(f"part {part[0]}/{part[1]}: parts are counted from 1 to {part[1]}", parameter="part")
    out = request.out_path
    if part != (1, 1) and request.overwrite:
        raise InputError(
            f"{out}: `overwrite=True` in one part of {part[1]} would remove the others' work; remove it first",
            parameter="overwrite",
        )
    began = time.monotonic()
    with naming_full_disk(out, AGAIN):
        job, writers = begin(request)
    next_step = how_to_continue(overwrite=request.overwrite)
    with naming_full_disk(out, next_step):
        try:
            run = _VolumeRun(job, writers, part, progress, should_stop, next_step)
            run.run()
        finally:
            for writer in writers:
                writer.leave()
    _log.info("%s: stained %d slices in %.0f s", out, run.stained, time.monotonic() - began)
    return out


def begin(request: StainRequest) -> tuple[StainJob, list[StainedWriter]]:
    """Open the job, and create or continue the volumes of the colours and, if requested, of the uncertainty."""
    request.check_outputs()
    request = request.with_begun_precision()
    job = StainJob.open(request)

    def writer(path: Path, provenance: dict[str, object]) -> StainedWriter:
        return create_stained(
            path,
            job.volume.shape,
            job.volume.voxel_um,
            z_chunk=job.config.z_chunk,
            provenance=provenance,
            origin_um=(0.0, 0.0, 0.0) if job.resampling is None else job.resampling.origin_um,
            placement=job.volume.placement,
            overwrite=request.overwrite,
            resume=request.resume and not request.overwrite,
        )

    placement = job.volume.placement
    if placement is not None and placement.is_turned:
        warn_user(
            f"{request.out_path}: OME-Zarr cannot hold the directions of the axes ({placement.describe()}); they are "
            "stored for `export` to nrrd and vti, other software sees the position only",
            PlacementWarning,
        )
    writers = [writer(request.out_path, job.provenance())]
    if request.uncertainty is not None:
        writers.append(writer(Path(request.uncertainty), job.uncertainty_provenance()))
    for each in writers:
        missing, chunks = len(each.pending()), len(each.z_chunks())
        if missing < chunks:
            _log.info("%s: resumed, %d of %d z chunks are stained", each.path, chunks - missing, chunks)
    return job, writers


def repair(writers: Sequence[StainedWriter], only: Sequence[int] | None, progress: Progress) -> None:
    """Mark damaged shards as missing, and warn of them."""
    for writer in writers:
        if damaged := writer.repair(progress, only):
            names = ", ".join(damaged[:3]) + (", …" if len(damaged) > 3 else "")
            warn_user(
                f"{writer.path}: {len(damaged)} damaged shard(s) are stained again ({names}); check the disk",
                DamagedDataWarning,
            )


def part_of(chunks: Sequence[tuple[int, int]], number: int, parts: int) -> list[tuple[int, int]]:
    """Return the z chunks of one part: neighbours; the sizes of the parts differ by at most one.

    Examples
    --------
    >>> chunks = [(0, 4), (4, 8), (8, 12), (12, 13)]
    >>> part_of(chunks, 1, 3), part_of(chunks, 2, 3), part_of(chunks, 3, 3)
    ([(0, 4)], [(4, 8)], [(8, 12), (12, 13)])
    """
    first, end = ((n * len(chunks)) // parts for n in (number - 1, number))
    return list(chunks[first:end])


class _VolumeRun:
    """One process's work on a volume, or on a part of it.

    Parameters
    ----------
    job : StainJob
    writers : sequence of StainedWriter
        Of the colours, and of the uncertainty if requested.
    part, progress, should_stop
        As `stain`.
    next_step : str
        What the message says after a stop.
    """

    def __init__(
        self,
        job: StainJob,
        writers: Sequence[StainedWriter],
        part: Part,
        progress: Progress,
        should_stop: ShouldStop,
        next_step: str,
    ) -> None:
        self.job, self.writers = job, writers
        self.out = writers[0].path
        self.starts = [start for start, _ in part_of(writers[0].z_chunks(), *part)]
        self.whole = part == (1, 1)
        self.progress, self.should_stop, self.next_step = progress, should_stop, next_step
        self.stained = 0
        """Slices that this run stained."""

    def run(self) -> None:
        """Stain the missing chunks, then complete the volume if none is missing."""
        stopping = raising_on_stop(self.progress, self.should_stop, self.out, next_step=self.next_step)
        repair(self.writers, None if self.whole else self.starts, stopping)
        is_missing = self._is_missing()
        if self.job.config.statistics == "volume" and is_missing:
            self.job = with_volume_statistics(self.job, self.out / STATISTICS)
        other_axes = None
        if self.job.config.planes != "z" and is_missing:
            other_axes = OtherAxes(self.out.with_name(f".{self.out.name}.planes"), self.job)
            try:
                other_axes.make(stopping)
            except FileNotFoundError:
                # Other processes may have completed the volume and removed the scratch arrays.
                if not self.writers[0].complete:
                    raise
        self._stain_missing(other_axes)
        if not self._is_missing():
            for writer in self.writers:
                writer.finish(stopping)
            if other_axes:
                other_axes.remove()

    def _is_missing(self) -> bool:
        return any(writer.pending() for writer in self.writers)

    def _stain_missing(self, other_axes: OtherAxes | None) -> None:
        """Stain the z chunks of this part that are missing in any of the volumes."""
        pending = sorted({chunk for writer in self.writers for chunk in writer.pending() if chunk[0] in self.starts})
        depth = sum(stop - start for start, stop in self.writers[0].z_chunks() if start in self.starts)
        done = depth - sum(stop - start for start, stop in pending)
        self.progress("staining", done, depth)
        # For each volume separately: another process may have written the chunk to one of the two.
        missing_in: dict[int, list[StainedWriter]] = {}

        @contextmanager
        def claim(chunk: tuple[int, int]) -> Iterator[bool]:
            with ExitStack() as locks:
                missing_in[chunk[0]] = [w for w in self.writers if locks.enter_context(w.lock(chunk[0]))]
                yield bool(missing_in[chunk[0]])

        def read(chunk: tuple[int, int]) -> Chunk:
            return read_chunk(self.job, *chunk, other_axes)

        def make(chunk: tuple[int, int], values: Chunk) -> PendingChunk:
            return begin_chunk(self.job, values, partial(self._report, done, depth))

        def write(chunk: tuple[int, int], pending: PendingChunk) -> None:
            stained = pending.result()
            for writer in missing_in.pop(chunk[0]):
                writer.write(chunk[0], stained[self.writers.index(writer)])

        def after(chunk: tuple[int, int]) -> None:
            nonlocal done
            done += chunk[1] - chunk[0]
            self.stained += chunk[1] - chunk[0]
            self.progress("staining", done, depth)
            raise_if_stopped()

        def raise_if_stopped() -> None:
            if done < depth and self.should_stop():
                raise InterruptedRunError(f"{self.out}: {done} of {depth} slices are stained; {self.next_step}")

        raise_if_stopped()
        overlapped(pending, claim=claim, read=read, make=make, write=write, after=after, in_flight=self.job.in_flight)
        self.job.report_precision()

    def _report(self, before: int, depth: int, slices: int) -> None:
        self.progress("staining", before + slices, depth)
