"""The grids of overlapping patches and of exact tiles, and the weights of patches. Pure geometry."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Blend = Literal["auto", "mean", "hann", "exact"]


def tile_starts(length: int, patch: int, stride: int) -> list[int]:
    """Return the first pixel of each patch along one side; the last patch is moved back to end at the border.

    Parameters
    ----------
    length, patch, stride : int
        Pixels. An image shorter than the patch has one patch, at 0 (the caller pads).

    Examples
    --------
    >>> tile_starts(600, 256, 64)
    [0, 64, 128, 192, 256, 320, 344]
    >>> tile_starts(100, 256, 64)
    [0]
    """
    if length <= patch:
        return [0]
    return [*range(0, length - patch, stride), length - patch]


def tile_spans(side: int, tile_px: int, halo_px: int, multiple: int) -> list[tuple[int, int, int, int]]:
    """Return the tiles along one side, with their halos and the part of each that is used.

    The number of tiles is minimal. A single tile needs no halo; the first and the last of several need one each.

    Parameters
    ----------
    side : int
        Length of the image, px.
    tile_px, halo_px, multiple : int
        As in `exact_tiles`, px.

    Returns
    -------
    list of tuple of int
        Start and stop of the tile with its halo; start and stop of the part that is used.

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


def tile_weights(patch: int, blend: Blend) -> NDArray[np.float32]:
    """Return the weights of the pixels of a patch where patches overlap, shape (patch, patch), all above 0.

    "hann" is a Hann window sampled at pixel centres. It is nowhere 0, so a border that only one patch covers has a
    value. For "mean", and for "exact", where nothing overlaps, all weights are equal.
    """
    if blend != "hann":
        return np.ones((patch, patch), np.float32)
    window = np.sin(np.pi * (np.arange(patch) + 0.5) / patch) ** 2
    return np.outer(window, window).astype(np.float32)


def pad_to(image: NDArray[np.float32], patch: int) -> NDArray[np.float32]:
    """Extend an image (…, Y, X) below and to the right to at least the patch's size, by mirroring."""
    missing = [(0, max(0, patch - length)) for length in image.shape[-2:]]
    return np.pad(image, [*[(0, 0)] * (image.ndim - 2), *missing], mode="reflect")
