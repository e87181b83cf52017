"""A volume, slice by slice, from disk to disk in slabs (paper section 2.11): resumable, of any number of slices."""

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain import __version__
from tomostain.errors import InputError, Interrupted, StrangeInput
from tomostain.interrupt import listen_for_interrupt
from tomostain.io import Volume, create_stained, open_volume
from tomostain.io.stained_writer import StainedWriter
from tomostain.prepare import Levels, normalise_ct, volume_levels
from tomostain.prepare.greys import sample, warn_if_strange
from tomostain.progress import Progress, silent
from tomostain.stain.config import StainConfig
from tomostain.stain.doubt import FULL_SCALE, doubt_picture, kind_of, load_doubters
from tomostain.stain.slices import stain_slice
from tomostain.stain.translator import Translator, load_translator
from tomostain.stain.voxels import check_voxel_size

TRUNCATE = 4.0  # the Gaussian is cut off at 4 σ, and so far a slab must look beyond its borders


@dataclass(frozen=True)
class Job:
    """A volume, the model that will stain it, and everything decided about how."""

    volume: Volume
    translator: Translator
    config: StainConfig
    levels: Levels | None
    grey_distance: float | None = None
    doubters: tuple[Translator, ...] = ()

    @property
    def halo(self) -> int:
        """Slices beyond a slab's borders that the Gaussian needs."""
        return int(TRUNCATE * self.config.gaussian_sigma + 0.5)

    def doubt_provenance(self) -> dict[str, Any]:
        """Return what the volume of doubt says of itself."""
        kind = kind_of(self.doubters)
        about = {"map": kind, "white": FULL_SCALE[kind], "models": [doubter.hash for doubter in self.doubters]}
        return self.provenance() | {"doubt": about}

    def provenance(self) -> dict[str, Any]:
        """Return what the stained volume says of where it comes from; no dates, so that it can be compared."""
        spec = self.translator.spec
        levels = None if self.levels is None else {"background": self.levels.background, "bone": self.levels.bone}
        return {
            "model": {"hash": self.translator.hash, "recipe": spec.recipe, "steps": spec.steps, "stain": spec.stain},
            # The name alone: a volume that was moved or is given by another path is still the same work.
            "input": {"name": self.volume.path.name, "fingerprint": self.volume.fingerprint()},
            "levels": levels,
            "grey_distance": self.grey_distance,
            "options": self.config.model_dump(mode="json", exclude={"batch"}),
            "tomostain_version": __version__,
        }


def open_job(
    model: Path,
    volume: Path,
    config: StainConfig | None,
    levels: Levels | str | None,
    voxel_um: float | tuple[float, float, float] | None,
    dataset: str | None,
    device: str,
    allow_voxel_mismatch: bool,
    doubters: Sequence[Translator] = (),
) -> Job:
    """Open model and volume, check that they fit, and find the grey levels if they are not given."""
    translator = doubters[0] if doubters else load_translator(Path(model), device)
    opened = open_volume(Path(volume), voxel_um=voxel_um, dataset=dataset)
    check_voxel_size(opened.voxel_um, translator.spec.voxel_um, str(volume), allow_voxel_mismatch)
    if isinstance(levels, str):
        if levels != "none":
            raise InputError(f"levels '{levels}': expected Levels, None to estimate them, or 'none' if normalised")
        found = None
    else:
        found = levels or volume_levels(opened, source=str(volume))
    strange = warn_if_strange(sample(opened, found), translator.spec.greys, str(volume))
    settings = (config or StainConfig()).for_model(translator.spec.patch_px)
    return Job(opened, translator, settings, found, strange, tuple(doubters))


