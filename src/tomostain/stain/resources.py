"""The resources that staining a volume needs: memory, disk and time."""

import math
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from tomostain.imaging.intensity import IntensityReference
from tomostain.installation import available_cores
from tomostain.io import Volume
from tomostain.io.metadata.units import format_sides
from tomostain.networks import parse_generator_spec
from tomostain.networks.build import size_step
from tomostain.ood.novelty import BYTES_PER_PIXEL
from tomostain.paths import StrPath
from tomostain.stain.chunk import Chunk, read_chunk, stain_chunk
from tomostain.stain.config import StainConfig
from tomostain.stain.grey_chunks import Grey, contexts_of
from tomostain.stain.job import StainJob
from tomostain.stain.job_statistics import with_volume_statistics
from tomostain.stain.multi_axis import AXES, CHUNK, planes_in_flight, turned_dtype, turning_in_flight
from tomostain.stain.pass_size import pass_size
from tomostain.stain.pipeline import PiecesInFlight
from tomostain.stain.request import Model, StainOptions, StainRequest, make_request
from tomostain.stain.slices import stain_slice, with_slice_statistics
from tomostain.stain.translator import Translator
from tomostain.stain.uncertainty_map import uncertainty_map
from tomostain.stain.volume_statistics import TILES
from tomostain.tiling.exact import halo_of
from tomostain.tiling.grid import tile_spans, tile_starts


@dataclass(frozen=True)
class StainPlan:
    """The resources that staining a volume needs.

    Attributes
    ----------
    shape : tuple of int
        (Z, Y, X), voxels.
    voxel_um : tuple of float
        (z, y, x), µm.
    device : str
    memory_bytes : int
        Estimated peak without the libraries: chunks that are read, stained and written, and a batch.
    output_bytes : int
        Uncompressed, with the pyramid; usually less on disk.
    seconds : float
        From one chunk that is read and one batch that is stained: the slower of the two, which run in parallel.
    intensity : IntensityReference or None
        Grey values of background and bone; None if the volume is normalised.
    scratch_bytes : int
        Temporary arrays next to the output, for multi-axis staining.
    free_bytes : int
        Free space on the disk of the output.
    read_share : float
        Time of reading relative to the time of staining; above 1, reading is slower.
    gpu_bytes : int
        Estimated peak on a GPU: the grey values of the chunks in flight, with their colours along other axes, and what
        goes through the network at once. A batch is halved if it does not fit.
    precision : str
        Of the network.
    """

    shape: tuple[int, int, int]
    voxel_um: tuple[float, float, float]
    device: str
    memory_bytes: int
    output_bytes: int
    seconds: float
    intensity: IntensityReference | None
    scratch_bytes: int = 0
    free_bytes: int = 0
    read_share: float = 0.0
    gpu_bytes: int = 0
    precision: str = "float32"

    def __str__(self) -> str:
        size = format_sides(self.shape)
        voxel = format_sides(self.voxel_um)
        grey = (
            "as they are"
            if self.intensity is None
            else f"{self.intensity.background:.6g} -> 10000, {self.intensity.bone:.6g} -> 30000"
        )
        needed = self.output_bytes + self.scratch_bytes
        short = "" if needed <= self.free_bytes else ": less than it may need"
        slower = "reading" if self.read_share > 1 else "the model"
        return "\n".join(
            [
                f"volume:      {size} voxels of {voxel} µm (z, y, x)",
                f"grey values: {grey} (background, bone)",
                f"device:      {self.device}, {self.precision}",
                f"memory:      about {_size(self.memory_bytes)} in addition to the libraries",
                *([f"GPU memory:  about {_size(self.gpu_bytes)}"] if self.gpu_bytes else []),
                f"output:      {_size(self.output_bytes)} before compression ({_size(self.free_bytes)} free{short})",
                *(
                    [f"scratch:     {_size(self.scratch_bytes)} until the volume is complete"]
                    if self.scratch_bytes
                    else []
                ),
                f"time:        about {_duration(self.seconds)}, most of it in {slower}, from a timed z chunk",
            ]
        )


def plan_volume(model: Model, volume: StrPath | Volume, out: StrPath, **options: Unpack[StainOptions]) -> StainPlan:
    """Return the resources that `stain_volume` with the same arguments needs; see `plan`."""
    return plan(make_request(model, volume, out, **options))


