"""Training patches with all augmentations of paper section 2.7, cut on the device by one batched resampling.

Pairs are held on the device in compact types, 6 bytes per pixel (µCT 2 per slice, histology 3, mask 1). A batch is
drawn in two steps: `tomostain.train.transforms` draws random parameters, and everything here is a deterministic
function of them. µCT, histology and mask of a patch are resampled as channels of one image, so that their geometry
cannot differ.

Source: Irvine et al., J. Synchrotron Rad. 2026, section 2.7.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tomostain.dataset.pair import Pair
from tomostain.deprecation import renamed, renamed_method
from tomostain.errors import InputError
from tomostain.host_copy import copy_together
from tomostain.imaging.network_range import histology_to_network
from tomostain.integers import to_integers
from tomostain.tiling.ct_window import DEFAULT_CT_WINDOW
from tomostain.tiling.noise import NoiseSpec, SlicePosition, slices_noise
from tomostain.train.augment import Augment, jitter_factors, scale_ct, scale_intensity
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
from tomostain.train.windows import WHITE, Batch, CtInput, compact_pair, fill_window, for_network, middle_of

# Positions of training patches in the noise. It has no period.
_NOISE_EXTENT = 2**30


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
        compact = [compact_pair(pair, self.ct_window, self.ct_slices, background) for pair in pairs]
        self.table = PixelTable(compact, fill_window(self.ct_window), self.device)
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
        ct, histology, mask = self.original_on_device(number)
        return ct.cpu().numpy(), histology, mask

    def original_on_device(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return `original`, with the grey values on the device; nothing waits for it."""
        ct, histology, mask = self._original(number)
        mask = mask if self._tissue is None else self._tissue[number].to(self.device)
        selected = ct[0] if self.ct_slices == 1 else ct
        grey = selected.float() + middle_of(self.ct_window)
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
        return slices_noise(self.noise, positions, self.patch_px, self.patch_px, self.device)

    def apply(self, transforms: Transforms) -> Batch:
        """Cut the patches that `transforms` describes, without random draws."""
        pairs, scale = transforms.pair.tolist(), transforms.scale.numpy()
        # The same for every batch, so that a patch does not depend on the others.
        size = window_px(self.patch_px, min(self.augment.scale[0], float(scale.min())))
        *terms, positions, factors = copy_together(
            self.device,
            *self.table.row_terms(pairs, transforms.corner.numpy(), size),
            sampling_positions(scale, transforms.flip.numpy(), self.patch_px, size).numpy(),
            jitter_factors(transforms.ct_jitter.numpy(), transforms.histology_jitter.numpy()),
        )
        windows = self.table.gather(*terms)
        grid = sampling_grid(positions.to(windows.dtype))
        patches = functional.grid_sample(windows, grid, mode="bilinear", padding_mode="border", align_corners=True)
        ct, histology, covered = patches.split([self.ct_slices, 3, 1], dim=1)
        low, high = self.ct_window
        gain, offset, exponent, brightness = factors.unbind()
        x = scale_ct(ct.mul_(2 / (high - low)), gain, offset)
        y = scale_intensity(histology.mul_(2 / WHITE), exponent, brightness)
        ids = tuple(self.ids[pair] for pair in pairs)
        return Batch(for_network(x, self.in_channels, self.inverted_ct), y, covered.ge_(0.5), ids)


__getattr__ = renamed(
    __name__,
    {
        "network_scale": "tomostain.train.windows:network_scale",
        "patch_at": "tomostain.train.windows:patch_at",
    },
)
