"""Overlapping tiles: cut from an image, translated, and blended (paper section 2.9)."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
    height, width = ct.shape[-2:]
    padded = pad_to(ct.astype(np.float32), patch_px)
    weights = torch.from_numpy(tile_weights(patch_px, blend))
    corners = [
        (row, column)
        for row in tile_starts(padded.shape[-2], patch_px, stride_px)
        for column in tile_starts(padded.shape[-1], patch_px, stride_px)
    ]
    total: Tensor | None = None
    weight_sum = torch.zeros(padded.shape[-2:])
    for first in range(0, len(corners), batch):
        chosen = corners[first : first + batch]
        patches = torch.from_numpy(np.stack([padded[..., r : r + patch_px, c : c + patch_px] for r, c in chosen]))
        results = translate(patches).cpu()
        if total is None:
            total = torch.zeros((results.shape[1], *padded.shape[-2:]))
        for (row, column), result in zip(chosen, results, strict=True):
            total[:, row : row + patch_px, column : column + patch_px] += result * weights
            weight_sum[row : row + patch_px, column : column + patch_px] += weights
    assert total is not None
    return (total / weight_sum)[:, :height, :width].permute(1, 2, 0).numpy()
