"""Normalisation by the statistics of the whole volume instead of each tile.

Instance normalisation takes the mean and variance of each feature from the tile. So the same bone gets other colours
next to a screw than in marrow, and other colours in the next slice. Here a batch of tiles from all over the volume goes
through the network once, and every normalisation layer takes the statistics of the whole batch, layer after layer. Then
they are fixed. The output at a pixel depends only on its neighbourhood, so exact tiles (`tomostain.tiling.exact`) are
possible.
"""

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tomostain.deprecation import renamed
from tomostain.errors import InputError
from tomostain.integers import refuse_not_finite
from tomostain.networks import Generator
from tomostain.ood.grey_values import SOLID
from tomostain.stain.translator import Translator
from tomostain.tiling.grid import pad_to
from tomostain.tiling.noise import SlicePosition, with_noise
from tomostain.tiling.slice_context import middle_slices

N = TypeVar("N", bound=nn.Module)

TILES = 16
# Training patches contain tissue, and tiles of air would shift the statistics away from the training data. So tiles in
# which at least a tenth is solid are preferred, out of four times as many candidates.
_CANDIDATES, _MIN_SOLID = 64, 0.1
# Slices between the noise of two tiles: more than it is correlated over.
_APART = 1000


class VolumeNorm(nn.Module):
    """Normalise with a fixed mean and variance; in training mode, take them from the batch.

    Parameters
    ----------
    features : int
        Channels.
    eps : float
        Added to the variance.

    Notes
    -----
    Input and output (B, features, H, W). For a batch of one, in training mode, it is `torch.nn.InstanceNorm2d`; for
    larger ones it normalises as `torch.nn.BatchNorm2d` does in training.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("variance", torch.ones(features))

    def forward(self, image: Tensor) -> Tensor:
        """Return the normalised batch."""
        if self.training:
            wide = image.to(torch.promote_types(image.dtype, torch.float32))  # half precision would round them
            self.variance, self.mean = torch.var_mean(wide, dim=(0, 2, 3), correction=0)
        scale = torch.rsqrt(self.variance + self.eps)[:, None, None]
        # Not fused into one multiply-add: its rounding depends on how threads partition the pixels.
        return ((image - self.mean[:, None, None]) * scale).to(image.dtype)


def with_volume_norms(network: N) -> N:
    """Return a copy of a network in which every instance normalisation is a `VolumeNorm`.

    Raises
    ------
    InputError
        If there is none; the output does not depend on the tile then.
    """
    check_instance_norm(network)
    network = copy.deepcopy(network)
    device = next((value.device for value in network.parameters()), None)
    for name, norm in _norms(network, nn.InstanceNorm2d).items():
        parent, _, attribute = name.rpartition(".")
        setattr(network.get_submodule(parent), attribute, VolumeNorm(norm.num_features, norm.eps).to(device))
    return network.eval()


def check_instance_norm(network: nn.Module) -> None:
    """Raise, as `with_volume_norms` does, if a network has no instance normalisation."""
    if not _norms(network, nn.InstanceNorm2d):
        raise InputError(
            "statistics 'volume': the model has no instance normalisation, so its result does not depend on the tile; "
            "leave out `statistics`",
            parameter="statistics",
        )


def _norms(network: nn.Module, kind: type[nn.Module]) -> dict[str, Any]:
    return {name: module for name, module in network.named_modules() if isinstance(module, kind)}


def _buffers(network: nn.Module) -> dict[str, Tensor]:
    norms = _norms(network, VolumeNorm).items()
    return {f"{name}.{key}": value for name, norm in norms for key, value in norm.named_buffers()}


def fit_volume_statistics(translator: Translator, tiles: NDArray[np.float32]) -> Translator:
    """Return a translator that normalises by the statistics of some tiles together.

    Parameters
    ----------
    translator : Translator
    tiles : ndarray, shape (N, P, P), or (N, S, P, P)
        Normalised µCT, of `sample_tiles`; one batch, so all N are in memory at once. A model with noise gets that of
        seed 0 at positions far apart, so that the statistics are the same for every seed.

    Raises
    ------
    InputError
        If its network has no instance normalisation, or the statistics are not finite.
    """
    if translator.in_float32 is not None and translator.may_fall_back:
        # Half precision may overflow, and slices that are stained in float32 need the same statistics.
        fitted = fit_volume_statistics(translator.in_float32(), tiles)
        return with_statistics(translator, statistics_of(fitted))
    network = with_volume_norms(translator.network)
    images = [
        with_noise(tile, translator.spec.noise, SlicePosition((_APART * number, 0, 0)))
        for number, tile in enumerate(tiles)
    ]
    patches = torch.from_numpy(np.stack(images).astype(np.float32, copy=False))
    # Only these layers are in training mode: dropout stays off.
    for norm in _norms(network, VolumeNorm).values():
        norm.train()
    dataclasses.replace(translator, network=network, has_volume_statistics=True, runner=None)(patches)
    network.eval()
    _check_statistics(network)
    return _fitted(translator, network)


def _fitted(translator: Translator, network: Generator) -> Translator:
    """Return a translator with a network of fixed statistics, and its float32 form with the same ones."""
    fitted = dataclasses.replace(translator, network=network, has_volume_statistics=True)
    if (exact := translator.in_float32) is None:
        return fitted
    statistics = statistics_of(fitted)
    return dataclasses.replace(fitted, in_float32=functools.cache(lambda: with_statistics(exact(), statistics)))


def _check_statistics(network: nn.Module) -> None:
    """Raise if a layer overflows: an infinite variance would turn its output into a constant."""
    for name, value in _buffers(network).items():
        try:
            refuse_not_finite(value, f"statistics 'volume': {name} of the network")
        except InputError as error:
            raise InputError(
                f"{error}; the weights of the model are broken, or the precision overflows (set `precision=float32`)",
                parameter="model",
            ) from None


def tiles_for(translator: Translator, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return tiles (N, P, P) or (N, S, P, P) with the slices in the middle that a model sees."""
    return np.stack([middle_slices(tile, translator.spec.ct_slices, "tile") for tile in tiles])


