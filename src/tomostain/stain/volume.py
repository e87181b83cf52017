"""A volume, slice by slice, from disk to disk in slabs (paper section 2.11): resumable, of any number of slices."""

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError, InterruptedRunError, OutOfDistributionWarning
from tomostain.imaging.intensity import IntensityReference
from tomostain.interrupts import listen_for_interrupt
from tomostain.io import create_stained
from tomostain.io.atomic import naming_full_disk
from tomostain.io.ome_zarr.writer import StainedWriter
from tomostain.progress import Progress, raising_on_stop, silent
from tomostain.stain.config import StainConfig
from tomostain.stain.job import Grey, Job, normalised_slab, open_job, with_volume_statistics
from tomostain.stain.multi_axis import OtherPlanes, check_isotropic, fuse
from tomostain.stain.pipeline import overlapped
from tomostain.stain.slices import stain_slice
from tomostain.stain.uncertainty_map import load_ensemble, uncertainty_map
from tomostain.tiling.slice_context import slabs_of

# Beside the checksums, for the reason given in `tomostain.io.ome_zarr.shards`.
STATISTICS = "0/statistics.safetensors"


def stain_volume(
    model: Path,
    volume: Path,
    out: Path,
    *,
    config: StainConfig | None = None,
    levels: IntensityReference | str | None = None,
    voxel_um: float | tuple[float, float, float] | None = None,
    dataset: str | None = None,
    device: str = "auto",
    allow_voxel_mismatch: bool = False,
    doubt: Path | None = None,
    also: Sequence[Path] = (),
    levels_picture: Path | None = None,
    overwrite: bool = False,
    resume: bool = True,
    part: tuple[int, int] = (1, 1),
    progress: Progress = silent,
) -> Path:
    """Stain a volume.

    Parameters
    ----------
    model, volume : Path
        Model folder; anything that `tomostain.io.open_volume` opens.
    out : Path
        The stained OME-Zarr.
    config : StainConfig, optional
    levels : IntensityReference, "none" or None
        Grey values of background and bone; "none" if the volume is normalised; None to estimate them on it.
    voxel_um : float or tuple of float, optional
        Voxel size, µm, where the file does not say.
    dataset : str, optional
        Name of the dataset in an HDF5 file.
    device : str
    allow_voxel_mismatch : bool
        Stain although the voxel size is not the model's.
    doubt : Path, optional
        A second OME-Zarr, of the same size: where the picture is a guess
        (`tomostain.stain.uncertainty_map.uncertainty_map`).
    also : sequence of Path
        Models of other folds, whose disagreement with `model` is doubt too, beside what is new to them.
    levels_picture : Path, optional
        PNG to write: the histogram of the grey values with the levels, whether found or given.
    overwrite : bool
        Replace a stained volume at `out`, and at `doubt`.
    resume : bool
        Continue one that was broken off, or heal one that was damaged since, with the same model, input and options.
    part : tuple of int
        (k, n): stain the k-th of n parts only, so that n jobs share the work. The last job to end completes the volume.
    progress : Progress
        Told of every slice.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    InputError
        If model, volume or options do not fit together, or `out` exists.
    InterruptedRunError
        After Ctrl-C; what is written stays, and the same call continues.

    Notes
    -----
    Memory holds one slab in the model, one that is read ahead (with the Gaussian's halo), one that is being written
    and one batch of patches, however many slices there are. The result does not depend on the size of the slabs, nor
    on how many processes share the work: the same call in several processes shares it too, each slab being claimed by
    one of them.
    """
    if not 1 <= part[0] <= part[1]:
        raise InputError(f"part {part[0]}/{part[1]}: parts are counted from 1 to {part[1]}")
    if part != (1, 1) and overwrite:
        raise InputError(f"{out}: --overwrite in one part of {part[1]} would remove the others' work; remove it first")
    begun: dict[str, Any] = {
        "config": config,
        "levels": levels,
        "voxel_um": voxel_um,
        "dataset": dataset,
        "device": device,
        "allow_voxel_mismatch": allow_voxel_mismatch,
        "doubt": doubt,
        "also": also,
        "levels_picture": levels_picture,
        "overwrite": overwrite,
        "resume": resume,
    }
    # From here on a signal to end is heard, and heeded between slabs, be they checked, stained or made coarser.
    with naming_full_disk(Path(out)), listen_for_interrupt() as stop_asked:
        job, writers = begin_volume(model, volume, out, **begun)
        try:
            _stain(job, writers, Path(out), part, progress, stop_asked)
        finally:
            for writer in writers:
                writer.leave()
    return Path(out)


