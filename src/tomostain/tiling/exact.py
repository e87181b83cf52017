"""Exact tiles: tiles with a wide enough halo, aligned to the network's grid, give the same result as the whole slice.

This works where the output at a pixel depends only on its neighbourhood, which is measured
(`tomostain.networks.tile_invariance`): with normalisation ``channel`` or ``none``, or with the statistics of the whole
volume (`tomostain.stain.volume_statistics`). With instance normalisation the output depends on the tile, and
overlapping tiles are blended instead (`tomostain.tiling.blend`).
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomostain.errors import InputError
from tomostain.networks.base import GeneratorSpec
from tomostain.networks.receptive_field import reach_px, round_up
from tomostain.networks.registry import parse_generator_spec
from tomostain.networks.tile_invariance import measure_reach_px
from tomostain.tiling.grid import tile_spans

__all__ = ["exact_tiles", "halo_of", "reach_px", "tile_images", "tile_spans"]


def halo_of(generator: Mapping[str, Any] | GeneratorSpec, volume_statistics: bool = False) -> int:
    """Return the halo that a generator needs for exact tiles, px: a multiple of its `size_multiple`.

    Parameters
    ----------
    generator : mapping or GeneratorSpec
        Its specification, as in `model.yaml`.
    volume_statistics : bool
        Its instance normalisation uses the statistics of a whole volume, which do not depend on the tile.

    Raises
    ------
    InputError
        If the output depends on the whole tile.
    """
    spec = parse_generator_spec(generator)
    reach = measure_reach_px(spec, volume_statistics=volume_statistics)
    if reach is not None:
        return round_up(reach, spec.size_multiple)
    if not volume_statistics and getattr(spec, "norm", None) == "instance":
        raise InputError(
            "blend 'exact': the model's generator normalises over the whole tile (norm 'instance'), so the result "
            "depends on the tile; set `statistics=volume`, use blend 'mean' or 'hann', or train with norm: channel",
            parameter="blend",
        )
    raise InputError(
        f"blend 'exact': the output of generator '{spec.name}' depends on the whole tile; use blend 'mean' or 'hann'",
        parameter="blend",
    )


def exact_tiles(
    translate: Callable[[Tensor], Tensor],
    ct: NDArray[np.uint16] | NDArray[np.float32],
    tile_px: int,
    halo_px: int,
    multiple: int,
) -> NDArray[np.float32]:
    """Translate an image tile by tile; the result is that of the whole image up to rounding.

    Parameters
    ----------
    translate : callable
        (B, H, W), or (B, S, H, W), → (B, C, H, W) for any H and W, all float.
    ct : ndarray, shape (Y, X), or (S, Y, X)
    tile_px : int
        Side of a tile with its halo; it is increased if the halo leaves no room for the tile itself.
    halo_px : int
        `halo_of` the generator.
    multiple : int
        `size_multiple` of the generator: tiles start at multiples of it.

    Returns
    -------
    ndarray of float32, shape (Y, X, C)
    """
    images = torch.from_numpy(np.ascontiguousarray(ct, np.float32))[None]
    return tile_images(translate, images, tile_px, halo_px, multiple)[0].permute(1, 2, 0).cpu().numpy()


def tile_images(
    translate: Callable[[Tensor], Tensor], images: Tensor, tile_px: int, halo_px: int, multiple: int
) -> Tensor:
    """Translate images of one size tile by tile, all of them at once.

    Parameters
    ----------
    translate, tile_px, halo_px, multiple
        As in `exact_tiles`.
    images : Tensor of float32, shape (N, Y, X), or (N, S, Y, X)

    Returns
    -------
    Tensor of float32, shape (N, C, Y, X)
        On the device of the results of `translate`.
    """
    rows, columns = (tile_spans(side, tile_px, halo_px, multiple) for side in images.shape[-2:])
    if len(rows) == len(columns) == 1:
        return translate(images)
    result: Tensor | None = None
    for top, bottom, first, end in rows:
        for left, right, start, stop in columns:
            drawn = translate(images[..., top:bottom, left:right].contiguous())
            if result is None:
                result = drawn.new_empty((*drawn.shape[:2], *images.shape[-2:]))
            result[..., first:end, start:stop] = drawn[..., first - top : end - top, start - left : stop - left]
    assert result is not None
    return result
