"""Tiles that give exactly what the whole slice gives: wide enough a halo, and corners where the network's grid lies.

That is possible where what a pixel becomes hangs on its neighbourhood alone: with normalisation ``channel`` or
``none``, or by the statistics of the whole volume (`tomostain.stain.volume_statistics`). Instance normalisation by
the tile's
own makes every tile another picture, and overlapping tiles are blended instead (`tomostain.stain.slices.blend_tiles`).
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tomostain.errors import InputError
from tomostain.networks.build import build_network

# Nothing that is trained on patches looks farther.
_FARTHEST_PX = 4096


@torch.inference_mode()
def reach_px(network: nn.Module, in_channels: int, multiple: int) -> int | None:
    """Return how far from a pixel of the output the input still matters, px; None if everything matters.

    What is not a number makes all that hangs on it not a number: a block of it, as wide as the network's grid, leaves
    its footprint in the output.

    Parameters
    ----------
    network : nn.Module
        (B, in_channels, H, W) to (B, C, H, W); in evaluation mode.
    in_channels : int
    multiple : int
        The network's grid: what rows and columns must be multiples of, px.

    Examples
    --------
    >>> reach_px(nn.Conv2d(1, 1, 7, padding=3), 1, 1)
    3
    >>> reach_px(nn.InstanceNorm2d(1), 1, 4) is None
    True
    """
    margin = 2 * multiple
    while margin <= _FARTHEST_PX:
        image = torch.zeros(1, in_channels, 2 * margin + multiple, max(multiple, 16))
        image[:, :, margin : margin + multiple] = torch.nan
        touched = network(image).isnan().any(dim=1)[0].any(dim=1).nonzero()[:, 0]
        first, last = int(touched.min()), int(touched.max())
        if first > 0 and last < len(image[0, 0]) - 1:
            return max(margin - first, last - (margin + multiple - 1))
        margin *= 2
    return None


def halo_of(generator: Mapping[str, Any], pooled: bool = False) -> int:
    """Return the halo that a generator needs for exact tiles, px: a multiple of its grid.

    Parameters
    ----------
    generator : mapping
        Its specification, as in `model.yaml`.
    pooled : bool
        It normalises by the statistics of a whole volume: how far it sees, these do not change.

    Raises
    ------
    InputError
        If its normalisation takes in the whole tile.
    """
    norm = {"norm": "none"} if pooled else {}
    return _halo_of(tuple(sorted((dict(generator) | norm).items())))


@lru_cache(maxsize=8)
def _halo_of(items: tuple[tuple[str, Any], ...]) -> int:
    spec = dict(items)
    norm = spec.get("norm", "instance")
    # How far it sees does not depend on its width.
    narrow = {"width": 1} | ({"detail": 1} if spec.get("detail") else {})
    network = build_network(spec | narrow, torch.Generator().manual_seed(0)).eval()
    multiple = cast(int, network.multiple)
    reach = None if norm == "instance" else reach_px(network, spec["in_channels"], multiple)
    if reach is None:
        raise InputError(
            f"blend 'exact': the model's generator normalises over the whole tile (norm '{norm}'), so that no tile is "
            "what the slice would be; add --statistics volume, take 'mean' or 'hann', or train with norm: channel"
        )
    return -(-reach // multiple) * multiple


def exact_tiles(
    translate: Callable[[Tensor], Tensor],
    ct: NDArray[np.uint16] | NDArray[np.float32],
    tile_px: int,
    halo_px: int,
    multiple: int,
) -> NDArray[np.float32]:
    """Translate an image tile by tile to what it would be as a whole, but for rounding.

    Parameters
    ----------
    translate : callable
        (B, H, W), or (B, S, H, W), → (B, C, H, W) for any H and W, all float.
    ct : ndarray, shape (Y, X), or (S, Y, X)
    tile_px : int
        Side of what is translated at once, its halo included; made larger where that leaves nothing between.
    halo_px, multiple : int
        `halo_of`, and the network's grid: tiles begin on it.

    Returns
    -------
    ndarray of float32, shape (Y, X, C)
    """
    rows, columns = (tile_spans(side, tile_px, halo_px, multiple) for side in ct.shape[-2:])
    result: NDArray[np.float32] | None = None
    for top, bottom, first, end in rows:
        for left, right, start, stop in columns:
            tile = torch.from_numpy(np.ascontiguousarray(ct[..., top:bottom, left:right]).astype(np.float32))[None]
            drawn = translate(tile)[0].permute(1, 2, 0).cpu().numpy()
            if result is None:
                result = np.empty((*ct.shape[-2:], drawn.shape[2]), np.float32)
            result[first:end, start:stop] = drawn[first - top : end - top, start - left : stop - left]
    assert result is not None
    return result


def tile_spans(side: int, tile_px: int, halo_px: int, multiple: int) -> list[tuple[int, int, int, int]]:
    """Return, along one side, where each tile begins and ends with its halo, and what of it counts.

    As few tiles as hold the side: one that holds it needs no halo, the first and the last of several only one.

    Parameters
    ----------
    side, tile_px, halo_px, multiple : int
        Of the image, and as in `exact_tiles`; px.

    Returns
    -------
    list of tuple of int
        Begin and end of the tile, begin and end of what counts.

    Examples
    --------
    >>> tile_spans(10, 10, 2, 2), tile_spans(10, 8, 2, 2)
    ([(0, 10, 0, 10)], [(0, 8, 0, 6), (4, 10, 6, 10)])
    """
    spans, start = [], 0
    while start < side:
        first = max(0, start - halo_px)
        inner = (tile_px - (start - first) - halo_px) // multiple * multiple
        stop = side if side - first <= tile_px else min(side, start + max(multiple, inner))
        spans.append((first, min(side, stop + halo_px), start, stop))
        start = stop
    return spans
