"""Staining one slice: the paper's way, and what may take its place, in turn in one run.

Weights are random: the time does not depend on what a network has learnt. What the wider strides and whole slices do to
a picture is a matter of training (docs/explanation/speed.md).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.speed.measure import as_rows, paired
from benchmarks.table1.cost import multiply_adds
from tomostain import __version__
from tomostain.io import ModelSpec
from tomostain.stain import StainConfig, Translator, stain_slice, tile_starts
from tomostain.stain.exact import halo_of, tile_spans
from tomostain.train import build_network, load_recipe
from tomostain.train.fast import accelerate
from tomostain.train.networks import size_step


def translator(recipe: str, *, fast: bool, norm: str = "instance") -> Translator:
    """Return a recipe's generator with random weights, large enough to draw more than one grey."""
    chosen = load_recipe(recipe)
    generator = chosen.generator_spec() | {"norm": norm}
    network = build_network(generator, torch.Generator().manual_seed(0)).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.mul_(2)
    spec = ModelSpec(
        generator=generator,
        in_channels=chosen.in_channels,
        voxel_um=5,
        patch_px=chosen.patch_px,
        stain="",
        recipe=recipe,
        tomostain_version=__version__,
    )
    return Translator(accelerate(network, frozen=True) if fast else network, spec, torch.device("cpu"))


def slice_flop(model: Translator, side: int, config: StainConfig) -> int:
    """Return the operations of a slice by the plain definition: those of a patch, or of a tile, times their number."""
    generator = model.spec.generator
    patch, stride = config.tiling(model.spec.patch_px)
    image = torch.zeros(1, generator["in_channels"], patch, patch)
    network = build_network(generator)
    if config.blend != "exact":
        return 2 * multiply_adds(network, image) * len(tile_starts(side, patch, stride)) ** 2
    sides = [end - start for start, end, *_ in tile_spans(side, patch, halo_of(generator), size_step(generator))]
    return 2 * round(multiply_adds(network, image) * (sum(sides) / patch) ** 2)


def measure(rounds: int, side: int) -> dict[str, Any]:
    """Time a slice of `side` px in each way; give the largest deviation of the fast kernels, in grey levels."""
    ways: dict[str, tuple[Translator, StainConfig]] = {
        "the paper's way: 256 px, stride 64, one by one": (
            translator("paired-cyclegan", fast=False),
            StainConfig(batch=1),
        ),
        "the same, fast kernels": (translator("paired-cyclegan", fast=True), StainConfig(batch=1)),
        "stride 128, Hann, fast kernels": (
            translator("paired-cyclegan", fast=True),
            StainConfig(stride_px=128, blend="hann"),
        ),
        "the whole slice, fast kernels": (
            translator("paired-cyclegan", fast=True),
            StainConfig(patch_px=side, stride_px=side),
        ),
        "exact tiles, norm: channel, fast kernels": (
            translator("paired-cyclegan", fast=True, norm="channel"),
            StainConfig(blend="exact"),
        ),
        "recipe tomostain, exact tiles": (
            translator("tomostain", fast=True, norm="channel"),
            StainConfig(blend="exact"),
        ),
    }
    ct = np.random.default_rng(0).integers(8000, 32000, (side, side)).astype(np.uint16)
    pictures: dict[str, NDArray[np.uint8]] = {}

    def stain(name: str) -> Callable[[], None]:
        model, config = ways[name]

        def run() -> None:
            pictures[name] = stain_slice(model, ct, config)

        return run

    flop = {name: slice_flop(model, side, config) for name, (model, config) in ways.items()}
    timings = paired({name: stain(name) for name in ways}, rounds, warm=False, flop=flop)
    first, same = (pictures[name].astype(int) for name in list(ways)[:2])
    deviation = np.abs(first - same)
    return {
        "side_px": side,
        "timings": as_rows(timings),
        "largest_deviation_grey_levels": int(deviation.max()),
        "share_of_values_that_deviate": float((deviation > 0).mean()),
        "greys": float(first.std()),
    }