def plan(request: StainRequest) -> StainPlan:
    """Return the resources that staining needs; writes only the intensity figure.

    The chunk in the middle is read completely. Only one batch of its patches is stained, because a whole chunk may take
    hours on a CPU. It is stained twice because the first time is slower.

    Parameters
    ----------
    request : StainRequest

    Raises
    ------
    InputError
        As `stain`, but `out` may exist.
    """
    request.check_names()
    job = StainJob.open(request.with_begun_precision())
    depth, height, width = job.volume.shape
    axes, others = len(job.config.planes), len(job.config.planes.replace("z", ""))
    volumes = 1 + bool(job.ensemble)
    slices = min(job.config.z_chunk, depth)
    first = (depth - slices) // 2
    started = time.perf_counter()
    if job.is_batched:
        read = read_chunk(replace(job, config=job.config.model_copy(update={"planes": "z"})), first, first + slices)
        reading = (time.perf_counter() - started) / slices
        staining = _seconds_per_slice_on_gpu(job, read)
    else:
        chunk = contexts_of(job, first, first + slices)
        reading = (time.perf_counter() - started) / slices
        staining = _seconds_per_slice(job, chunk[slices // 2])
    return StainPlan(
        job.volume.shape,
        job.volume.voxel_um,
        str(job.translator.device),
        _memory(job, slices, volumes),
        volumes * int(depth * height * width * 3 * 8 / 7),
        max(reading, staining) * depth * axes,
        job.intensity,
        scratch_bytes=(turned_dtype(job).itemsize + 3 * others) * depth * height * width if others else 0,
        free_bytes=_free(request.out_path),
        read_share=reading / max(staining, 1e-9),
        gpu_bytes=_gpu_memory(job, slices) if job.translator.device.type != "cpu" else 0,
        precision=job.config.precision,
    )


def _memory(job: StainJob, slices: int, volumes: int) -> int:
    """Return the bytes on the host of the stage that takes most (turning, staining along each axis), and of a batch."""
    shape, config = job.volume.shape, job.config
    # The pieces in flight, and the sums of one slice.
    stages = [_z_chunks(job, slices, volumes) + 28 * shape[1] * shape[2]]
    if config.planes != "z":
        stages.append(turning_in_flight(job).on_host)
    for axis in _other_axes(job):
        stages.append(planes_in_flight(job, axis).on_host + 28 * math.prod(_sides(job, axis)))
    patch, _ = config.tiling(job.translator.spec.patch_px)
    batch_px = config.batch * patch**2
    if config.blend == "exact":
        # One tile at a time, not larger than a slice.
        axes = [0, *_other_axes(job)]
        batch_px = max(math.prod(min(patch, side) for side in _sides(job, axis)) for axis in axes)
    if config.statistics == "volume":
        batch_px = max(batch_px, TILES * job.translator.spec.patch_px**2)
    bytes_px = parse_generator_spec(job.translator.spec.generator).activation_bytes_per_pixel
    batch = batch_px * bytes_px
    if job.has_cycle_error:
        batch = max(batch, _cycle_error_pass(job, slices)[1])
    resampled = 0 if job.resampling is None else job.resampling.memory_bytes(job.volume.dtype.itemsize)
    return max(stages) + batch + resampled


def _z_chunks(job: StainJob, slices: int, volumes: int) -> int:
    """Return the bytes on the host of the z chunks in flight, and of what is compared for the uncertainty."""
    pixels = job.volume.shape[1] * job.volume.shape[2]
    novelty = BYTES_PER_PIXEL * min(slices, available_cores()) * pixels
    compared = novelty if job.has_novelty and job.translator.device.type != "cuda" else 0
    if job.is_batched:
        return job.chunks_in_flight.on_host + compared
    # The chunk that is read, as float32 with its halo, filtered and normalised; the chunk in the model, input and
    # output; the colours that are written, with the buffers of the writer; and the colours along other axes.
    read, stained, written, others = (
        (slices + 2 * job.halo + job.ct_slices - 1) * 12 * job.in_flight.ahead,
        slices * (4 + 3 * volumes),
        slices * (3 * volumes + 7) * job.in_flight.behind,
        slices * 3 * len(_other_axes(job)) * (job.in_flight.ahead + 1),
    )
    return pixels * (read + stained + written + others) + compared + job.comparison_bytes


def _gpu_memory(job: StainJob, slices: int) -> int:
    """Return the bytes on a GPU of the stage that takes most: staining along z, y or x."""
    stages = [_gpu_stage(job, 0, slices, job.chunks_in_flight)] if "z" in job.config.planes else []
    for axis in _other_axes(job):
        stages.append(_gpu_stage(job, axis, min(CHUNK, job.volume.shape[axis]), planes_in_flight(job, axis)))
    return max(stages) + job.comparison_bytes


def _gpu_stage(job: StainJob, axis: int, slices: int, pieces: PiecesInFlight) -> int:
    """Return the bytes of the pieces in flight, of the sums and colours of a pass, and of its feature maps.

    The models of an ensemble run one after the other.
    """
    sides = _sides(job, axis)
    passes = [_pass_memory(each, job.config, sides, slices) for each in job.ensemble or (job.translator,)]
    if job.has_cycle_error:
        passes.append(_cycle_error_pass(job, slices))
    at_once, in_network = min(number for number, _ in passes), max(needed for _, needed in passes)
    return pieces.on_device + math.prod(sides) * at_once * (4 * job.ct_slices + 3 * 8 + 3) + in_network


def _pass_memory(
    translator: Translator, config: StainConfig, sides: tuple[int, ...], slices: int, bytes_px: int = 0
) -> tuple[int, int]:
    """Return how many slices go through a network at once, and the bytes of its feature maps."""
    size = pass_size(translator, config, (sides[0], sides[1]), slices)
    bytes_px = max(bytes_px, parse_generator_spec(translator.spec.generator).activation_bytes_per_pixel)
    if config.precision != "float32":
        bytes_px //= 2
    patch = config.tiling(translator.spec.patch_px)[0]
    pass_px = size.patches * patch**2 or size.slices * math.prod(min(size.tile_px, side) for side in sides)
    return size.slices, pass_px * bytes_px


def _cycle_error_pass(job: StainJob, slices: int) -> tuple[int, int]:
    """Return `_pass_memory` of the cycle error: of patches, in the larger of the two networks."""
    first, config = job.ensemble[0], job.config
    if config.blend == "exact":  # as `UncertaintyStainer` does
        config = config.model_copy(update={"blend": "mean"})
    reverse = parse_generator_spec(first.spec.reverse).activation_bytes_per_pixel if first.spec.reverse else 0
    return _pass_memory(first, config, _sides(job, 0), slices, reverse)


def _other_axes(job: StainJob) -> list[int]:
    return [AXES[name] for name in job.config.planes.replace("z", "")]


def _sides(job: StainJob, axis: int) -> tuple[int, ...]:
    """Return the sides of a slice across an axis."""
    return (*job.volume.shape[:axis], *job.volume.shape[axis + 1 :])


def _seconds_per_slice_on_gpu(job: StainJob, chunk: Chunk) -> float:
    """Return the time of a slice, from a whole z chunk: on a GPU it takes less than a second or two."""
    if job.config.statistics == "volume":
        job = with_volume_statistics(job, None)
    job = replace(job, config=job.config.model_copy(update={"planes": "z"}))
    stain_chunk(job, chunk, lambda _: None)
    started = time.perf_counter()
    result = stain_chunk(job, chunk, lambda _: None)
    return (time.perf_counter() - started) / result.shape[1]


def _free(path: Path) -> int:
    """Return the free bytes of the disk of `path`, which need not exist."""
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    return shutil.disk_usage(folder).free


def _seconds_per_slice(job: StainJob, ct: Grey) -> float:
    """Return the time of one batch, or one exact tile, in the middle of a slice, multiplied by their number."""
    patch, stride = job.config.tiling(job.translator.spec.patch_px)
    rows, columns = (slice(max(0, (side - patch) // 2), None) for side in ct.shape[-2:])
    if job.config.blend == "exact":
        sample = ct[..., rows, columns][..., :patch, :patch]
        share = _computed_px(job, ct.shape[-2:]) / math.prod(sample.shape[-2:])
    else:
        sample = ct[..., rows, columns][..., :patch, : patch + stride * (job.config.batch - 1)]
        patches = math.prod(len(tile_starts(side, patch, stride)) for side in ct.shape[-2:])
        share = patches / len(tile_starts(sample.shape[-1], patch, stride))
    job = replace(job, translator=with_slice_statistics(job.translator, sample, job.config))
    _stain_batch(job, sample)
    started = time.perf_counter()
    _stain_batch(job, sample)
    return (time.perf_counter() - started) * share


def _computed_px(job: StainJob, shape: tuple[int, ...]) -> int:
    """Return the pixels that go through the network for a slice in exact tiles, halos included."""
    generator, volume_statistics = job.translator.spec.generator, job.config.statistics == "volume"
    patch, _ = job.config.tiling(job.translator.spec.patch_px)
    halo, multiple = halo_of(generator, volume_statistics), size_step(generator)
    return math.prod(sum(stop - start for start, stop, *_ in tile_spans(side, patch, halo, multiple)) for side in shape)


def _stain_batch(job: StainJob, ct: Grey) -> None:
    stained = stain_slice(job.translator, ct, job.config)
    if job.ensemble:
        uncertainty_map(job.ensemble, ct, stained, job.config, noise_samples=job.noise_samples)


def _size(n_bytes: int) -> str:
    """Return a number of bytes as text.

    Examples
    --------
    >>> _size(34_000_000), _size(11_500_000_000)
    ('34 MB', '11.5 GB')
    """
    return f"{n_bytes / 1e6:.0f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:.1f} GB"


def _duration(seconds: float) -> str:
    """Return a duration as text.

    Examples
    --------
    >>> _duration(42), _duration(600), _duration(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
