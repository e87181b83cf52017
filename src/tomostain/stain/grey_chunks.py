"""The grey values of z chunks of a job: read, filtered and normalised."""

import numpy as np
from numpy.typing import NDArray

from tomostain.imaging.gaussian import gaussian_filter_3d
from tomostain.imaging.intensity import normalise_ct
from tomostain.stain.job import StainJob
from tomostain.tiling.slice_context import clip_slices, repeat_ends, slice_contexts

Grey = NDArray[np.uint16] | NDArray[np.float32]


def filtered_chunk(job: StainJob, start: int, stop: int, margin: int = 0) -> NDArray[np.generic]:
    """Read slices and filter them as part of the whole volume.

    Parameters
    ----------
    job : StainJob
    start, stop : int
        Slices of the chunk, half-open.
    margin : int
        Number of neighbouring slices to add at each end; beyond the volume its first or last slice is repeated.

    Returns
    -------
    ndarray, shape (stop - start + 2 · margin, Y, X)
        In the type of the volume; float32 if it is filtered.
    """
    start, stop, repeat = clip_slices(start - margin, stop + margin, job.volume.shape[0])
    first, last = max(0, start - job.halo), min(job.volume.shape[0], stop + job.halo)
    chunk = job.volume.read(first, last)
    if job.halo:
        # The halo is as wide as the kernel, so "nearest" only has an effect at the ends of the volume.
        chunk = gaussian_filter_3d(chunk, job.config.gaussian_sigma)
    return repeat_ends(chunk[start - first : stop - first], repeat)


def normalised_chunk(job: StainJob, start: int, stop: int, margin: int = 0) -> Grey:
    """Return `filtered_chunk`, normalised: uint16, or float32 if the volume is normalised already."""
    chunk = filtered_chunk(job, start, stop, margin)
    return chunk.astype(np.float32) if job.intensity is None else normalise_ct(chunk, job.intensity)


def contexts_of(job: StainJob, start: int, stop: int) -> Grey:
    """Return normalised slices as the models see them: (n, Y, X), or (n, ct_slices, Y, X) with their neighbours."""
    return slice_contexts(normalised_chunk(job, start, stop, job.ct_slices // 2), job.ct_slices)
