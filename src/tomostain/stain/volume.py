"""A volume, slice by slice, from disk to disk in slabs (paper section 2.11): resumable, of any number of slices."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain import __version__
from tomostain.errors import InputError, Interrupted
from tomostain.interrupt import listen_for_interrupt
from tomostain.io import Volume, create_stained, open_volume
from tomostain.prepare import Levels, normalise_ct, volume_levels
from tomostain.progress import Progress, silent
from tomostain.stain.config import StainConfig
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

    def provenance(self) -> dict[str, Any]:
        """Return what the stained volume says of where it comes from; no dates, so that it can be compared."""
        spec = self.translator.spec
        levels = None if self.levels is None else {"background": self.levels.background, "bone": self.levels.bone}
        return {
            "model": {"hash": self.translator.hash, "recipe": spec.recipe, "steps": spec.steps, "stain": spec.stain},
            "input": {"path": str(self.volume.path), "fingerprint": self.volume.fingerprint()},
            "levels": levels,
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
) -> Job:
    """Open model and volume, check that they fit, and find the grey levels if they are not given."""
    translator = load_translator(Path(model), device)
    opened = open_volume(Path(volume), voxel_um=voxel_um, dataset=dataset)
    check_voxel_size(opened.voxel_um, translator.spec.voxel_um, str(volume), allow_voxel_mismatch)
    if isinstance(levels, str):
        if levels != "none":
            raise InputError(f"levels '{levels}': expected Levels, None to estimate them, or 'none' if normalised")
        found = None
    else:
        found = levels or volume_levels(opened, source=str(volume))
    return Job(opened, translator, config or StainConfig(), found)


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
    overwrite: bool = False,
    resume: bool = True,
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
    overwrite : bool
        Replace a stained volume at `out`.
    resume : bool
        Continue one that was broken off, with the same model, input and options.
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
    are. The result does not depend on the size of the slabs.
    """
    out = Path(out)
    job = open_job(model, volume, config, levels, voxel_um, dataset, device, allow_voxel_mismatch)
    writer = create_stained(
        out,
        job.volume.shape,
        job.volume.voxel_um,
        slab=job.config.slab,
        provenance=job.provenance(),
        overwrite=overwrite,
        resume=resume and not overwrite,
    )
    depth = job.volume.shape[0]
    pending = writer.pending()
    done = depth - sum(stop - start for start, stop in pending)
    progress("staining", done, depth)
    with listen_for_interrupt() as stop_asked:
        for start, stop in pending:
            stained = np.empty((stop - start, *job.volume.shape[1:], 3), np.uint8)
            for index, ct in enumerate(_normalised_slab(job, start, stop)):
                stained[index] = stain_slice(job.translator, ct, job.config)
                done += 1
                progress("staining", done, depth)
            writer.write(start, stained)
            if stop_asked.is_set():
                raise Interrupted(
                    f"{out}: {done} of {depth} slices are stained; run the same command again to continue"
                )
    writer.finish(progress)
    return out


def _normalised_slab(job: Job, start: int, stop: int) -> NDArray[np.uint16] | NDArray[np.float32]:
    """Read a slab, filter it as if the whole volume had been, and normalise it."""
    halo = int(TRUNCATE * job.config.gaussian_sigma + 0.5)
    first, last = max(0, start - halo), min(job.volume.shape[0], stop + halo)
    slab = job.volume.read(first, last)
    if halo:
        # With the halo as wide as the kernel, "nearest" only acts where the volume itself ends.
        slab = ndimage.gaussian_filter(
            slab.astype(np.float32), job.config.gaussian_sigma, mode="nearest", truncate=TRUNCATE
        )
    slab = slab[start - first : stop - first]
    return slab.astype(np.float32) if job.levels is None else normalise_ct(slab, job.levels)


@dataclass(frozen=True)
class Plan:
    """What staining a volume would take.

    Attributes
    ----------
    shape : tuple of int
        (Z, Y, X), voxels.
    voxel_um : tuple of float
        (z, y, x), µm.
    device : str
    memory_bytes : int
        Estimated peak beside the libraries: one slab in and out and one batch.
    output_bytes : int
        Uncompressed, the pyramid included; on disk it is usually less.
    seconds : float
        From one timed slice.
    levels : Levels or None
        Grey values of background and bone.
    """

    shape: tuple[int, int, int]
    voxel_um: tuple[float, float, float]
    device: str
    memory_bytes: int
    output_bytes: int
    seconds: float
    levels: Levels | None

    def __str__(self) -> str:
        size = " x ".join(map(str, self.shape))
        voxel = " x ".join(f"{value:g}" for value in self.voxel_um)
        grey = (
            "as they are"
            if self.levels is None
            else f"{self.levels.background:.6g} -> 10000, {self.levels.bone:.6g} -> 30000"
        )
        return "\n".join(
            [
                f"volume:      {size} voxels of {voxel} µm (z, y, x)",
                f"grey values: {grey} (background, bone)",
                f"device:      {self.device}",
                f"memory:      about {self.memory_bytes / 1e9:.1f} GB beside the libraries",
                f"output:      {self.output_bytes / 1e9:.2f} GB before compression",
                f"time:        about {_duration(self.seconds)}, from one timed slice",
            ]
        )


def plan_volume(
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
) -> Plan:
    """Return what `stain_volume` with the same arguments would take; stains one slice to find out, writes nothing."""
    job = open_job(model, volume, config, levels, voxel_um, dataset, device, allow_voxel_mismatch)
    depth, height, width = job.volume.shape
    middle = depth // 2
    ct = _normalised_slab(job, middle, middle + 1)[0]
    began = time.perf_counter()
    stain_slice(job.translator, ct, job.config)
    seconds = (time.perf_counter() - began) * depth
    halo = 2 * int(TRUNCATE * job.config.gaussian_sigma + 0.5)
    slices = min(job.config.slab, depth)
    width_px = int(job.translator.spec.generator.get("width", 64))
    # Float32 in (with its halo) and filtered, colours out, and the widest feature maps of a batch.
    memory = (
        height * width * ((slices + halo) * 8 + slices * 6 + 28)
        + job.config.batch * job.config.patch_px**2 * width_px * 16
    )
    output = int(depth * height * width * 3 * 8 / 7)
    return Plan(job.volume.shape, job.volume.voxel_um, str(job.translator.device), memory, output, seconds, job.levels)


def _duration(seconds: float) -> str:
    """Return seconds as a person would say them.

    Examples
    --------
    >>> _duration(42), _duration(600), _duration(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
