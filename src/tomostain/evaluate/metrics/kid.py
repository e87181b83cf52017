"""KID-alex: kernel distance of two sets of tiles on AlexNet's features.

The kernel inception distance (Bińkowski et al. 2018, ICLR) is the unbiased estimate of the squared maximum mean
discrepancy of two sets of features with the kernel (x·y / d + 1)³. The original uses features of Inception-v3. Here the
features are those of AlexNet, which the package ships: the means over a tile of the five layers that LPIPS compares,
1152 numbers. The values are not those of KID or FID, and do not compare with published ones.
"""

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tomostain.errors import InputError
from tomostain.evaluate.metrics.base import RGB, register_metric
from tomostain.evaluate.metrics.checks import require_equal_rgb
from tomostain.evaluate.metrics.patch import patch_grid
from tomostain.imaging.network_range import histology_to_network
from tomostain.networks.perceptual import ALEXNET_TAPS, alexnet_features, load_weights, scale_for_imagenet

TILE_PX = 64
# Tiles whose standard deviation in the real image is below this, grey levels, are background or implant.
_FLAT = 4.0
_BATCH = 32

Float = NDArray[np.float64]


def kernel_distance(a: Float, b: Float) -> float:
    """Return the unbiased squared maximum mean discrepancy of two sets with the kernel (x·y / d + 1)³.

    Parameters
    ----------
    a, b : ndarray of float64, shape (M, D), (N, D)
        Features; at least two of each.

    Returns
    -------
    float
        0 in the mean over samples of one distribution, so it can be negative.

    Raises
    ------
    InputError
        If a set has fewer than two members, or the numbers of features differ.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> a, b, c = rng.normal(size=(50, 4)), rng.normal(size=(50, 4)), rng.normal(2, 1, (50, 4))
    >>> kernel_distance(a, b) < 0.5 < kernel_distance(a, c)
    True
    """
    if min(len(a), len(b)) < 2 or a.shape[1] != b.shape[1]:
        raise InputError(f"kernel distance: sets of shapes {a.shape} and {b.shape}; give two or more of equal length")
    return _mean_of_pairs(a) + _mean_of_pairs(b) - 2 * float(_kernel(a, b).mean())


def tiles_of(stained: Iterable[RGB], real: Iterable[RGB]) -> tuple[list[RGB], list[RGB]]:
    """Cut both sets of images into tiles of 64 px at the same places, without tiles that are flat in the real image."""
    tiles: tuple[list[RGB], list[RGB]] = ([], [])
    for a, b in zip(stained, real, strict=True):
        require_equal_rgb(a, b)
        if min(b.shape[:2]) < TILE_PX:
            continue
        for place in patch_grid((b.shape[0], b.shape[1]), TILE_PX):
            if b[place.slices].std(axis=(0, 1)).max() >= _FLAT:
                tiles[0].append(a[place.slices])
                tiles[1].append(b[place.slices])
    return tiles


@torch.inference_mode()
def alexnet_means(tiles: Sequence[RGB]) -> Float:
    """Return the mean over each tile of AlexNet's five layers, shape (N, 1152)."""
    layers, means = _alexnet(), []
    for start in range(0, len(tiles), _BATCH):
        batch = torch.from_numpy(np.stack(tiles[start : start + _BATCH])).to(torch.float32)
        value, parts = scale_for_imagenet(histology_to_network(batch).permute(0, 3, 1, 2)), []
        for number, layer in enumerate(layers):
            value = layer(value)
            if number in ALEXNET_TAPS:
                parts.append(value.mean(dim=(2, 3)))
        means.append(torch.cat(parts, dim=1).numpy().astype(np.float64))
    return np.concatenate(means)


@register_metric("kid_alex", label="KID-alex", larger_is_better=False, digits=2, scope="set")
def kid_alex(stained: Sequence[RGB], real: Sequence[RGB]) -> float:
    """Kernel distance of tiles of 64 px on AlexNet's features; neither KID nor FID, which use another network.

    Parameters
    ----------
    stained, real : sequence of ndarray of uint8, shape (Y, X, 3)
        Images in the same order. NaN if they have fewer than two tiles.
    """
    tiles = tiles_of(stained, real)
    if len(tiles[0]) < 2:
        return float("nan")
    return kernel_distance(*map(alexnet_means, tiles))


@cache
def _alexnet() -> nn.Sequential:
    layers = alexnet_features()
    layers.load_state_dict(load_weights("alexnet_features_float16.npz"))
    return layers.eval().requires_grad_(False)


def _mean_of_pairs(a: Float) -> float:
    """Return the mean kernel of two different members."""
    kernel = _kernel(a, a)
    return float((kernel.sum() - np.trace(kernel)) / (len(a) * (len(a) - 1)))


def _kernel(a: Float, b: Float) -> Float:
    return np.asarray((a @ b.T / a.shape[1] + 1) ** 3)
