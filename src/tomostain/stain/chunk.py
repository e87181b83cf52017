"""Stain one z chunk of a volume in memory, and a whole volume chunk by chunk into an array."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InterruptedRunError
from tomostain.io.atomic import temporary_folder
from tomostain.progress import Progress, ShouldStop, never, raising_on_stop, silent
from tomostain.stain.fusion import fuse
from tomostain.stain.grey_chunks import Grey, filtered_chunk, normalised_chunk
from tomostain.stain.job import StainJob
from tomostain.stain.job_statistics import with_volume_statistics
from tomostain.stain.multi_axis import OtherAxes
from tomostain.stain.slice_stainer import PendingColours
from tomostain.stain.slices import colours_of_slice
from tomostain.stain.transfer import Uploaded
from tomostain.stain.uncertainty_stainer import PendingUncertainty
from tomostain.tiling.slice_context import slice_contexts

RGB = NDArray[np.uint8]


@dataclass(frozen=True)
class Chunk:
    """The input of one z chunk.

    Attributes
    ----------
    ct : ndarray or Uploaded, shape (n, Y, X)
        Slices, with the neighbours at both ends that the models see: normalised, or on a GPU as they are stored, with
        their colours along other axes. Empty if z is not among the axes.
    other_axes : sequence of ndarray of uint8, shape (n, Y, X, 3)
        The same slices, stained along other axes, on the host.
    start : int
        Index of the first slice to stain.
    """

    ct: Grey | Uploaded
    other_axes: Sequence[RGB] = ()
    start: int = 0


@dataclass(frozen=True)
class PendingChunk:
    """A z chunk that is being stained.

    Attributes
    ----------
    colours : PendingColours, PendingUncertainty or ndarray of uint8
        On a GPU, the slices; with their uncertainty on every device; otherwise the whole result.
    """

    colours: PendingColours | PendingUncertainty | RGB

    def result(self) -> RGB:
        """Wait for the result of `stain_chunk`; may be called in another thread."""
        if isinstance(self.colours, np.ndarray):
            return self.colours
        colours = self.colours.result()
        return colours if isinstance(self.colours, PendingUncertainty) else colours[None]


def read_chunk(job: StainJob, start: int, stop: int, other_axes: OtherAxes | None = None) -> Chunk:
    """Read the input of the slices `start` to `stop`; on a GPU, begin to copy it there."""
    margin = job.ct_slices // 2
    others = other_axes.read(start, stop) if other_axes else ()
    if "z" not in job.config.planes:
        return Chunk(np.empty((0, *job.volume.shape[1:]), np.uint16), others, start)
    if job.is_batched:
        ct = job.stainer.upload(filtered_chunk(job, start, stop, margin), stop - start)
        ct.others = [job.stainer.transfer.upload(each, what="colours along another axis") for each in others]
        return Chunk(ct, start=start)
    return Chunk(normalised_chunk(job, start, stop, margin), others, start)


def stain_chunk(job: StainJob, chunk: Chunk, report: Callable[[int], None]) -> RGB:
    """Return a stained chunk, and its uncertainty if the job has an ensemble.

    Parameters
    ----------
    job : StainJob
    chunk : Chunk
        Results of other axes are fused with that along z, or returned alone if z is not among the axes.
    report : callable
        Called with the number of stained slices: after each one, on a GPU after each batch.

    Returns
    -------
    ndarray of uint8, shape (1 or 2, n, Y, X, 3)
    """
    return begin_chunk(job, chunk, report).result()


def begin_chunk(job: StainJob, chunk: Chunk, report: Callable[[int], None]) -> PendingChunk:
    """Begin to stain a chunk; as `stain_chunk`, but on a GPU this does not wait for the colours."""
    if "z" not in job.config.planes:
        report(len(chunk.other_axes[0]))
        return PendingChunk(np.stack(chunk.other_axes))
    count = len(chunk.ct) - 2 * (job.ct_slices // 2)
    positions = [job.position(chunk.start + index) for index in range(count)]
    if isinstance(chunk.ct, Uploaded):
        return PendingChunk(job.stainer.begin(chunk.ct, positions, report))
    if job.ensemble:
        stainer = job.stainer_with_uncertainty
        return PendingChunk(stainer.begin(stainer.upload(chunk.ct), positions, report))
    return PendingChunk(_stain_one_by_one(job, chunk, chunk.ct, report))


def _stain_one_by_one(job: StainJob, chunk: Chunk, ct: Grey, report: Callable[[int], None]) -> RGB:
    """Stain a chunk slice by slice."""
    images = slice_contexts(ct, job.ct_slices)
    if job.planar_colours:
        result = np.moveaxis(np.empty((1, len(images), 3, *ct.shape[1:]), np.uint8), 2, -1)
    else:
        result = np.empty((1, len(images), *ct.shape[1:], 3), np.uint8)
    for index, image in enumerate(images):
        position = job.position(chunk.start + index)
        planar = job.planar_colours
        result[0, index] = colours_of_slice(job.translator, image, job.config, position, planar=planar)
        if chunk.other_axes:
            others = (stained[index] for stained in chunk.other_axes)
            result[0, index] = fuse([result[0, index], *others], job.config.fuse)
        report(index + 1)
    return result


def stain_to_array(job: StainJob, progress: Progress = silent, should_stop: ShouldStop = never) -> RGB:
    """Stain a volume into memory.

    Returns
    -------
    ndarray of uint8, shape (Z, Y, X, 3)

    Raises
    ------
    InterruptedRunError
        After `should_stop` returned True; the work is lost.
    """
    next_step = "nothing is kept; run it again"
    progress = raising_on_stop(progress, should_stop, job.volume.path, next_step=next_step)
    if job.config.statistics == "volume":
        job = with_volume_statistics(job, None)
    depth = job.volume.shape[0]
    result = np.empty((*job.volume.shape, 3), np.uint8)
    with temporary_folder("axes") as folder:
        others = OtherAxes(folder, job) if job.config.planes != "z" else None
        if others is not None:
            others.make(progress)
        previous: tuple[int, int, PendingChunk] | None = None
        for start in range(0, depth, job.config.z_chunk):
            stop = min(depth, start + job.config.z_chunk)
            if should_stop():
                raise InterruptedRunError(f"{job.volume.path}: {start} of {depth} slices are done; {next_step}")
            report = partial(_report, progress, start, depth)
            begun = begin_chunk(job, read_chunk(job, start, stop, others), report)
            _collect(result, previous)  # while a GPU stains the next one
            previous = start, stop, begun
        _collect(result, previous)
    job.report_precision()
    return result


def _collect(result: RGB, pending: tuple[int, int, PendingChunk] | None) -> None:
    if pending is not None:
        start, stop, chunk = pending
        result[start:stop] = chunk.result()[0]


def _report(progress: Progress, before: int, depth: int, slices: int) -> None:
    progress("staining", before + slices, depth)
