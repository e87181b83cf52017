"""Overlapping tiles: cut from images, translated, and blended (paper section 2.9)."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomostain.host_copy import copy_together
from tomostain.tiling.grid import Blend, pad_to, tile_starts, tile_weights


def blend_tiles(
    translate: Callable[[Tensor], Tensor],
    ct: NDArray[np.uint16] | NDArray[np.float32],
    *,
    patch_px: int,
    stride_px: int,
    blend: Blend = "mean",
    batch: int = 4,
) -> NDArray[np.float32]:
    """Cut an image into overlapping patches, translate them and blend the results.

    Parameters
    ----------
    translate : callable
        Patches (B, P, P), or (B, S, P, P), → (B, C, P, P), all float.
    ct : ndarray, shape (Y, X), or (S, Y, X)
        An image smaller than a patch is mirrored, repeatedly if necessary, to the size of a patch, and the result is
        cropped. Mirroring keeps the statistics of instance normalisation; repeating the edge would shift them.
    patch_px, stride_px : int
        Side of a patch and the step between patches, px.
    blend : {"mean", "hann"}
        Weights of the patches: equal, or decreasing towards the border of the patch.
    batch : int
        Number of patches that go through the network at once.

    Returns
    -------
    ndarray of float32, shape (Y, X, C)
    """
    images = torch.from_numpy(np.ascontiguousarray(ct, np.float32))[None]
    blended = blend_images(translate, images, patch_px=patch_px, stride_px=stride_px, blend=blend, batch=batch)
    return blended[0].permute(1, 2, 0).cpu().numpy()


def blend_images(
    translate: Callable[[Tensor], Tensor],
    images: Tensor,
    *,
    patch_px: int,
    stride_px: int,
    blend: Blend = "mean",
    batch: int = 4,
) -> Tensor:
    """Cut images of one size into overlapping patches, translate them and blend the results.

    Parameters
    ----------
    translate, patch_px, stride_px, blend
        As in `blend_tiles`.
    images : Tensor of float32, shape (N, Y, X), or (N, S, Y, X)
    batch : int
        Number of patches that go through the network at once. The same patches of all images go together, so it is at
        least N.

    Returns
    -------
    Tensor of float32, shape (N, C, Y, X)
        On the device of the results of `translate`. Sums and weights stay there.
    """
    height, width = images.shape[-2:]
    padded = _mirrored(images, patch_px)
    corners = [
        (row, column)
        for row in tile_starts(padded.shape[-2], patch_px, stride_px)
        for column in tile_starts(padded.shape[-1], patch_px, stride_px)
    ]
    total = weights = weight_sum = torch.empty(0)
    positions = max(1, batch // len(images))
    for first in range(0, len(corners), positions):
        chosen = corners[first : first + positions]
        patches = torch.stack([padded[..., r : r + patch_px, c : c + patch_px] for r, c in chosen])
        results = translate(patches.flatten(0, 1))
        if not first:
            (weights,) = copy_together(results.device, tile_weights(patch_px, blend))
            total = results.new_zeros((len(images), results.shape[1], *padded.shape[-2:]), dtype=torch.float32)
            weight_sum = total.new_zeros(padded.shape[-2:])
        for (row, column), result in zip(chosen, (results * weights).split(len(images)), strict=True):
            total[..., row : row + patch_px, column : column + patch_px] += result
            weight_sum[row : row + patch_px, column : column + patch_px] += weights
    return total.div_(weight_sum)[..., :height, :width]


def _mirrored(images: Tensor, patch_px: int) -> Tensor:
    """Extend images below and to the right to at least the patch's size, as `pad_to` does."""
    for axis in (-2, -1):
        side = images.shape[axis]
        if side < patch_px:
            indices = pad_to(np.arange(side, dtype=np.float32)[None].repeat(patch_px, axis=0), patch_px)[0]
            images = images.index_select(axis, *copy_together(images.device, indices.astype(np.int64)))
    return images
