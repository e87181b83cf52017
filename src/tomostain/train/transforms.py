"""Random position and augmentation of training patches, and the sampling grid that follows (paper section 2.7).

Source: Irvine et al., J. Synchrotron Rad. 2026, section 2.7.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomostain.train.augment import Augment

_TRIES = 8


@dataclass(frozen=True)
class Transforms:
    """Random parameters of the B patches of a batch. All tensors are on the CPU.

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


def draw_transforms(
    areas: Sequence[NDArray[np.int64]],
    patch_px: int,
    batch: int,
    augment: Augment,
    generator: torch.Generator,
    pairs: Sequence[int] | None = None,
) -> Transforms:
    """Draw the parameters of a batch.

    Parameters
    ----------
    areas : sequence of ndarray of int64, shape (Y + 1, X + 1)
        Integral image of each pair's mask (zero first row and column).
    patch_px, batch : int
        Side of a patch, px; patches per batch.
    augment : Augment
        The ranges.
    generator : torch.Generator
        On the CPU.
    pairs : sequence of int, optional
        Indices of the pairs to draw from. Default: all.
    """
    used = np.arange(len(areas)) if pairs is None else np.asarray(pairs)
    pair = used[torch.randint(len(used), (batch,), generator=generator).numpy()]
    low, high = augment.scale
    scale = low + (high - low) * torch.rand(batch, generator=generator, dtype=torch.float64).numpy()
    corner = _draw_corners([areas[i] for i in pair], (patch_px - 1) / scale, augment.min_mask, generator)
    flip = torch.rand(batch, 2, generator=generator).numpy() < (0.5 if augment.flip else 0.0)
    ct, histology = 2 * torch.rand(2, batch, 2, generator=generator, dtype=torch.float64).numpy() - 1
    of_histology = augment.jitter if augment.histology_jitter is None else augment.histology_jitter
    jitters = 1 + augment.jitter * ct, 1 + of_histology * histology
    return Transforms(*map(torch.from_numpy, (pair, corner, scale, flip, *jitters)))


def _draw_corners(
    areas: Sequence[NDArray[np.int64]], extents: NDArray[np.float64], min_mask: float, generator: torch.Generator
) -> NDArray[np.int64]:
    """Draw the first pixel of each source window, so that it lies within its pair, or the pair within it.

    Each try takes two random numbers. They are drawn for all windows at once, in the order in which they are used: a
    window whose first try does not suffice takes those of the next ones, which are then drawn again. A window uses at
    least two, so that none is left.
    """
    numbers: deque[list[float]] = deque()

    def draw(windows_left: int) -> list[float]:
        if not numbers:
            numbers.extend(torch.rand(windows_left, 2, generator=generator, dtype=torch.float64).tolist())
        return numbers.popleft()

    corners = np.zeros((len(areas), 2), np.int64)
    for window, (area, extent) in enumerate(zip(areas, extents.tolist(), strict=True)):
        max_share, room = -1.0, [(side - 1) - 1 - extent for side in area.shape]
        for _ in range(_TRIES):
            row, column = map(_part_of, room, draw(len(areas) - window))
            share = _covered(area, row, column, round(extent) + 1)
            if share > max_share:
                corners[window], max_share = (row, column), share
            if share >= min_mask:
                break
    return corners


def _part_of(room: float, u: float) -> int:
    """Return the integer between 0 and `room` (which may be negative) that u in [0, 1) selects."""
    steps = int(u * (math.floor(abs(room)) + 1))
    return steps if room >= 0 else -steps


def _covered(area: NDArray[np.int64], row: int, column: int, size: int) -> float:
    """Return the share of a square window that the mask covers, from the mask's integral image."""
    rows, columns = area.shape[0] - 1, area.shape[1] - 1
    r0, r1 = (min(max(value, 0), rows) for value in (row, row + size))  # faster than NumPy for single numbers
    c0, c1 = (min(max(value, 0), columns) for value in (column, column + size))
    return float(area[r1, c1] - area[r0, c1] - area[r1, c0] + area[r0, c0]) / size**2


def window_px(patch_px: int, min_scale: float) -> int:
    """Return the side of the source window that holds a patch at the minimum magnification, px."""
    return math.floor((patch_px - 1) / min_scale) + 2


def sampling_positions(scale: NDArray[np.float64], flip: NDArray[np.bool_], patch_px: int, size: int) -> Tensor:
    """Return the positions of a patch's rows and columns in its source window.

    Parameters
    ----------
    scale : ndarray of float64, shape (B,)
        Magnifications.
    flip : ndarray of bool, shape (B, 2)
        Whether rows and columns are reversed.
    patch_px, size : int
        Side of the patch and of the source window, px.

    Returns
    -------
    Tensor of float32, shape (B, 2, P)
        In [-1, 1], as `grid_sample` with ``align_corners=True`` takes them; computed in float64, because float32 would
        give errors of 1e-5 px.
    """
    out = np.arange(patch_px, dtype=np.float64)
    steps = np.where(flip[:, :, None], patch_px - 1 - out, out) / scale[:, None, None]
    return torch.from_numpy((steps * (2 / (size - 1)) - 1).astype(np.float32))


def sampling_grid(positions: Tensor) -> Tensor:
    """Return the grid (B, P, P, 2) of `grid_sample`, each (column, row), from the positions of `sampling_positions`."""
    rows, columns = positions.unbind(1)
    side = rows.shape[1]
    return torch.stack([columns[:, None, :].expand(-1, side, -1), rows[:, :, None].expand(-1, -1, side)], dim=-1)


def integral(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the integral image of a mask, with a zero row and column before it."""
    return np.pad(mask.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
