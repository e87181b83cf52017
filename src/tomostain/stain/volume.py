"""A volume, slice by slice, from disk to disk in slabs (paper section 2.11): resumable, of any number of slices."""

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
from tomostain.prepare.greys import sample, warn_if_strange
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
    grey_distance: float | None = None

    @property
    def halo(self) -> int:
        """Slices beyond a slab's borders that the Gaussian needs."""
        return int(TRUNCATE * self.config.gaussian_sigma + 0.5)

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
    strange = warn_if_strange(sample(opened, found), translator.spec.greys, str(volume))
    return Job(opened, translator, (config or StainConfig()).for_model(translator.spec.patch_px), found, strange)


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
            for index, ct in enumerate(normalised_slab(job, start, stop)):
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
