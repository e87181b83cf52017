"""Time of staining one slice: the paper's method and its alternatives, in turn in one run.

The weights are random, because the time does not depend on them. docs/explanation/speed.md describes the effect of
wider strides and whole slices on the image, `studies.table1.half` that of half precision. All methods keep freed
memory, like the command line. Half precision is skipped where the processor does not support it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measure import as_rows, paired
from benchmarks.staining import pooled, translator
from tomostain.memory import keep_freed_memory
from tomostain.networks import count_multiply_adds
from tomostain.networks.build import build_network, size_step
from tomostain.stain import StainConfig, Translator, stain_slice
from tomostain.tiling.exact import halo_of, tile_spans
from tomostain.tiling.grid import tile_starts


def slice_flop(model: Translator, side: int, config: StainConfig) -> int:
    """Return the operations of a slice: those of a patch or tile, times the number of patches or tiles."""
    generator = model.spec.generator
    patch, stride = config.tiling(model.spec.patch_px)
    image = torch.zeros(1, generator["in_channels"], patch, patch)
    network = build_network(generator)
    if config.blend != "exact":
        return 2 * count_multiply_adds(network, tuple(image.shape)) * len(tile_starts(side, patch, stride)) ** 2
    halo = halo_of(generator, model.has_volume_statistics)
    sides = [end - start for start, end, *_ in tile_spans(side, patch, halo, size_step(generator))]
    return 2 * round(count_multiply_adds(network, tuple(image.shape)) * (sum(sides) / patch) ** 2)


def in_half_precision() -> dict[str, tuple[Translator, StainConfig]]:
    """Return the methods that are faster on a processor with AMX."""
    exact = StainConfig(blend="exact")
    return {
        "the paper's way, bfloat16": (translator("paired-cyclegan", half=True), StainConfig(batch=1)),
        "stride 128, Hann, bfloat16": (
            translator("paired-cyclegan", half=True),
            StainConfig(stride_px=128, blend="hann"),
        ),
        "statistics volume, exact tiles, bfloat16": (pooled(translator("paired-cyclegan", half=True)), exact),
        "exact tiles, norm: channel, bfloat16": (translator("paired-cyclegan", norm="channel", half=True), exact),
        "recipe tomostain, exact tiles, bfloat16": (translator("tomostain", norm="channel", half=True), exact),
        "recipe lean, exact tiles, bfloat16": (translator("lean", norm="channel", half=True), exact),
    }


def measure(rounds: int, side: int) -> dict[str, Any]:
    """Time a slice of `side` px with each method. Also return the largest deviation of the fast kernels."""
    keep_freed_memory()
    methods: dict[str, tuple[Translator, StainConfig]] = {
        "the paper's way: 256 px, stride 64, one by one": (
            translator("paired-cyclegan", fast=False),
            StainConfig(batch=1),
        ),
        "the same, fast kernels": (translator("paired-cyclegan"), StainConfig(batch=1)),
        "stride 128, Hann, fast kernels": (
            translator("paired-cyclegan"),
            StainConfig(stride_px=128, blend="hann"),
        ),
        "statistics volume, exact tiles, fast kernels": (
            pooled(translator("paired-cyclegan")),
            StainConfig(blend="exact"),
        ),
        "the whole slice, fast kernels": (
            translator("paired-cyclegan"),
            StainConfig(patch_px=side, stride_px=side),
        ),
        "exact tiles, norm: channel, fast kernels": (
            translator("paired-cyclegan", norm="channel"),
            StainConfig(blend="exact"),
        ),
        "recipe tomostain, exact tiles": (
            translator("tomostain", norm="channel"),
            StainConfig(blend="exact"),
        ),
        "recipe lean, exact tiles": (translator("lean", norm="channel"), StainConfig(blend="exact")),
    }
    if torch.cpu.get_capabilities().get("amx_bf16"):
        methods |= in_half_precision()
    ct = np.random.default_rng(0).integers(8000, 32000, (side, side)).astype(np.uint16)
    images: dict[str, NDArray[np.uint8]] = {}

    def stain(name: str) -> Callable[[], None]:
        model, config = methods[name]

        def run() -> None:
            images[name] = stain_slice(model, ct, config)

        return run

    flop = {name: slice_flop(model, side, config) for name, (model, config) in methods.items()}
    timings = paired({name: stain(name) for name in methods}, rounds, warm=False, flop=flop)
    first, with_fast_kernels = (images[name].astype(int) for name in list(methods)[:2])
    deviation = np.abs(first - with_fast_kernels)
    return {
        "side_px": side,
        "timings": as_rows(timings),
        "largest_deviation_grey_levels": int(deviation.max()),
        "share_of_values_that_deviate": float((deviation > 0).mean()),
        "greys": float(first.std()),
    }
