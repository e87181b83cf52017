"""Windows that are cut from pairs, and their values for the network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict, Unpack

import numpy as np
import torch
from torch import Tensor

from tomostain.dataset.pair import Pair
from tomostain.imaging.common_background import common_background
from tomostain.imaging.network_range import CT_BACKGROUND, ct_to_network, histology_to_network
from tomostain.tiling.ct_window import DEFAULT_CT_WINDOW, CtWindow
from tomostain.tiling.noise import NoiseSpec
from tomostain.train.pixel_table import Compact

WHITE = 255


class CtInput(TypedDict, total=False):
    """How networks see the µCT: keys of a recipe (`tomostain.train.recipes.Recipe`)."""

    in_channels: int
    inverted_ct: bool
    ct_window: CtWindow
    ct_slices: int
    supervise_background: bool
    noise: NoiseSpec


@dataclass(frozen=True)
class Batch:
    """Patches of both domains on one grid.

    Attributes
    ----------
    x : Tensor of float32, shape (B, 1, 3 or ct_slices, P, P)
        µCT in [-1, 1] (see `tomostain.imaging.network_range`).
    y : Tensor of float32, shape (B, 3, P, P)
        Histology, RGB in [-1, 1].
    mask : Tensor of float32, shape (B, 1, P, P)
        1 where the two correspond, else 0.
    ids : tuple of str
        The pairs the patches were cut from.
    noise : Tensor of float32, shape (B, N, P, P), or None
        Further channels of the input of G_xy, if the recipe has noise.
    """

    x: Tensor
    y: Tensor
    mask: Tensor
    ids: tuple[str, ...]
    noise: Tensor | None = None


def patch_at(
    pair: Pair,
    row: int,
    column: int,
    patch_px: int,
    *,
    device: torch.device | str = "cpu",
    **ct_input: Unpack[CtInput],
) -> Batch:
    """Cut one patch at a position, without augmentation, for validation and sample images.

    Parameters
    ----------
    pair : Pair
        Source.
    row, column : int
        First pixel of the patch. Pixels outside the pair are background with mask 0.
    patch_px : int
        Side of the patch, px.
    in_channels, inverted_ct, ct_window, ct_slices, device
        As in `PatchSampler`.

    Returns
    -------
    Batch
        One patch with the exact values of the pixels.
    """
    ct_slices, ct_window = ct_input.get("ct_slices", 1), ct_input.get("ct_window", DEFAULT_CT_WINDOW)
    window = torch.empty(1, ct_slices + 4, patch_px, patch_px, device=device)
    parts = [part.to(device) for part in compact_pair(pair, ct_window, ct_slices)]
    _cut_into(window[0], parts, [row, column], fill_window(ct_window))
    x, y, mask = network_scale(window, ct_window)
    x = for_network(x, ct_input.get("in_channels", 1), ct_input.get("inverted_ct", False))
    return Batch(x, y, mask, (pair.id,))


def middle_of(ct_window: CtWindow) -> int:
    """Return the middle of a window, a whole number. Clipped to the window, the µCT fits int16 around it."""
    return sum(ct_window) // 2


def fill_window(ct_window: CtWindow) -> tuple[int, int, int]:
    """Return background in compact values: µCT, white histology, mask."""
    background = min(max(int(CT_BACKGROUND), ct_window[0]), ct_window[1])
    return background - middle_of(ct_window), WHITE, 0


def compact_pair(
    pair: Pair, ct_window: CtWindow = DEFAULT_CT_WINDOW, ct_slices: int = 1, supervise_background: bool = False
) -> Compact:
    """Return µCT int16 (S, Y, X) less the middle of its window, histology uint8 (3, Y, X) and mask uint8 (1, Y, X)."""
    ct_stack = pair.context(ct_slices).reshape(ct_slices, *pair.ct.shape)
    ct = np.clip(ct_stack.astype(np.int32), *ct_window) - middle_of(ct_window)
    histology = np.ascontiguousarray(np.moveaxis(pair.histology, -1, 0))
    mask = pair.mask | common_background(pair.ct, pair.histology) if supervise_background else pair.mask
    return (
        torch.from_numpy(ct.astype(np.int16)),
        torch.from_numpy(histology.copy()),
        torch.from_numpy(mask.astype(np.uint8)[None]),
    )


def _cut_into(window: Tensor, parts: Sequence[Tensor], corner: Sequence[int], fill: tuple[int, int, int]) -> None:
    """Copy µCT, histology and mask of a square window, in their compact types, into its float channels."""
    for into, part, value in zip(window.split([len(part) for part in parts]), parts, fill, strict=True):
        into.copy_(_cut(part, corner, window.shape[-1], value))


def network_scale(images: Tensor, ct_window: CtWindow = DEFAULT_CT_WINDOW) -> tuple[Tensor, Tensor, Tensor]:
    """Return µCT and histology in [-1, 1], and the mask, from channels (B, S + 4, H, W) in compact values."""
    ct, histology, mask = images.split([images.shape[1] - 4, 3, 1], dim=1)
    return ct_to_network(ct + middle_of(ct_window), ct_window), histology_to_network(histology), mask


def _cut(image: Tensor, corner: Sequence[int], size: int, fill: int) -> Tensor:
    """Return a square window (C, size, size) of an image (C, Y, X); `fill` outside the image."""
    (row, column), (height, width) = corner, image.shape[1:]
    top, left, bottom, right = max(row, 0), max(column, 0), min(row + size, height), min(column + size, width)
    if (bottom - top, right - left) == (size, size):
        return image[:, top:bottom, left:right]
    window = image.new_full((image.shape[0], size, size), fill)
    if bottom > top and right > left:
        inside = image[:, top:bottom, left:right]
        window[:, top - row : bottom - row, left - column : right - column] = inside
    return window


def for_network(x: Tensor, in_channels: int, inverted_ct: bool) -> Tensor:
    """Return µCT (B, S, P, P) in the form that the networks take."""
    x = -x if inverted_ct else x
    return x if in_channels == 1 or x.shape[1] > 1 else x.repeat(1, in_channels, 1, 1)
