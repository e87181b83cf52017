"""A volume, the model that will stain it, and what was decided about how: found out once, before the work begins."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain import __version__
from tomostain.imaging.intensity import IntensityReference, normalise_ct
from tomostain.io import Volume, open_volume
from tomostain.io.locks import lock
from tomostain.io.tensors import read_tensors, write_tensors
from tomostain.ood import VolumeReport, check_volume
from tomostain.stain.config import StainConfig
from tomostain.stain.intensity_reference import levels_of
from tomostain.stain.translator import Translator, load_translator
from tomostain.stain.uncertainty import FULL_SCALE
from tomostain.stain.uncertainty_map import kind_of
from tomostain.stain.volume_statistics import (
    check_instance_norm,
    pooled_translator,
    sample_tiles,
    seen_by,
    statistics_of,
    with_statistics,
)
from tomostain.stain.voxel_size_check import check_voxel_size
from tomostain.tiling.slice_context import repeat_ends, slabs_of, with_edges

Grey = NDArray[np.uint16] | NDArray[np.float32]
TRUNCATE = 4.0  # the Gaussian is cut off at 4 σ, and so far a slab must look beyond its borders


@dataclass(frozen=True)
class Job:
    """A volume, the model that will stain it, and everything decided about how."""

    volume: Volume
    translator: Translator
    config: StainConfig
    levels: IntensityReference | None
    report: VolumeReport
    doubters: tuple[Translator, ...] = ()

    @property
    def ct_slices(self) -> int:
        """Slices that must be at hand to stain one: as many as the models see."""
        return max(each.spec.ct_slices for each in (self.translator, *self.doubters))

    @property
    def halo(self) -> int:
        """Slices beyond a slab's borders that the Gaussian needs."""
        return int(TRUNCATE * self.config.gaussian_sigma + 0.5)

    def doubt_provenance(self) -> dict[str, Any]:
        """Return what the volume of doubt says of itself."""
        kind = kind_of(self.doubters)
        about = {
            "map": kind,
            "white": {part: FULL_SCALE[part] for part in FULL_SCALE if part in kind},
            "models": [doubter.hash for doubter in self.doubters],
        }
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
            **self.report.to_dict(),
            "options": self.config.model_dump(mode="json", exclude={"batch"}),
            "tomostain_version": __version__,
        }


def open_job(
    model: Path,
    volume: Path,
    config: StainConfig | None,
    levels: IntensityReference | str | None,
    voxel_um: float | tuple[float, float, float] | None,
    dataset: str | None,
    device: str,
    allow_voxel_mismatch: bool,
    doubters: Sequence[Translator] = (),
    levels_picture: Path | None = None,
    overwrite: bool = False,
) -> Job:
    """Open model and volume, check that they fit, and find the grey levels if they are not given; see `levels_of`."""
    config = config or StainConfig()
    translator = doubters[0] if doubters else load_translator(Path(model), device, precision=config.precision)
    opened = open_volume(Path(volume), voxel_um=voxel_um, dataset=dataset)
    check_voxel_size(opened.voxel_um, translator.spec.voxel_um, str(volume), allow_voxel_mismatch)
    found = levels_of(opened, levels, str(volume), levels_picture, overwrite)
    report = check_volume(translator.reference, opened, found, str(volume))
    report.warn()
    settings = config.for_model(translator.spec.patch_px, translator.tile_invariant)
    if settings.statistics == "volume":
        for each in doubters or (translator,):
            check_instance_norm(each.network)
    return Job(opened, translator, settings, found, report, tuple(doubters))


def with_volume_statistics(job: Job, kept: Path) -> Job:
    """Return the job with models that normalise by the volume's own statistics.

    Found once, by whichever process comes first, and kept in a file, so that the bits hang neither on how the work is
    shared nor on which machine goes on with it.
    """
    translators = job.doubters or (job.translator,)
    with lock(kept.with_suffix(".lock"), wait=True):
        pooled = _from_file(translators, kept)
        if pooled is None:
            side = job.translator.spec.patch_px
            tiles = sample_tiles(lambda *span: seen_slices(job, *span), job.volume.shape, side)
            pooled = [pooled_translator(translator, seen_by(translator, tiles)) for translator in translators]
            found = [statistics_of(translator) for translator in pooled]
            write_tensors(kept, {f"{n}.{name}": v for n, each in enumerate(found) for name, v in each.items()})
    return replace(job, translator=pooled[0], doubters=tuple(pooled) if job.doubters else ())


def _from_file(translators: Sequence[Translator], kept: Path) -> list[Translator] | None:
    """Return translators with the statistics that a file holds; None if it does not."""
    found = read_tensors(kept) or {}
    try:
        return [
            with_statistics(t, {k.removeprefix(f"{n}."): v for k, v in found.items() if k.startswith(f"{n}.")})
            for n, t in enumerate(translators)
        ]
    except ValueError:
        return None


def normalised_slab(job: Job, start: int, stop: int, beside: int = 0) -> Grey:
    """Read a slab, filter it as if the whole volume had been, and normalise it.

    Parameters
    ----------
    job : Job
    start, stop : int
        Its slices.
    beside : int
        So many neighbours before and behind it are returned too; beyond the volume its first or last slice again.

    Returns
    -------
    ndarray, shape (stop - start + 2 · beside, Y, X)
        uint16, or float32 if the volume is normalised already.
    """
    start, stop, repeat = with_edges(start - beside, stop + beside, job.volume.shape[0])
    first, last = max(0, start - job.halo), min(job.volume.shape[0], stop + job.halo)
    slab = job.volume.read(first, last)
    if job.halo:
        # With the halo as wide as the kernel, "nearest" only acts where the volume itself ends.
        slab = ndimage.gaussian_filter(
            slab.astype(np.float32), job.config.gaussian_sigma, mode="nearest", truncate=TRUNCATE
        )
    slab = slab[start - first : stop - first]
    grey: Grey = slab.astype(np.float32) if job.levels is None else normalise_ct(slab, job.levels)
    return repeat_ends(grey, repeat)


def seen_slices(job: Job, start: int, stop: int) -> Grey:
    """Return slices of the volume as the models see them: (n, Y, X), or (n, ct_slices, Y, X) with their neighbours."""
    return slabs_of(normalised_slab(job, start, stop, job.ct_slices // 2), job.ct_slices)
