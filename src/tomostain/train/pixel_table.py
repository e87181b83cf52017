"""The pixels of all training pairs in one table on the device, from which one operator gathers all windows."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomostain.host_copy import copy_together

Compact = tuple[Tensor, Tensor, Tensor]
"""µCT int16 (S, Y, X), histology uint8 (3, Y, X) and mask uint8 (1, Y, X)."""


class PixelTable:
    """Pixels of images of any sizes as rows of bytes: S values of µCT of 2 bytes, red, green, blue, mask.

    Parameters
    ----------
    images : sequence of Compact
        All with the same number S of slices.
    fill : tuple of int
        µCT, histology and mask of pixels outside an image.
    device : torch.device
    """

    def __init__(self, images: Sequence[Compact], fill: tuple[int, int, int], device: torch.device) -> None:
        self.shapes = [(ct.shape[1], ct.shape[2]) for ct, _, _ in images]
        self.slices = len(images[0][0])
        ends = np.cumsum([height * width for height, width in self.shapes])
        self._starts = [0, *ends[:-1].tolist()]
        self._outside = int(ends[-1])  # the last row
        self.rows = torch.empty(self._outside + 1, 2 * self.slices + 4, dtype=torch.uint8, device=device)
        for number, (ct, histology, mask) in enumerate(images):
            self._of(number).view(torch.int16)[:, : self.slices] = ct.flatten(1).T.to(device)
            self.replace(number, histology, mask)
        last = torch.tensor([fill[0]] * self.slices, dtype=torch.int16).view(torch.uint8).tolist()
        self.rows[self._outside] = torch.tensor([*last, *[fill[1]] * 3, fill[2]], dtype=torch.uint8)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.shapes)

    @property
    def nbytes(self) -> int:
        """Memory of the pixels, bytes."""
        return self._outside * self.rows.shape[1]

    def _of(self, number: int) -> Tensor:
        height, width = self.shapes[number]
        return self.rows[self._starts[number] : self._starts[number] + height * width]

    def image(self, number: int) -> Compact:
        """Return copies of µCT, histology and mask of an image."""
        rows, shape = self._of(number), self.shapes[number]
        ct = rows.view(torch.int16)[:, : self.slices].T.reshape(self.slices, *shape).contiguous()
        colours = rows[:, 2 * self.slices :].T.reshape(4, *shape).contiguous()
        return ct, colours[:3], colours[3:]

    def replace(self, number: int, histology: Tensor, mask: Tensor) -> None:
        """Replace histology and mask of an image."""
        self._of(number)[:, 2 * self.slices :] = torch.cat([histology, mask]).flatten(1).T.to(self.rows.device)

    def windows(self, numbers: Sequence[int], corners: NDArray[np.int64], size: int) -> Tensor:
        """Return square windows of images.

        Parameters
        ----------
        numbers : sequence of int, length B
            Index of each window's image.
        corners : ndarray of int, shape (B, 2)
            First row and column; may lie outside.
        size : int
            Side, px.

        Returns
        -------
        Tensor of float32, shape (B, S + 4, size, size)
            µCT, histology and mask in their compact values; `fill` outside the image.
        """
        return self.gather(*copy_together(self.rows.device, *self.row_terms(numbers, corners, size)))

    def row_terms(
        self, numbers: Sequence[int], corners: NDArray[np.int64], size: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return two terms for each window, of its rows (B, size, 1) and its columns (B, 1, size).

        Their sum is the row of a pixel in the table; from the last row on, the pixel is outside the image.
        """
        start = np.array([self._starts[number] for number in numbers])[:, None]
        sides = np.array([self.shapes[number] for number in numbers])
        positions = corners[:, :, None] + np.arange(size)  # (B, 2, size)
        outside = (positions < 0) | (positions >= sides[:, :, None])
        positions[:, 0] = start + positions[:, 0] * sides[:, 1:]
        # Any sum with such a term is beyond the last row, and becomes the last row.
        positions[outside] = self._outside
        return positions[:, 0, :, None], positions[:, 1, None]

    def gather(self, row_terms: Tensor, column_terms: Tensor) -> Tensor:
        """Return the windows whose terms `row_terms` returned, from terms on the device."""
        index = (row_terms + column_terms).clamp_(max=self._outside)  # (B, size, size)
        rows = self.rows.index_select(0, index.view(-1)).view(*index.shape, -1)
        windows = torch.empty(len(index), self.slices + 4, *index.shape[1:], device=rows.device)
        windows[:, : self.slices] = rows.view(torch.int16)[..., : self.slices].permute(0, 3, 1, 2)
        windows[:, self.slices :] = rows[..., 2 * self.slices :].permute(0, 3, 1, 2)
        return windows