def _stain(
    job: Job,
    writers: Sequence[StainedWriter],
    out: Path,
    part: tuple[int, int],
    progress: Progress,
    stop_asked: threading.Event,
) -> None:
    """Do what is left of a volume, or of a part of it."""
    heeded = raising_on_stop(progress, stop_asked.is_set, out)
    own = [start for start, _ in part_of(writers[0].slabs(), *part)]
    heal(writers, None if part == (1, 1) else own, heeded)
    left = any(writer.pending() for writer in writers)
    if job.config.statistics == "volume" and left:
        job = with_volume_statistics(job, out / STATISTICS)
    planes = other_planes(job, out) if job.config.planes != "z" and left else None
    if planes:
        try:
            planes.make(heeded)
        except FileNotFoundError:
            if not writers[0].complete:  # else other processes have ended it all, and removed the drawings
                raise
    _stain_pending(job, writers, own, planes, progress, stop_asked)
    if not any(writer.pending() for writer in writers):
        for writer in writers:
            writer.finish(heeded)
        if planes:
            planes.remove()


def other_planes(job: Job, out: Path) -> OtherPlanes:
    """Return the drawings in the other two planes, beside the output."""
    folder = out.with_name(f".{out.name}.planes")
    draw = partial(stain_slice, job.translator, config=job.config)
    read, axes = partial(normalised_slab, job), job.config.planes.replace("z", "")
    return OtherPlanes(folder, job.volume.shape, read, draw, job.provenance(), axes, job.ct_slices)


def begin_volume(
    model: Path,
    volume: Path,
    out: Path,
    *,
    config: StainConfig | None = None,
    levels: IntensityReference | str | None = None,
    voxel_um: float | tuple[float, float, float] | None = None,
    dataset: str | None = None,
    device: str = "auto",
    allow_voxel_mismatch: bool = False,
    doubt: Path | None = None,
    also: Sequence[Path] = (),
    levels_picture: Path | None = None,
    overwrite: bool = False,
    resume: bool = True,
) -> tuple[Job, list[StainedWriter]]:
    """Open what `stain_volume` needs, and begin or go on with what it writes; the arguments are its own."""
    out, config = Path(out), config or StainConfig()
    if also and doubt is None:
        raise InputError("also: other models are only asked for their doubt; say where it goes (doubt)")
    if doubt is not None and Path(doubt).resolve() == out.resolve():
        raise InputError(f"{doubt}: is where the stained volume goes; give the doubt a name of its own")
    if doubt is not None and config.planes != "z":
        raise InputError(f"{doubt}: doubt is for slices stained along z; leave planes '{config.planes}' out, or doubt")
    doubters = load_ensemble(Path(model), also, device, config.precision) if doubt is not None else ()
    opened = (model, volume, config, levels, voxel_um, dataset, device, allow_voxel_mismatch)
    job = open_job(*opened, doubters, levels_picture, overwrite)
    if job.config.planes != "z":
        check_isotropic(job.volume.voxel_um, str(volume))

    def begin(path: Path, provenance: dict[str, Any]) -> StainedWriter:
        return create_stained(
            path,
            job.volume.shape,
            job.volume.voxel_um,
            slab=job.config.slab,
            provenance=provenance,
            overwrite=overwrite,
            resume=resume and not overwrite,
        )

    writers = [begin(out, job.provenance())]
    if doubt is not None:
        writers.append(begin(Path(doubt), job.doubt_provenance()))
    return job, writers


