"""Training patches with all augmentations of paper section 2.7, cut on the device by one batched resampling.

Pairs lie on the device in compact types, 6 bytes a pixel (µCT 2 a slice, histology 3, mask 1). A batch is drawn in two
steps: `draw_transforms` draws parameters at random, everything after it is a deterministic function of them. µCT,
histology and mask of a patch are channels of one image when they are resampled, so that their geometry cannot differ.

Source: Irvine et al., J. Synchrotron Rad. 2026, section 2.7.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tomostain.errors import InputError
from tomostain.prepare import Pair
from tomostain.scaling import CT_BACKGROUND, CT_WINDOW, ct_to_network, histology_to_network
from tomostain.train.augment import Augment, jitter_ct, jitter_histology
from tomostain.train.realign import moved

WHITE = 255
_TRIES = 8
# µCT beyond the window of the networks is clipped by them anyway: clipped here, it fits int16 around the middle.
_CT_MIDDLE = int(sum(CT_WINDOW) / 2)


@dataclass(frozen=True)
class Batch:
    """Patches of both domains on one grid.

    Attributes
    ----------
    x : Tensor of float32, shape (B, 1, 3 or ct_slices, P, P)
        µCT in [-1, 1] (see `tomostain.scaling`).
    y : Tensor of float32, shape (B, 3, P, P)
        Histology, RGB in [-1, 1].
    mask : Tensor of float32, shape (B, 1, P, P)
        1 where the two correspond, else 0.
    ids : tuple of str
        The pairs the patches were cut from.
    """

    x: Tensor
    y: Tensor
    mask: Tensor
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Transforms:
    """What was drawn for the B patches of a batch; all tensors are on the CPU.

    Attributes
    ----------
    pair : Tensor of int64, shape (B,)
        Index of the pair.
    corner : Tensor of int64, shape (B, 2)
        First row and column of the source window in the pair, px; negative where the pair is smaller than the window.
    scale : Tensor of float64, shape (B,)
        Magnification; the source window is (P - 1) / scale + 1 px wide.
    flip : Tensor of bool, shape (B, 2)
        Whether rows and columns are reversed.
    ct_jitter, histology_jitter : Tensor of float64, shape (B, 2)
        Factors of contrast and of brightness.
    """

    pair: Tensor
    corner: Tensor
    scale: Tensor
    flip: Tensor
    ct_jitter: Tensor
    histology_jitter: Tensor


class PatchSampler:
    """Draws batches of augmented patches from pairs that lie on the device.

    Parameters
    ----------
    pairs : sequence of Pair
        Of any sizes; each is drawn with the same probability. Smaller ones than the patch are set into background
        (µCT 10000, white histology, mask 0).
    patch_px : int
        Side P of a patch, px (paper: 256).
    batch : int
        Patches a batch (paper: 4).
    augment : Augment
        The augmentations; `IDENTITY` for none.
    device : torch.device or str
        Where pairs and patches lie.
    in_channels : int
        1, or 3 to repeat the grey value as the paper does.
    inverted_ct : bool
        Give -x in place of x.
    ct_slices : int
        Neighbouring slices of µCT, as channels; where it is not 1, `in_channels` is 1.

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
        in_channels: int,
        inverted_ct: bool = False,
        ct_slices: int = 1,
    ) -> None:
        if not pairs:
            raise InputError("training pairs: there are none; add pairs to the dataset, or choose another fold")
        self.patch_px, self.batch, self.augment, self.device = patch_px, batch, augment, torch.device(device)
        self.in_channels, self.inverted_ct, self.ct_slices = in_channels, inverted_ct, ct_slices
        self.ids = tuple(pair.id for pair in pairs)
        self._given = [[part.to(self.device) for part in _compact(pair, ct_slices)] for pair in pairs]
        self._images = list(self._given)
        self._areas = [_integral(pair.mask) for pair in pairs]

    @property
    def nbytes(self) -> int:
        """Memory of the pairs on the device, bytes: 6 a pixel, and 2 for each further slice."""
        return sum(part.nbytes for parts in self._images for part in parts)

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._given)

    def given(self, number: int) -> tuple[NDArray[np.float32], Tensor, Tensor]:
        """Return a pair as it was given: µCT grey values, histology (3, Y, X) in [-1, 1], mask (1, Y, X).

        The µCT is (Y, X), or (ct_slices, Y, X).
        """
        ct, histology, mask = self._given[number]
        seen = ct[0] if self.ct_slices == 1 else ct
        return (seen.float() + _CT_MIDDLE).cpu().numpy(), histology_to_network(histology.float()), mask.float()

    def lay(self, number: int, place: Tensor) -> None:
        """Take a pair's histology and mask from another place from now on (`tomostain.train.realign.displacement`)."""
        ct, histology, mask = self._given[number]
        there = moved(mask.float(), place) > 1 - 1e-4
        laid = moved(histology.float(), place).round().to(torch.uint8)
        self._images[number] = [ct, laid, there.to(torch.uint8)]
        self._areas[number] = _integral(there[0].cpu().numpy())

    def draw(self, generator: torch.Generator) -> Batch:
        """Draw a batch.

        Parameters
        ----------
        generator : torch.Generator
            On the CPU, whatever the device, so that a seed gives the same patches everywhere.
        """
        return self.apply(draw_transforms(self._areas, self.patch_px, self.batch, self.augment, generator))

    def apply(self, transforms: Transforms) -> Batch:
        """Cut the patches that `transforms` describes; deterministic."""
        size = window_px(self.patch_px, float(transforms.scale.min()))
        where = list(zip(transforms.pair.tolist(), transforms.corner.tolist(), strict=True))
        windows = torch.empty(len(where), self.ct_slices + 4, size, size, dtype=torch.float32, device=self.device)
        for window, (pair, corner) in zip(windows, where, strict=True):
            _cut_into(window, self._images[pair], corner)
        grid = sampling_grid(transforms.scale, transforms.flip, self.patch_px, size).to(self.device)
        patches = functional.grid_sample(windows, grid, mode="bilinear", padding_mode="border", align_corners=True)
        x, y, mask = _scaled(patches)  # now, for there are fewer pixels than before
        x, y = jitter_ct(x, transforms.ct_jitter.to(x)), jitter_histology(y, transforms.histology_jitter.to(y))
        return _batch(x, y, mask, [self.ids[i] for i, _ in where], self.in_channels, self.inverted_ct)


