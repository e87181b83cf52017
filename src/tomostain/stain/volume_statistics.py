"""Normalisation by the statistics of a whole volume, in place of each tile's own.

Instance normalisation takes mean and variance of each feature from the tile, so that the same bone is drawn otherwise
beside a screw than in marrow, and otherwise in the next slice, where the tile holds a little more of it. Here some
tiles spread over the volume go through the network once, as one batch, and every normalisation takes the statistics of
all of them together, each layer's from what the layers before it have normalised so. These stay. What a pixel becomes
then hangs on its neighbourhood alone, and exact tiles (`tomostain.tiling.exact`) are possible.
"""

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import qmc
from torch import Tensor, nn

from tomostain.errors import InputError
from tomostain.ood.grey_values import SOLID
from tomostain.stain.translator import Translator
from tomostain.tiling.grid import pad_to
from tomostain.tiling.slice_context import middle_slices

N = TypeVar("N", bound=nn.Module)

TILES = 16
# Training patches lie where there is tissue; tiles of air would pull the statistics away from all that it saw. So of
# several times as many places those are taken first where at least a tenth is solid.
_CANDIDATES, _LEAST_SOLID = 64, 0.1


class PooledNorm(nn.Module):
    """Normalise with mean and variance that are kept; in training mode, take them from the batch.

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
        # Not as one product and sum: whether that is rounded once or twice hangs on how threads share the pixels.
        return ((image - self.mean[:, None, None]) * scale).to(image.dtype)


def with_pooled_norms(network: N) -> N:
    """Return a copy of a network in which every instance normalisation is a `PooledNorm`.

    Raises
    ------
    InputError
        If there is none: nothing hangs on the tile then.
    """
    check_instance_norm(network)
    pooled = copy.deepcopy(network)
    for name, norm in _norms(pooled, nn.InstanceNorm2d).items():
        parent, _, own = name.rpartition(".")
        setattr(pooled.get_submodule(parent), own, PooledNorm(norm.num_features, norm.eps))
    return pooled.eval()


def check_instance_norm(network: nn.Module) -> None:
    """Raise, as `with_pooled_norms` does, if a network has no instance normalisation."""
    if not _norms(network, nn.InstanceNorm2d):
        raise InputError(
            "statistics 'volume': the model has no instance normalisation, so that nothing hangs on the tile as it is; "
            "leave the option out"
        )


def _norms(network: nn.Module, kind: type[nn.Module]) -> dict[str, Any]:
    return {name: module for name, module in network.named_modules() if isinstance(module, kind)}


def _buffers(network: nn.Module) -> dict[str, Tensor]:
    norms = _norms(network, PooledNorm).items()
    return {f"{name}.{key}": value for name, norm in norms for key, value in norm.named_buffers()}


def pooled_translator(translator: Translator, tiles: NDArray[np.float32]) -> Translator:
    """Return a translator that normalises by the pooled statistics of some tiles.

    Parameters
    ----------
    translator : Translator
    tiles : ndarray, shape (N, P, P), or (N, S, P, P)
        Normalised µCT, of `sample_tiles`; all N are in memory at once.

    Raises
    ------
    InputError
        If its network has no instance normalisation.
    """
    network = with_pooled_norms(translator.network)
    patches = torch.from_numpy(np.asarray(tiles, np.float32))
    # Dropout, where there is one, stays off.
    for norm in _norms(network, PooledNorm).values():
        norm.train()
    pooled = dataclasses.replace(translator, network=network, pooled=True)
    pooled(patches)
    network.eval()
    return pooled


def seen_by(translator: Translator, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return tiles (N, P, P) or (N, S, P, P) with as many slices, from the middle, as a model sees."""
    return np.stack([middle_slices(tile, translator.spec.ct_slices, "tile") for tile in tiles])


def statistics_of(translator: Translator) -> dict[str, Tensor]:
    """Return the statistics of a pooled translator, on the CPU: `with_statistics` gives them back."""
    return {name: value.cpu() for name, value in _buffers(translator.network).items()}


def with_statistics(translator: Translator, statistics: Mapping[str, Tensor]) -> Translator:
    """Return a translator that normalises by statistics found before.

    Raises
    ------
    ValueError
        If they are another network's.
    """
    network = with_pooled_norms(translator.network)
    wanted = _buffers(network)
    if {name: value.shape for name, value in wanted.items()} != {n: value.shape for n, value in statistics.items()}:
        raise ValueError("the statistics are another network's")
    for name, value in wanted.items():
        value.copy_(statistics[name])
    return dataclasses.replace(translator, network=network, pooled=True)


def tile_places(shape: tuple[int, int, int], side: int, number: int = _CANDIDATES) -> list[tuple[int, int, int]]:
    """Return slice, first row and first column of tiles that are spread evenly over a volume.

    Halton's sequence: the first of them are spread as evenly as all, and nothing is drawn at random.

    Examples
    --------
    >>> tile_places((8, 64, 64), 32, 3)
    [(0, 0, 0), (4, 11, 6), (2, 22, 13)]
    """
    free = [shape[0], *(max(0, length - side) + 1 for length in shape[1:])]
    points = qmc.Halton(d=3, scramble=False).random(number)
    return [(int(z), int(y), int(x)) for z, y, x in np.floor(points * free)]


def sample_tiles(
    read: Callable[[int, int], NDArray[Any]], shape: tuple[int, int, int], side: int, number: int = TILES
) -> NDArray[np.float32]:
    """Return tiles of a volume, the same whenever they are asked for.

    Parameters
    ----------
    read : callable
        Normalised slices from ``start`` to ``stop``, (n, Y, X), or (n, S, Y, X) with their neighbours.
    shape : tuple of int
        (Z, Y, X) of the volume.
    side : int
        Of a tile, px; smaller slices are mirrored to it.
    number : int

    Returns
    -------
    ndarray of float32, shape (number, side, side), or (number, S, side, side)
        Those with at least a tenth of solid matter first, then the ones with most.
    """
    places = tile_places(shape, side)
    tiles: dict[int, NDArray[np.float32]] = {}
    for which in sorted(range(len(places)), key=places.__getitem__):
        z, y, x = places[which]
        ct = np.asarray(read(z, z + 1)[0], np.float32)
        tiles[which] = pad_to(ct, side)[..., y : y + side, x : x + side].copy()
    solid = [min(float((tiles[which] > SOLID).mean()), _LEAST_SOLID) for which in range(len(places))]
    chosen = sorted(range(len(places)), key=lambda which: -solid[which])[:number]
    return np.stack([tiles[which] for which in sorted(chosen)])