def heal(writers: Sequence[StainedWriter], only: Sequence[int] | None, progress: Progress) -> None:
    """Take damaged shards for pending again, and warn of them."""
    for writer in writers:
        if bad := writer.heal(progress, only):
            named = ", ".join(bad[:3]) + (", …" if len(bad) > 3 else "")
            warnings.warn(
                f"{writer.path}: {len(bad)} damaged shard(s) are stained again ({named}); look at the disk",
                OutOfDistributionWarning,
                stacklevel=3,
            )


def part_of(slabs: Sequence[tuple[int, int]], number: int, parts: int) -> list[tuple[int, int]]:
    """Return the slabs of a part: neighbours, and as many as in any other part, or one more.

    Examples
    --------
    >>> slabs = [(0, 4), (4, 8), (8, 12), (12, 13)]
    >>> part_of(slabs, 1, 3), part_of(slabs, 2, 3), part_of(slabs, 3, 3)
    ([(0, 4)], [(4, 8)], [(8, 12), (12, 13)])
    """
    first, end = ((n * len(slabs)) // parts for n in (number - 1, number))
    return list(slabs[first:end])


def _stain_pending(
    job: Job,
    writers: Sequence[StainedWriter],
    own: Sequence[int],
    planes: OtherPlanes | None,
    progress: Progress,
    stop_asked: threading.Event,
) -> None:
    """Stain the slabs, of those that begin at `own`, that are not written yet, in one of the volumes or in both."""
    pending = sorted({slab for writer in writers for slab in writer.pending() if slab[0] in own})
    depth = sum(stop - start for start, stop in writers[0].slabs() if start in own)
    done = depth - sum(stop - start for start, stop in pending)
    progress("staining", done, depth)
    # Each volume's slab by itself: where one of the two is there, another process may have made it.
    missing: dict[int, list[StainedWriter]] = {}

    @contextmanager
    def claim(slab: tuple[int, int]) -> Iterator[bool]:
        with ExitStack() as claims:
            missing[slab[0]] = [writer for writer in writers if claims.enter_context(writer.lock(slab[0]))]
            yield bool(missing[slab[0]])

    def read(slab: tuple[int, int]) -> tuple[Grey, list[NDArray[np.uint8]]]:
        beside = 0 if "z" not in job.config.planes else job.ct_slices // 2
        return normalised_slab(job, *slab, beside), planes.read(*slab) if planes else []

    def make(slab: tuple[int, int], values: tuple[Grey, list[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
        return _stained_slab(job, *values, partial(_tell, progress, done, depth))

    def write(slab: tuple[int, int], made: NDArray[np.uint8]) -> None:
        for writer in missing.pop(slab[0]):
            writer.write(slab[0], made[writers.index(writer)])

    def after(slab: tuple[int, int]) -> None:
        nonlocal done
        done += slab[1] - slab[0]
        progress("staining", done, depth)
        heed()

    def heed() -> None:
        if stop_asked.is_set() and done < depth:
            raise InterruptedRunError(
                f"{writers[0].path}: {done} of {depth} slices are stained; run the same command again to continue"
            )

    heed()
    overlapped(pending, claim=claim, read=read, make=make, write=write, after=after)


def _tell(progress: Progress, before: int, depth: int, slices: int) -> None:
    progress("staining", before + slices, depth)


def _stained_slab(
    job: Job, ct: Grey, others: Sequence[NDArray[np.uint8]], tell: Callable[[int], None]
) -> NDArray[np.uint8]:
    """Return a slab stained, and its doubt where that is asked for, shape (1 or 2, stop - start, Y, X, 3).

    `ct` has the neighbours before and behind it that the models see. `others` is the same slab as drawn along other
    axes, to be fused in, or one of them alone.
    """
    if "z" not in job.config.planes:
        tell(len(ct))
        return np.stack(others)
    images = slabs_of(ct, job.ct_slices)
    slabs = np.empty((1 + bool(job.doubters), len(images), *ct.shape[1:], 3), np.uint8)
    for index, image in enumerate(images):
        slabs[0, index] = stain_slice(job.translator, image, job.config)
        if job.doubters:
            slabs[1, index] = uncertainty_map(job.doubters, image, slabs[0, index], job.config)
        if others:
            slabs[0, index] = fuse([slabs[0, index], *(drawn[index] for drawn in others)], job.config.fuse)
        tell(index + 1)
    return slabs