def patch_at(
    pair: Pair,
    row: int,
    column: int,
    patch_px: int,
    *,
    in_channels: int = 1,
    inverted_ct: bool = False,
    ct_slices: int = 1,
    device: torch.device | str = "cpu",
) -> Batch:
    """Cut one patch at a place, without any augmentation: for validation and pictures.

    Parameters
    ----------
    pair : Pair
        Where to cut.
    row, column : int
        Its first pixel; what lies outside the pair is background with mask 0.
    patch_px : int
        Its side, px.
    in_channels, inverted_ct, ct_slices, device
        As in `PatchSampler`.

    Returns
    -------
    Batch
        Of one patch, with the exact values of the pixels.
    """
    window = _window([part.to(device) for part in _compact(pair, ct_slices)], [row, column], patch_px)[None]
    x, y, mask = window.split([ct_slices, 3, 1], dim=1)
    return _batch(x, y, mask, [pair.id], in_channels, inverted_ct)


def draw_transforms(
    areas: Sequence[NDArray[np.int64]], patch_px: int, batch: int, augment: Augment, generator: torch.Generator
) -> Transforms:
    """Draw the parameters of a batch.

    Parameters
    ----------
    areas : sequence of ndarray of int64, shape (Y + 1, X + 1)
        Integral image of each pair's mask (zero first row and column).
    patch_px, batch : int
        Side of a patch, px; patches a batch.
    augment : Augment
        The ranges.
    generator : torch.Generator
        On the CPU.
    """
    pair = torch.randint(len(areas), (batch,), generator=generator)
    low, high = augment.scale
    scale = low + (high - low) * torch.rand(batch, generator=generator, dtype=torch.float64)
    corner = [
        _draw_corner(areas[int(i)], (patch_px - 1) / float(s), augment.min_mask, generator)
        for i, s in zip(pair, scale, strict=True)
    ]
    flip = torch.rand(batch, 2, generator=generator) < (0.5 if augment.flip else 0.0)
    jitter = 1 + augment.jitter * (2 * torch.rand(2, batch, 2, generator=generator, dtype=torch.float64) - 1)
    return Transforms(pair, torch.tensor(corner), scale, flip, jitter[0], jitter[1])


def _draw_corner(
    area: NDArray[np.int64], extent: float, min_mask: float, generator: torch.Generator
) -> tuple[int, int]:
    """Draw where a source window begins, so that it lies within the pair, or the pair within it."""
    best, most = (0, 0), -1.0
    room = [(side - 1) - 1 - extent for side in area.shape]
    for _ in range(_TRIES):
        u = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        row, column = (_part_of(free, part) for free, part in zip(room, u, strict=True))
        share = _covered(area, row, column, round(extent) + 1)
        if share > most:
            best, most = (row, column), share
        if share >= min_mask:
            break
    return best


def _part_of(room: float, u: float) -> int:
    """Return a whole number between 0 and `room` (which may be negative) that u in [0, 1) chooses."""
    steps = int(u * (math.floor(abs(room)) + 1))
    return steps if room >= 0 else -steps


