"""Small models and volumes for the tests of staining."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from tomostain import __version__
from tomostain.imaging.intensity import IntensityReference
from tomostain.io import ModelSpec, open_stained, save_model
from tomostain.networks.build import build_network

LEVELS = IntensityReference(background=100.0, bone=900.0)
RESNET = {"name": "resnet", "in_channels": 1, "width": 2, "blocks": 1}


def weights_of(network: dict[str, Any], seed: int = 0, gain: float = 5.0) -> torch.nn.Module:
    """Build a network whose output is not uniform grey, which N(0, 0.02) alone would give."""
    built = build_network(network, torch.Generator().manual_seed(seed))
    for parameter in built.parameters():
        parameter.data *= gain
    return built.eval()


def toy_model(folder: Path, network: dict[str, Any] = RESNET, seed: int = 0, seen: Any = None, **about: Any) -> Path:
    """Write a model of random weights."""
    values = {"in_channels": 1, "voxel_um": 5.0, "stain": "h&e", "recipe": "test", "tomostain_version": __version__}
    spec = ModelSpec(generator=network, **values | about)
    save_model(folder, spec, weights_of(network, seed).state_dict(), training_reference=seen)
    return folder


def two_way_model(folder: Path, network: dict[str, Any] = RESNET) -> Path:
    """Write a model of random weights that has a reverse generator."""
    reverse = network | {"in_channels": 3, "out_channels": 1}
    about = {"voxel_um": 5.0, "stain": "h&e", "recipe": "test", "tomostain_version": __version__}
    states = [weights_of(each, seed).state_dict() for seed, each in enumerate((network, reverse))]
    save_model(folder, ModelSpec(generator=network, reverse=reverse, in_channels=1, **about), *states)
    return folder


def grey_values(shape: tuple[int, ...], seed: int = 0, sigma: float = 1.5) -> NDArray[np.uint16]:
    """Return smooth noise from 0 to 1000."""
    values = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), sigma)
    return np.rint(1000 * (values - values.min()) / max(np.ptp(values), 1e-9)).astype(np.uint16)


def colours(path: Path) -> NDArray[np.uint8]:
    """Return a stained volume as a whole."""
    stained = open_stained(path)
    return stained.read(0, stained.shape[0])


def contents(path: Path) -> dict[str, bytes]:
    """Return every file of a stained volume, byte for byte."""
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}