def stain_volume(
    model: Path,
    volume: Path,
    out: Path,
    *,
    config: StainConfig | None = None,
    levels: Levels | str | None = None,
    voxel_um: float | tuple[float, float, float] | None = None,
    dataset: str | None = None,
    device: str = "auto",
    allow_voxel_mismatch: bool = False,
    doubt: Path | None = None,
    also: Sequence[Path] = (),
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
    levels : Levels, "none" or None
        Grey values of background and bone; "none" if the volume is normalised; None to estimate them on it.
    voxel_um : float or tuple of float, optional
        Voxel size, µm, where the file does not say.
    dataset : str, optional
        Name of the dataset in an HDF5 file.
    device : str
    allow_voxel_mismatch : bool
        Stain although the voxel size is not the model's.
    doubt : Path, optional
        A second OME-Zarr, of the same size: where the picture is a guess (`tomostain.stain.doubt.doubt_picture`).
    also : sequence of Path
        Models of other folds, whose disagreement with `model` is the doubt; without them it is the cycle error.
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
    Interrupted
        After Ctrl-C; what is written stays, and the same call continues.

    Notes
    -----
    Memory holds one slab of slices (with the Gaussian's halo) and one batch of patches, however many slices there
    are. The result does not depend on the size of the slabs, nor on how many processes share the work: the same call
    in several processes shares it too, each slab being claimed by one of them.
    """
    if not 1 <= part[0] <= part[1]:
        raise InputError(f"part {part[0]}/{part[1]}: parts are counted from 1 to {part[1]}")
    if part != (1, 1) and overwrite:
        raise InputError(f"{out}: --overwrite in one part of {part[1]} would remove the others' work; remove it first")
    job, writers = begin_volume(
        model,
        volume,
        out,
        config=config,
        levels=levels,
        voxel_um=voxel_um,
        dataset=dataset,
        device=device,
        allow_voxel_mismatch=allow_voxel_mismatch,
        doubt=doubt,
        also=also,
        overwrite=overwrite,
        resume=resume,
    )
    own = [start for start, _ in part_of(writers[0].slabs(), *part)]
    heal(writers, None if part == (1, 1) else own, progress)
    _stain_pending(job, writers, own, progress)
    if not any(writer.pending() for writer in writers):
        for writer in writers:
            writer.finish(progress)
    return Path(out)


def begin_volume(
    model: Path,
    volume: Path,
    out: Path,
    *,
    config: StainConfig | None = None,
    levels: Levels | str | None = None,
    voxel_um: float | tuple[float, float, float] | None = None,
    dataset: str | None = None,
    device: str = "auto",
    allow_voxel_mismatch: bool = False,
    doubt: Path | None = None,
    also: Sequence[Path] = (),
    overwrite: bool = False,
    resume: bool = True,
) -> tuple[Job, list[StainedWriter]]:
    """Open what `stain_volume` needs, and begin or go on with what it writes; the arguments are its own."""
    out = Path(out)
    if also and doubt is None:
        raise InputError("also: other models are only asked for their doubt; say where it goes (doubt)")
    if doubt is not None and Path(doubt).resolve() == out.resolve():
        raise InputError(f"{doubt}: is where the stained volume goes; give the doubt a name of its own")
    doubters = load_doubters(Path(model), also, device) if doubt is not None else ()
    job = open_job(model, volume, config, levels, voxel_um, dataset, device, allow_voxel_mismatch, doubters)

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
                StrangeInput,
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


def _stain_pending(job: Job, writers: Sequence[StainedWriter], own: Sequence[int], progress: Progress) -> None:
    """Stain the slabs, of those that begin at `own`, that are not written yet, in one of the volumes or in both."""
    wanting = [{slab for slab in writer.pending() if slab[0] in own} for writer in writers]
    pending = sorted(set.union(*wanting))
    depth = sum(stop - start for start, stop in writers[0].slabs() if start in own)
    done = depth - sum(stop - start for start, stop in pending)
    progress("staining", done, depth)
    with listen_for_interrupt() as stop_asked:
        for start, stop in pending:
            with ExitStack() as claims:
                # Each volume's slab by itself: where one of the two is there, another process may have made it.
                ours = [slab for slab in zip(writers, wanting, strict=True) if (start, stop) in slab[1]]
                mine = [writer for writer, _ in ours if claims.enter_context(writer.claim(start))]
                if mine:
                    slabs = _stained_slab(job, start, stop, partial(_tell, progress, done, depth))
                    for writer in mine:
                        writer.write(start, slabs[writers.index(writer)])
            done += stop - start
            progress("staining", done, depth)
            if stop_asked.is_set():
                raise Interrupted(
                    f"{writers[0].path}: {done} of {depth} slices are stained; run the same command again to continue"
                )


def _tell(progress: Progress, before: int, depth: int, slices: int) -> None:
    progress("staining", before + slices, depth)


def _stained_slab(job: Job, start: int, stop: int, tell: Callable[[int], None]) -> NDArray[np.uint8]:
    """Return a slab stained, and its doubt where that is asked for, shape (1 or 2, stop - start, Y, X, 3)."""
    slabs = np.empty((1 + bool(job.doubters), stop - start, *job.volume.shape[1:], 3), np.uint8)
    for index, ct in enumerate(normalised_slab(job, start, stop)):
        slabs[0, index] = stain_slice(job.translator, ct, job.config)
        if job.doubters:
            slabs[1, index] = doubt_picture(job.doubters, ct, slabs[0, index], job.config)
        tell(index + 1)
    return slabs


def normalised_slab(job: Job, start: int, stop: int) -> NDArray[np.uint16] | NDArray[np.float32]:
    """Read a slab, filter it as if the whole volume had been, and normalise it.

    Returns
    -------
    ndarray, shape (stop - start, Y, X)
        uint16, or float32 if the volume is normalised already.
    """
    first, last = max(0, start - job.halo), min(job.volume.shape[0], stop + job.halo)
    slab = job.volume.read(first, last)
    if job.halo:
        # With the halo as wide as the kernel, "nearest" only acts where the volume itself ends.
        slab = ndimage.gaussian_filter(
            slab.astype(np.float32), job.config.gaussian_sigma, mode="nearest", truncate=TRUNCATE
        )
    slab = slab[start - first : stop - first]
    return slab.astype(np.float32) if job.levels is None else normalise_ct(slab, job.levels)