def statistics_of(translator: Translator) -> dict[str, Tensor]:
    """Return the statistics of a fitted translator, on the CPU, as `with_statistics` takes them."""
    return {name: value.cpu() for name, value in _buffers(translator.network).items()}


def with_statistics(translator: Translator, statistics: Mapping[str, Tensor]) -> Translator:
    """Return a translator that normalises by given statistics.

    Raises
    ------
    ValueError
        If they belong to another network.
    """
    network = with_volume_norms(translator.network)
    buffers = _buffers(network)
    if {name: value.shape for name, value in buffers.items()} != {n: value.shape for n, value in statistics.items()}:
        raise ValueError("the statistics belong to another network")
    for name, value in buffers.items():
        value.copy_(statistics[name])
    _check_statistics(network)
    return _fitted(translator, network)


def tile_positions(shape: tuple[int, int, int], side: int, number: int = _CANDIDATES) -> list[tuple[int, int, int]]:
    """Return slice, first row and first column of tiles spread evenly over a volume.

    A Halton sequence: the first of them are spread as evenly as all, and the result is deterministic.

    Examples
    --------
    >>> tile_positions((8, 64, 64), 32, 3)
    [(0, 0, 0), (4, 11, 6), (2, 22, 13)]
    """
    from scipy.stats import qmc  # takes half a second to import

    free = [shape[0], *(max(0, length - side) + 1 for length in shape[1:])]
    points = qmc.Halton(d=3, scramble=False).random(number)
    return [(int(z), int(y), int(x)) for z, y, x in np.floor(points * free)]


def sample_tiles(
    read: Callable[[int, int], NDArray[Any]], shape: tuple[int, int, int], side: int, number: int = TILES
) -> NDArray[np.float32]:
    """Return tiles of a volume; deterministic.

    Parameters
    ----------
    read : callable
        Normalised slices from ``start`` to ``stop``, (n, Y, X), or (n, S, Y, X) with their neighbours.
    shape : tuple of int
        (Z, Y, X) of the volume.
    side : int
        Side of a tile, px; smaller slices are extended to it by mirroring.
    number : int

    Returns
    -------
    ndarray of float32, shape (number, side, side), or (number, S, side, side)
        Tiles in which at least a tenth is solid take precedence, then those with the largest solid fraction.
    """
    positions = tile_positions(shape, side)
    tiles: dict[int, NDArray[np.float32]] = {}
    for index in sorted(range(len(positions)), key=positions.__getitem__):
        z, y, x = positions[index]
        ct = np.asarray(read(z, z + 1)[0], np.float32)
        tiles[index] = pad_to(ct, side)[..., y : y + side, x : x + side].copy()
    solid = [min(float((tiles[index] > SOLID).mean()), _MIN_SOLID) for index in range(len(positions))]
    chosen = sorted(range(len(positions)), key=lambda index: -solid[index])[:number]
    return np.stack([tiles[index] for index in sorted(chosen)])


__getattr__ = renamed(
    __name__,
    {
        "PooledNorm": "VolumeNorm",
        "with_pooled_norms": "with_volume_norms",
        "pooled_translator": "fit_volume_statistics",
    },
)
