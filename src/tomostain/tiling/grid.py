"""Where the patches of an image lie, and how much each counts where they overlap. Pure geometry."""

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


def tile_weights(patch: int, blend: Blend) -> NDArray[np.float32]:
    """Return how much each pixel of a patch counts where patches overlap, shape (patch, patch), all above 0.

    "hann" is a Hann window sampled at pixel centres, so that it nowhere reaches 0 and a border seen by one patch
    only is still defined. "mean": all alike; what needs no blending ("exact") may be blended so.
    """
    if blend != "hann":
        return np.ones((patch, patch), np.float32)
    window = np.sin(np.pi * (np.arange(patch) + 0.5) / patch) ** 2
    return np.outer(window, window).astype(np.float32)


def pad_to(image: NDArray[np.float32], patch: int) -> NDArray[np.float32]:
    """Extend an image (…, Y, X) below and to the right to at least the patch's size, by mirroring."""
    missing = [(0, max(0, patch - length)) for length in image.shape[-2:]]
    return np.pad(image, [*[(0, 0)] * (image.ndim - 2), *missing], mode="reflect")
