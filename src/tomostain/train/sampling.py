"""Training patches with all augmentations of paper section 2.7, cut on the device by one batched resampling.

Pairs are held on the device in compact types, 6 bytes per pixel (µCT 2 per slice, histology 3, mask 1). A batch is
drawn in two steps: `tomostain.train.transforms` draws random parameters, and everything here is a deterministic
function of them. µCT, histology and mask of a patch are resampled as channels of one image, so that their geometry
cannot differ.

Source: Irvine et al., J. Synchrotron Rad. 2026, section 2.7.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tomostain.dataset.pair import Pair
from tomostain.deprecation import renamed_method
from tomostain.errors import InputError
from tomostain.imaging.common_background import common_background
from tomostain.imaging.network_range import CT_BACKGROUND, ct_to_network, histology_to_network
from tomostain.integers import to_integers
from tomostain.tiling.ct_window import DEFAULT_CT_WINDOW, CtWindow
from tomostain.tiling.noise import NoiseSpec, SlicePosition, slice_noise
from tomostain.train.augment import Augment, jitter_ct, jitter_intensity
from tomostain.train.host_copy import copy_together
from tomostain.train.pixel_table import Compact, PixelTable
from tomostain.train.residual_registration import apply_affine
from tomostain.train.transforms import (
    Transforms,
    draw_transforms,
    integral,
    sampling_grid,
    sampling_positions,
    window_px,
)

WHITE = 255
# Positions of training patches in the noise. It has no period.
_NOISE_EXTENT = 2**30


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


class PatchSampler:
    """Draws batches of augmented patches from pairs that are held on the device.

    Parameters
    ----------
    pairs : sequence of Pair
        Of any sizes; each is drawn with the same probability. Those smaller than the patch are padded with background
        (µCT 10000, white histology, mask 0).
    patch_px : int
        Side P of a patch, px (paper: 256).
    batch : int
        Patches per batch (paper: 4).
    augment : Augment
        The augmentations; `IDENTITY` for none.
    device : torch.device or str
        Device of pairs and patches.
    in_channels : int
        1 (default), or 3 to repeat the grey value as the paper does.
    inverted_ct : bool
        Return -x instead of x. Default: False.
    ct_window : tuple of int
        The grey values that become [-1, 1]. Others are clipped.
    ct_slices : int
        Neighbouring slices of µCT, as channels. If it is not 1 (default), `in_channels` is 1.
    supervise_background : bool
        Add the pixels where both images show background to the mask (`tomostain.imaging.common_background`). Patches
        are drawn as without. Default: False.
    noise : NoiseSpec
        Add noise at a random position to each patch. Default: none.

    Raises
    ------
    InputError
        If there are no pairs, or one holds fewer slices.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        *,
        patch_px: int,
        batch: int,
        augment: Augment,
        device: torch.device | str,
        **ct_input: Unpack[CtInput],
    ) -> None:
        if not pairs:
            raise InputError(
                "no pairs for training; add pairs to the dataset, or choose another `fold`", parameter="fold"
            )
        self.patch_px, self.batch, self.augment, self.device = patch_px, batch, augment, torch.device(device)
        self.in_channels = ct_input.get("in_channels", 1)
        self.inverted_ct, self.ct_slices = ct_input.get("inverted_ct", False), ct_input.get("ct_slices", 1)
        self.ct_window = ct_input.get("ct_window", DEFAULT_CT_WINDOW)
        self.noise = ct_input.get("noise", NoiseSpec())
        self.ids = tuple(pair.id for pair in pairs)
        background = ct_input.get("supervise_background", False)
        compact = [_compact(pair, self.ct_window, self.ct_slices, background) for pair in pairs]
        self.table = PixelTable(compact, _fill(self.ct_window), self.device)
        # Histology and mask before residual registration, of the pairs that were moved.
        self._unmoved: dict[int, tuple[Tensor, Tensor]] = {}
        # Where tissue corresponds: without the common background, which says nothing about the fit of a pair.
        self._tissue = [torch.from_numpy(pair.mask.astype(np.uint8)[None]) for pair in pairs] if background else None
        self._areas = [integral(pair.mask) for pair in pairs]
        self._accepted = list(range(len(pairs)))

    @property
    def nbytes(self) -> int:
        """Memory of the pairs on the device, bytes: 6 per pixel, and 2 for each further slice."""
        return self.table.nbytes

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.table)

    @property
    def pixels(self) -> list[int]:
        """Number of pixels of each pair."""
        return [height * width for height, width in self.table.shapes]

    def original(self, number: int) -> tuple[NDArray[np.float32], Tensor, Tensor]:
        """Return a pair as it was before any residual registration.

        Returns
        -------
        ct : ndarray of float32, shape (Y, X) or (ct_slices, Y, X)
            Normalised grey values.
        histology : Tensor, shape (3, Y, X)
            In [-1, 1].
        mask : Tensor, shape (1, Y, X)
            Without the common background.
        """
        ct, histology, mask = self._original(number)
        mask = mask if self._tissue is None else self._tissue[number].to(self.device)
        selected = ct[0] if self.ct_slices == 1 else ct
        grey = (selected.float() + _middle(self.ct_window)).cpu().numpy()
        return grey, histology_to_network(histology.float()), mask.float()

    def set_alignment(self, number: int, affine: Tensor) -> None:
        """Resample the histology and the mask of a pair by an affine from now on.

        Parameters
        ----------
        number : int
            Index of the pair.
        affine : Tensor (2, 3)
            Relative to the original position; see `tomostain.train.residual_registration.displacement`.
        """
        _, histology, mask = self._original(number)
        self._unmoved[number] = (histology, mask)
        inside = apply_affine(mask.float(), affine) > 1 - 1e-4
        moved = to_integers(apply_affine(histology.float(), affine), torch.uint8, "histology after registration")
        self.table.replace(number, moved, inside.to(torch.uint8))
        tissue = inside
        if self._tissue is not None:
            tissue = apply_affine(self._tissue[number].to(self.device).float(), affine) > 1 - 1e-4
        self._areas[number] = integral(tissue[0].cpu().numpy())

    def _original(self, number: int) -> Compact:
        """Return a pair in compact types, as it was before any residual registration."""
        ct, histology, mask = self.table.image(number)
        return ct, *self._unmoved.get(number, (histology, mask))

    def reject(self, numbers: Sequence[int]) -> None:
        """Draw no patches from the pairs with these indices from now on; from all others again."""
        self._accepted = [number for number in range(len(self)) if number not in set(numbers)]

    given, lay = renamed_method("original"), renamed_method("set_alignment")

    def draw(self, generator: torch.Generator) -> Batch:
        """Draw a batch.

        Parameters
        ----------
        generator : torch.Generator
            On the CPU, whatever the device, so that a seed gives the same patches everywhere.
        """
        transforms = draw_transforms(
            self._areas, self.patch_px, self.batch, self.augment, generator, pairs=self._accepted
        )
        batch = self.apply(transforms)
        return replace(batch, noise=self._draw_noise(generator)) if self.noise.channels else batch

    def _draw_noise(self, generator: torch.Generator) -> Tensor:
        """Return the noise (B, N, P, P) at random positions."""
        origins = torch.randint(_NOISE_EXTENT, (self.batch, 3), generator=generator).tolist()
        positions = [SlicePosition(tuple(origin)) for origin in origins]
        patches = [slice_noise(self.noise, each, self.patch_px, self.patch_px, self.device) for each in positions]
        return copy_together(self.device, np.stack(patches))[0]

    def apply(self, transforms: Transforms) -> Batch:
        """Cut the patches that `transforms` describes, without random draws."""
        pairs, scale = transforms.pair.tolist(), transforms.scale.numpy()
        # The same for every batch, so that a patch does not depend on the others.
        size = window_px(self.patch_px, min(self.augment.scale[0], float(scale.min())))
        *terms, positions, ct_jitter, histology_jitter = copy_together(
            self.device,
            *self.table.row_terms(pairs, transforms.corner.numpy(), size),
            sampling_positions(scale, transforms.flip.numpy(), self.patch_px, size).numpy(),
            transforms.ct_jitter.numpy().astype(np.float32),
            transforms.histology_jitter.numpy().astype(np.float32),
        )
        windows = self.table.gather(*terms)
        grid = sampling_grid(positions.to(windows.dtype))
        patches = functional.grid_sample(windows, grid, mode="bilinear", padding_mode="border", align_corners=True)
        ct, histology, covered = patches.split([self.ct_slices, 3, 1], dim=1)
        low, high = self.ct_window
        x = jitter_ct(ct.mul_(2 / (high - low)), ct_jitter)
        y = jitter_intensity(histology.mul_(2 / WHITE), histology_jitter)
        ids = tuple(self.ids[pair] for pair in pairs)
        return Batch(_for_network(x, self.in_channels, self.inverted_ct), y, covered.ge_(0.5), ids)


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
    parts = [part.to(device) for part in _compact(pair, ct_window, ct_slices)]
    _cut_into(window[0], parts, [row, column], _fill(ct_window))
    x, y, mask = network_scale(window, ct_window)
    x = _for_network(x, ct_input.get("in_channels", 1), ct_input.get("inverted_ct", False))
    return Batch(x, y, mask, (pair.id,))


