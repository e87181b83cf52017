"""The cover of a package: the µCT next to its colours."""

import numpy as np
from numpy.typing import NDArray

from tomostain.imaging.network_range import DISPLAY_WINDOW
from tomostain.integers import to_integers

_MIN_SIDE_PX = 256
_MAX_SIDE_PX = 384
"""A cover of the zoo has at most 500 kB."""


def rgb_image(colours: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return colours (3, H, W) in [0, 255] as an image (H, W, 3) of uint8."""
    return to_integers(np.moveaxis(colours, 0, -1), np.uint8, "colours", clip=True)


def cover(ct: NDArray[np.float32], colours: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the µCT on the left and its colours on the right, as a picture with the ratio 2:1.

    Parameters
    ----------
    ct : ndarray of float32, shape (H, H)
        Normalised µCT.
    colours : ndarray of float32, shape (3, H, H)
        In [0, 255].

    Returns
    -------
    ndarray of uint8, shape (N, 2 N, 3)
        Small images are enlarged, large ones are cropped.
    """
    low, high = DISPLAY_WINDOW
    grey = to_integers((ct - low) / (high - low) * 255, np.uint8, "grey values", clip=True)
    picture = [np.repeat(grey[..., None], 3, axis=-1), rgb_image(colours)]
    side = min(len(grey), _MAX_SIDE_PX)
    factor = max(1, -(-_MIN_SIDE_PX // side))
    tiles = [part[:side, :side].repeat(factor, axis=0).repeat(factor, axis=1) for part in picture]
    return np.concatenate(tiles, axis=1)
