"""From colours to colours with opacity: the paper's alpha channel for volume rendering (section 2.11)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.integers import to_integers

HAZE = 40
"""Alpha below which a picture leaves a stained volume clear: white glass, its noise included, has less."""
_HAZIEST, _EVEN = 90, 40


def rgba(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Add the inverted mean of the colours as alpha: dark voxels are opaque, white glass is transparent.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (..., 3)
        Colours, e.g. a stained volume (Z, Y, X, 3).

    Returns
    -------
    ndarray of uint8, shape (..., 4)
        The colours as they were, and alpha = 255 - mean(R, G, B), rounded to the nearest.

    References
    ----------
    Irvine et al., J. Synchrotron Rad. 2026, section 2.11.

    Examples
    --------
    >>> rgba(np.array([[255, 255, 255], [0, 0, 0], [120, 60, 150]], dtype=np.uint8))[..., 3].tolist()
    [0, 255, 145]
    """
    rgb = np.asarray(rgb)
    if rgb.dtype != np.uint8 or rgb.ndim < 1 or rgb.shape[-1] != 3:
        raise ValueError(f"colours are uint8 of shape (..., 3), found {rgb.dtype} of shape {rgb.shape}")
    result = np.empty((*rgb.shape[:-1], 4), dtype=np.uint8)
    result[..., :3] = rgb
    # (765 - sum + 1) // 3 is 255 - sum / 3 to the nearest; a third never lies halfway, so there are no ties.
    result[..., 3] = (766 - rgb.sum(axis=-1, dtype=np.uint16)) // 3
    return result


def transfer_opacity(
    volume: NDArray[np.uint8], *, floor: float = 0.0, gamma: float = 1.0, strength: float = 1.0
) -> NDArray[np.uint8]:
    """Change the alpha of a volume before it is rendered: ``strength · ((alpha - floor) / (255 - floor)) ** gamma``.

    Parameters
    ----------
    volume : ndarray of uint8, shape (..., 4)
        Colours with alpha. It is not changed.
    floor : float
        Alpha (0 to below 255) up to which voxels become transparent. Removes the haze of the background of a slide.
    gamma : float
        Above 1, pale voxels become more transparent; below 1, less.
    strength : float
        Factor, 0 to 1.

    Returns
    -------
    ndarray of uint8, shape (..., 4)

    Examples
    --------
    >>> pale = np.array([[200, 200, 200, 20], [90, 90, 90, 165], [0, 0, 0, 255]], dtype=np.uint8)
    >>> transfer_opacity(pale, floor=30)[:, 3].tolist()
    [0, 153, 255]
    """
    if not 0 <= floor < 255 or gamma <= 0 or not 0 <= strength <= 1:
        raise ValueError(f"floor {floor} in [0, 255), gamma {gamma} > 0 and strength {strength} in [0, 1] are required")
    table: NDArray[Any] = np.clip((np.arange(256) - floor) / (255.0 - floor), 0, 1) ** gamma * strength * 255
    result = np.array(volume, dtype=np.uint8)
    result[..., 3] = to_integers(table, np.uint8, "opacity")[result[..., 3]]
    return result


def background_alpha(volume: NDArray[np.uint8]) -> float:
    """Return the alpha up to which a volume is rendered transparent, estimated from its outer faces if they are glass.

    A model that was trained for a short time, or on tinted slides, draws glass as pale grey, which would hide the
    specimen. If tissue reaches the faces, they are dark or uneven, and `HAZE` is returned.

    Parameters
    ----------
    volume : ndarray of uint8, shape (Z, Y, X, 4)
        Colours with alpha; the whole field of view, not cropped.

    Returns
    -------
    float
        `HAZE` or more.

    Examples
    --------
    >>> background_alpha(np.full((4, 4, 4, 4), 60, np.uint8)), background_alpha(np.full((4, 4, 4, 4), 180, np.uint8))
    (65.0, 40.0)
    """
    alpha = volume[..., 3]
    faces = np.concatenate([np.moveaxis(alpha, axis, 0)[[0, -1]].ravel() for axis in range(3)])
    low, middle, high = np.percentile(faces, [10, 50, 90])
    glass = middle <= _HAZIEST and high - low <= _EVEN
    # Half the spread is added. Otherwise the texture that a network draws in the glass would remain as stripes.
    return max(float(HAZE), float(high) + max(5.0, 0.5 * float(high - low))) if glass else float(HAZE)