def _covered(area: NDArray[np.int64], row: int, column: int, size: int) -> float:
    """Return the share of a square window that the mask covers, from the mask's integral image."""
    r0, r1 = np.clip([row, row + size], 0, area.shape[0] - 1)
    c0, c1 = np.clip([column, column + size], 0, area.shape[1] - 1)
    return float(area[r1, c1] - area[r0, c1] - area[r1, c0] + area[r0, c0]) / size**2


def window_px(patch_px: int, least_scale: float) -> int:
    """Return the side of the source window that holds a patch at the least magnification, px."""
    return math.floor((patch_px - 1) / least_scale) + 2


def sampling_grid(scale: Tensor, flip: Tensor, patch_px: int, size: int) -> Tensor:
    """Return where the pixels of each patch lie in its source window, for `grid_sample` with ``align_corners=True``.

    Parameters
    ----------
    scale : Tensor of float64, shape (B,)
        Magnifications.
    flip : Tensor of bool, shape (B, 2)
        Whether rows and columns are reversed.
    patch_px, size : int
        Side of the patch and of the source window, px.

    Returns
    -------
    Tensor of float32, shape (B, P, P, 2)
        (column, row) in [-1, 1]; computed in float64, since float32 would be off by 1e-5 px before it begins.
    """
    out = torch.arange(patch_px, dtype=torch.float64)
    steps = torch.where(flip[:, :, None], patch_px - 1 - out, out) / scale[:, None, None]
    rows, columns = (steps * (2 / (size - 1)) - 1).float().unbind(1)
    shape = (-1, patch_px, patch_px)
    return torch.stack([columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)], dim=-1)


def _compact(pair: Pair, ct_slices: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Return µCT int16 (S, Y, X) less the middle of its window, histology uint8 (3, Y, X) and mask uint8 (1, Y, X)."""
    seen = pair.seen(ct_slices).reshape(ct_slices, *pair.ct.shape)
    ct = np.clip(seen.astype(np.int32), int(CT_WINDOW[0]), int(CT_WINDOW[1])) - _CT_MIDDLE
    histology = np.ascontiguousarray(np.moveaxis(pair.histology, -1, 0))
    return (
        torch.from_numpy(ct.astype(np.int16)),
        torch.from_numpy(histology.copy()),
        torch.from_numpy(pair.mask.astype(np.uint8)[None]),
    )


def _integral(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the integral image of a mask, with a zero row and column before it."""
    return np.pad(mask.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))


def _window(parts: Sequence[Tensor], corner: Sequence[int], size: int) -> Tensor:
    """Return µCT, histology and mask of a square window, channels in network scale; background outside the pair."""
    window = torch.empty(1, len(parts[0]) + 4, size, size, dtype=torch.float32, device=parts[0].device)
    _cut_into(window[0], parts, corner)
    return torch.cat(_scaled(window), dim=1)[0]


def _cut_into(window: Tensor, parts: Sequence[Tensor], corner: Sequence[int]) -> None:
    """Copy µCT, histology and mask of a square window, as they lie on the device, into its float channels."""
    for into, part, fill in zip(window.split([len(part) for part in parts]), parts, _FILL, strict=True):
        into.copy_(_cut(part, corner, window.shape[-1], fill))


def _scaled(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return µCT and histology in network scale, and the mask, from channels (B, S + 4, H, W) as they lie there."""
    ct, histology, mask = images.split([images.shape[1] - 4, 3, 1], dim=1)
    return ct_to_network(ct + _CT_MIDDLE), histology_to_network(histology), mask


_FILL = (int(CT_BACKGROUND) - _CT_MIDDLE, WHITE, 0)


def _cut(image: Tensor, corner: Sequence[int], size: int, fill: int) -> Tensor:
    """Return a square window (C, size, size) of an image (C, Y, X); `fill` where it reaches beyond."""
    (row, column), (height, width) = corner, image.shape[1:]
    top, left, bottom, right = max(row, 0), max(column, 0), min(row + size, height), min(column + size, width)
    if (bottom - top, right - left) == (size, size):
        return image[:, top:bottom, left:right]
    window = image.new_full((image.shape[0], size, size), fill)
    if bottom > top and right > left:
        inside = image[:, top:bottom, left:right]
        window[:, top - row : bottom - row, left - column : right - column] = inside
    return window


def _batch(x: Tensor, y: Tensor, mask: Tensor, ids: Sequence[str], in_channels: int, inverted_ct: bool) -> Batch:
    """Bring resampled channels into the form the networks and losses take."""
    x = -x if inverted_ct else x
    x = x if in_channels == 1 or x.shape[1] > 1 else x.repeat(1, in_channels, 1, 1)
    return Batch(x, y.contiguous(), (mask >= 0.5).float(), tuple(ids))
