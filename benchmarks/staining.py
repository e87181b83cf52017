"""Staining one slice: the paper's method, and faster ones, in turn.

Weights are random: the time does not depend on what a network has learned. All keep freed memory, as the command line
does. bfloat16 is left out where the processor has no instructions for it.
"""

from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.measure import as_rows, paired
from tomostain import __version__
from tomostain.io import ModelSpec
from tomostain.memory import keep_freed_memory
from tomostain.networks.build import build_network
from tomostain.networks.kernels import accelerate
from tomostain.networks.precision import with_precision
from tomostain.stain import StainConfig, Translator, stain_slice
from tomostain.stain.volume_statistics import fit_volume_statistics
from tomostain.train import load_recipe


def translator(recipe: str, *, fast: bool = True, norm: str = "instance", half: bool = False) -> Translator:
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
    cpu = torch.device("cpu")
    if half:
        return Translator(with_precision(network, "bfloat16", cpu), spec, cpu)
    return Translator(accelerate(network, frozen=True) if fast else network, spec, cpu)


def pooled(model: Translator) -> Translator:
    """Return a translator that normalises by the statistics of a volume; they are found once for all its slices."""
    side, draws = model.spec.patch_px, np.random.default_rng(1)
    return fit_volume_statistics(model, draws.integers(8000, 32000, (4, side, side)).astype(np.float32))


def measure(rounds: int, side: int = 512, papers: str = "paired-cyclegan", ours: str = "tomostain") -> dict[str, Any]:
    """Time a slice of `side` px in each way, with the generators of two recipes."""
    keep_freed_memory()
    exact = StainConfig(blend="exact")
    ways: dict[str, tuple[Translator, StainConfig]] = {
        "the paper's method: overlapping patches, one by one": (
            translator(papers, fast=False),
            StainConfig(batch=1),
        ),
        "the same, fast kernels": (translator(papers), StainConfig(batch=1)),
        "statistics volume, exact tiles": (pooled(translator(papers)), exact),
        f"recipe {ours}, exact tiles": (translator(ours, norm="channel"), exact),
    }
    if torch.cpu.get_capabilities().get("amx_bf16"):
        half = translator(ours, norm="channel", half=True)
        ways[f"recipe {ours}, exact tiles, bfloat16"] = (half, exact)
    ct = np.random.default_rng(0).integers(8000, 32000, (side, side)).astype(np.uint16)
    runs = {name: partial(stain_slice, model, ct, config) for name, (model, config) in ways.items()}
    return {"side_px": side, "timings": as_rows(paired(runs, rounds, warm=False))}
