"""What staining a volume would take: memory, disk and time, for ``--dry-run``."""

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tomostain.imaging.intensity import IntensityReference
from tomostain.networks import parse_generator_spec
from tomostain.networks.build import size_step
from tomostain.stain.config import StainConfig
from tomostain.stain.job import Grey, Job, open_job, seen_slices
from tomostain.stain.multi_axis import check_isotropic
from tomostain.stain.slices import settled, stain_slice
from tomostain.stain.uncertainty_map import load_ensemble, uncertainty_map
from tomostain.stain.volume_statistics import TILES
from tomostain.tiling.exact import halo_of, tile_spans
from tomostain.tiling.grid import tile_starts


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
        Estimated peak beside the libraries: a slab that is read, one that is stained, one that is written, and a batch.
    output_bytes : int
        Uncompressed, the pyramid included; on disk it is usually less.
    seconds : float
        From a slab that was read and a batch of patches that was stained: the slower of the two, which overlap.
    levels : IntensityReference or None
        Grey values of background and bone.
    scratch_bytes : int
        On disk beside the output until it is done, where it is stained along three axes.
    free_bytes : int
        On the disk where the output will be.
    read_share : float
        Time of reading as a part of the time of staining; above 1, reading is what takes the time.
    """

    shape: tuple[int, int, int]
    voxel_um: tuple[float, float, float]
    device: str
    memory_bytes: int
    output_bytes: int
    seconds: float
    levels: IntensityReference | None
    scratch_bytes: int = 0
    free_bytes: int = 0
    read_share: float = 0.0

    def __str__(self) -> str:
        size = " x ".join(map(str, self.shape))
        voxel = " x ".join(f"{value:g}" for value in self.voxel_um)
        grey = (
            "as they are"
            if self.levels is None
            else f"{self.levels.background:.6g} -> 10000, {self.levels.bone:.6g} -> 30000"
        )
        needed = self.output_bytes + self.scratch_bytes
        short = "" if needed <= self.free_bytes else ": less than it may take"
        slower = "reading" if self.read_share > 1 else "the model"
        return "\n".join(
            [
                f"volume:      {size} voxels of {voxel} µm (z, y, x)",
                f"grey values: {grey} (background, bone)",
                f"device:      {self.device}",
                f"memory:      about {_size(self.memory_bytes)} beside the libraries",
                f"output:      {_size(self.output_bytes)} before compression ({_size(self.free_bytes)} free{short})",
                *([f"scratch:     {_size(self.scratch_bytes)} until it is done"] if self.scratch_bytes else []),
                f"time:        about {_duration(self.seconds)}, most of it in {slower}, from a timed slab",
            ]
        )


def plan_volume(
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
) -> Plan:
    """Return what `stain_volume` with the same arguments would take; writes nothing but `levels_picture`.

    The slab in the middle is read as it would be. Of its patches one batch is stained, twice because the first is
    slower, and counted as often as a slab has batches: a whole slab may take hours on a CPU.

    Raises
    ------
    InputError
        As `stain_volume`, but for `out`, which is not looked at.
    """
    config = config or StainConfig()
    doubters = load_ensemble(Path(model), also, device, config.precision) if doubt is not None else ()
    opened = (model, volume, config, levels, voxel_um, dataset, device, allow_voxel_mismatch)
    job = open_job(*opened, doubters, levels_picture)
    if job.config.planes != "z":
        check_isotropic(job.volume.voxel_um, str(volume))
    depth, height, width = job.volume.shape
    axes, others = len(job.config.planes), len(job.config.planes.replace("z", ""))
    volumes = 1 + bool(doubters)
    slices = min(job.config.slab, depth)
    first = (depth - slices) // 2
    began = time.perf_counter()
    slab = seen_slices(job, first, first + slices)
    reading = (time.perf_counter() - began) / slices
    staining = _seconds_a_slice(job, slab[slices // 2])
    return Plan(
        job.volume.shape,
        job.volume.voxel_um,
        str(job.translator.device),
        _memory(job, slices, volumes),
        volumes * int(depth * height * width * 3 * 8 / 7),
        max(reading, staining) * depth * axes,
        job.levels,
        scratch_bytes=(2 + 3 * others) * depth * height * width if others else 0,
        free_bytes=_free(Path(out)),
        read_share=reading / max(staining, 1e-9),
    )


def _memory(job: Job, slices: int, volumes: int) -> int:
    """Return the bytes that a slab in each of three hands takes, and a batch."""
    patch, _ = job.config.tiling(job.translator.spec.patch_px)
    bytes_px = parse_generator_spec(job.translator.spec.generator).activation_bytes_per_pixel
    # Float32 read with its halo, filtered and normalised; the slab in the model, in and out; colours being written,
    # with what the writer takes; the sums of one slice; and the widest feature maps of a batch.
    read, stained, written = (
        (slices + 2 * job.halo + job.ct_slices - 1) * 12,
        slices * (4 + 3 * volumes),
        slices * (3 * volumes + 7),
    )
    pixels, batch_px = job.volume.shape[1] * job.volume.shape[2], job.config.batch * patch**2
    if job.config.blend == "exact":
        # One at a time, and none larger than a slice.
        batch_px = math.prod(min(patch, side) for side in job.volume.shape[1:])
    if job.config.statistics == "volume":
        batch_px = max(batch_px, TILES * job.translator.spec.patch_px**2)
    return pixels * (read + stained + written + 28) + batch_px * bytes_px


def _free(path: Path) -> int:
    """Return the free bytes of the disk that `path` would lie on."""
    there = next(parent for parent in path.absolute().parents if parent.is_dir())
    return shutil.disk_usage(there).free


def _seconds_a_slice(job: Job, ct: Grey) -> float:
    """Time one batch, or one exact tile, in the middle of a slice and multiply."""
    patch, stride = job.config.tiling(job.translator.spec.patch_px)
    rows, columns = (slice(max(0, (side - patch) // 2), None) for side in ct.shape[-2:])
    if job.config.blend == "exact":
        sample = ct[..., rows, columns][..., :patch, :patch]
        share = _computed_px(job, ct.shape[-2:]) / math.prod(sample.shape[-2:])
    else:
        sample = ct[..., rows, columns][..., :patch, : patch + stride * (job.config.batch - 1)]
        patches = math.prod(len(tile_starts(side, patch, stride)) for side in ct.shape[-2:])
        share = patches / len(tile_starts(sample.shape[-1], patch, stride))
    job = replace(job, translator=settled(job.translator, sample, job.config))
    _stain(job, sample)
    began = time.perf_counter()
    _stain(job, sample)
    return (time.perf_counter() - began) * share


def _computed_px(job: Job, shape: tuple[int, ...]) -> int:
    """Return the pixels that go through the network for a slice in exact tiles, halos included."""
    generator, pooled = job.translator.spec.generator, job.config.statistics == "volume"
    patch, _ = job.config.tiling(job.translator.spec.patch_px)
    halo, multiple = halo_of(generator, pooled), size_step(generator)
    return math.prod(sum(stop - start for start, stop, *_ in tile_spans(side, patch, halo, multiple)) for side in shape)


def _stain(job: Job, ct: Grey) -> None:
    stained = stain_slice(job.translator, ct, job.config)
    if job.doubters:
        uncertainty_map(job.doubters, ct, stained, job.config)


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
