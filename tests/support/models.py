"""A model with random weights, and volumes of any depth: neither time nor memory depends on their content."""

from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from tomostain import __version__
from tomostain.io import ModelSpec, save_model, write_stack
from tomostain.networks.build import build_network
from tomostain.train import load_recipe

LEVELS = {"background": 100.0, "bone": 900.0}


def random_model(
    folder: Path, recipe: str = "tomostain-cpu", norm: str = "instance", width: int | None = None, gain: float = 1.0
) -> Path:
    """Write a model with the generator of a recipe, its weights random; `gain` 1 draws almost only one grey."""
    chosen = load_recipe(recipe)
    generator = chosen.generator_spec() | {"norm": norm} | ({"width": width} if width else {})
    network = build_network(generator, torch.Generator().manual_seed(0))
    for parameter in network.parameters():
        parameter.data *= gain
    spec = ModelSpec(
        generator=generator,
        in_channels=chosen.in_channels,
        ct_window=chosen.ct_window,
        voxel_um=5,
        patch_px=chosen.patch_px,
        stain="",
        recipe=chosen.name,
        tomostain_version=__version__,
    )
    save_model(folder, spec, network.state_dict())
    return folder


def grey_volume(folder: Path, shape: tuple[int, int, int]) -> Path:
    """Write a smooth random volume; a block of up to 64 slices is repeated, because its content does not matter."""
    block = ndimage.gaussian_filter(np.random.default_rng(0).random((min(64, shape[0]), *shape[1:])), 2.0)
    grey = np.rint(1000 * (block - block.min()) / np.ptp(block)).astype(np.uint16)
    write_stack(folder, grey[np.arange(shape[0]) % len(grey)], voxel_um=5.0)
    return folder
