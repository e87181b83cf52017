"""What staining a volume would take: memory, disk and time, for ``--dry-run``."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomostain.prepare import Levels
from tomostain.stain.config import StainConfig
from tomostain.stain.exact import halo_of
from tomostain.stain.job import Job, normalised_slab, open_job
from tomostain.stain.planes import check_isotropic
from tomostain.stain.slices import settled, stain_slice
from tomostain.stain.statistics import TILES
from tomostain.stain.tiles import tile_starts


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
        From one timed batch of patches.
    levels : Levels or None
        Grey values of background and bone.
    scratch_bytes : int
        On disk beside the output until it is done, where it is stained along three axes.
    """

    shape: tuple[int, int, int]
    voxel_um: tuple[float, float, float]
    device: str
    memory_bytes: int
    output_bytes: int
    seconds: float
    levels: Levels | None
    scratch_bytes: int = 0

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
                f"memory:      about {_size(self.memory_bytes)} beside the libraries",
                f"output:      {_size(self.output_bytes)} before compression",
                *([f"scratch:     {_size(self.scratch_bytes)} until it is done"] if self.scratch_bytes else []),
                f"time:        about {_duration(self.seconds)}, from one timed batch of patches",
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
    """Return what `stain_volume` with the same arguments would take; writes nothing.

    The time is that of one batch of patches, stained twice because the first is slower, times the number of batches.

    Raises
    ------
    InputError
        As `stain_volume`, but for `out`, which is not looked at.
    """
    job = open_job(model, volume, config, levels, voxel_um, dataset, device, allow_voxel_mismatch)
    depth, height, width = job.volume.shape
    middle = depth // 2
    ct = normalised_slab(job, middle, middle + 1)[0]
    seconds = _seconds_a_slice(job, ct) * depth
    scratch = 0
    if job.config.planes != "z":
        check_isotropic(job.volume.voxel_um, str(volume))
        others = len(job.config.planes.replace("z", ""))
        seconds, scratch = len(job.config.planes) * seconds, (2 + 3 * others) * depth * height * width
    slices = min(job.config.slab, depth)
    patch, _ = job.config.tiling(job.translator.spec.patch_px)
    width_px = int(job.translator.spec.generator.get("width", 64))
    # Float32 in (with its halo) and filtered; colours out with what the writer takes; the sums of one slice; and the
    # widest feature maps of a batch.
    batch_px = job.config.batch * patch**2
    if job.config.statistics == "volume":
        batch_px = max(batch_px, TILES * job.translator.spec.patch_px**2)
    memory = height * width * ((slices + 2 * job.halo) * 8 + slices * 10 + 28) + batch_px * width_px * 16
    output = int(depth * height * width * 3 * 8 / 7)
    return Plan(
        job.volume.shape, job.volume.voxel_um, str(job.translator.device), memory, output, seconds, job.levels, scratch
    )


def _seconds_a_slice(job: Job, ct: NDArray[np.uint16] | NDArray[np.float32]) -> float:
    """Time one batch in the middle of a slice and multiply: a whole slice may take minutes on a CPU."""
    patch, stride = job.config.tiling(job.translator.spec.patch_px)
    if job.config.blend == "exact":
        # A tile gives what is within its halo.
        pooled = job.config.statistics == "volume"
        stride = max(1, patch - 2 * halo_of(job.translator.spec.generator, pooled))
    patches = math.prod(len(tile_starts(side, patch, stride)) for side in ct.shape)
    rows, columns = (slice(max(0, (side - patch) // 2), None) for side in ct.shape)
    sample = ct[rows, columns][:patch, : patch + stride * (job.config.batch - 1)]
    timed = len(tile_starts(sample.shape[1], patch, stride))
    translator = settled(job.translator, sample, job.config)
    stain_slice(translator, sample, job.config)
    began = time.perf_counter()
    stain_slice(translator, sample, job.config)
    return (time.perf_counter() - began) * patches / timed


def _size(n_bytes: int) -> str:
    """Return bytes as a person would say them.

    Examples
    --------
    >>> _size(34_000_000), _size(11_500_000_000)
    ('34 MB', '11.5 GB')
    """
    return f"{n_bytes / 1e6:.0f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:.1f} GB"


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