def _middle(ct_window: CtWindow) -> int:
    """Return the middle of a window, a whole number. Clipped to the window, the µCT fits int16 around it."""
    return sum(ct_window) // 2


def _fill(ct_window: CtWindow) -> tuple[int, int, int]:
    """Return background in compact values: µCT, white histology, mask."""
    background = min(max(int(CT_BACKGROUND), ct_window[0]), ct_window[1])
    return background - _middle(ct_window), WHITE, 0


def _compact(
    pair: Pair, ct_window: CtWindow = DEFAULT_CT_WINDOW, ct_slices: int = 1, supervise_background: bool = False
) -> Compact:
    """Return µCT int16 (S, Y, X) less the middle of its window, histology uint8 (3, Y, X) and mask uint8 (1, Y, X)."""
    ct_stack = pair.context(ct_slices).reshape(ct_slices, *pair.ct.shape)
    ct = np.clip(ct_stack.astype(np.int32), *ct_window) - _middle(ct_window)
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
    return ct_to_network(ct + _middle(ct_window), ct_window), histology_to_network(histology), mask


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


def _for_network(x: Tensor, in_channels: int, inverted_ct: bool) -> Tensor:
    """Return µCT (B, S, P, P) in the form that the networks take."""
    x = -x if inverted_ct else x
    return x if in_channels == 1 or x.shape[1] > 1 else x.repeat(1, in_channels, 1, 1)
