"""Invented lacunae: small dark spots that a network draws where the histology has none.

The paper saw its model put osteocyte lacunae into the degradation layer of Mg screws (section 3.4), where no cell ever
was. Lacunae are found as dark blobs of their size (scale-normalised Laplacian of Gaussian: Lindeberg 1998, Int. J.
Comput. Vis. 30, 79), in the real and in the generated picture alike.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.feature import blob_log

from tomostain.errors import InputError

RGB = NDArray[np.uint8]
# Osteocyte lacunae are ellipsoids of some 5 by 15 µm.
DIAMETER_UM = (6.0, 16.0)
CONTRAST = 0.08
WITHIN_UM = 12.0
_SCALES = 4
_DIRECTIONS, _ALL_AROUND = 16, 0.8


def find_lacunae(
    rgb: RGB,
    pixel_um: float,
    region: NDArray[np.bool_] | None = None,
    diameter_um: tuple[float, float] = DIAMETER_UM,
    contrast: float = CONTRAST,
) -> NDArray[np.float64]:
    """Find small dark spots.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (Y, X, 3)
    pixel_um : float
        Pixel size, µm; at most half the smallest diameter.
    region : ndarray of bool, shape (Y, X), optional
        Where to look; everywhere if None.
    diameter_um : tuple of float
        Smallest and largest diameter, µm.
    contrast : float
        How much darker than its surroundings a spot must be, as a part of white.

    Returns
    -------
    ndarray of float64, shape (N, 2)
        Centres (row, column), px.

    Raises
    ------
    InputError
        If the pixels are too large to show a lacuna, or the shapes differ.
    """
    if pixel_um > diameter_um[0] / 2:
        raise InputError(
            f"lacunae: pixels of {pixel_um:g} µm cannot show spots of {diameter_um[0]:g} µm; "
            f"{diameter_um[0] / 2:g} µm or less is needed"
        )
    if region is not None and region.shape != rgb.shape[:2]:
        raise InputError(f"lacunae: region of shape {region.shape} for an image of shape {rgb.shape[:2]}")
    darkness = 1.0 - rgb.mean(axis=2) / 255.0
    # A disc of radius r answers most at sigma = r / sqrt(2), with its contrast times 2 / e.
    low, high = (d / 2 / np.sqrt(2) / pixel_um for d in diameter_um)
    blobs = blob_log(darkness, low, high, _SCALES, threshold=contrast * 2 / math.e, overlap=0.3)
    centres = np.asarray(blobs[:, :2], dtype=np.float64).reshape(-1, 2)
    if len(centres):
        centres = centres[_stands_alone(darkness, centres, 0.75 * diameter_um[1] / pixel_um, contrast)]
    if region is None or not len(centres):
        return centres
    row, column = centres.astype(int).T
    return centres[region[row, column]]


def _stands_alone(
    darkness: NDArray[np.float64], centres: NDArray[np.float64], radius_px: float, contrast: float
) -> NDArray[np.bool_]:
    """Whether it is brighter nearly all around: edges and corners of large dark bodies answer to the Laplacian too."""
    angle = np.linspace(0, 2 * np.pi, _DIRECTIONS, endpoint=False)
    ring = centres[:, None] + radius_px * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    smooth = ndimage.gaussian_filter(darkness, 0.7)
    around, within = (
        ndimage.map_coordinates(smooth, np.moveaxis(at, -1, 0), order=1, mode="nearest") for at in (ring, centres)
    )
    return np.asarray((around < within[:, None] - contrast / 2).mean(axis=1) >= _ALL_AROUND)


def invented(
    fake: NDArray[np.float64], real: NDArray[np.float64], pixel_um: float, within_um: float = WITHIN_UM
) -> int:
    """Count the spots of `fake` that have no spot of `real` nearby; each real one excuses one.

    Parameters
    ----------
    fake, real : ndarray of float64, shape (N, 2), (M, 2)
        Centres (row, column), px: `find_lacunae`.
    pixel_um : float
    within_um : float
        How far apart a spot and its counterpart may be, µm: what registration leaves, and a radius.

    Returns
    -------
    int

    Examples
    --------
    >>> invented(np.array([[5.0, 5.0], [50.0, 50.0]]), np.array([[6.0, 5.0]]), pixel_um=3.0)
    1
    """
    if not len(fake) or not len(real):
        return len(fake)
    near = cKDTree(real).query_ball_point(fake, within_um / pixel_um)
    pairs = sorted((float(np.hypot(*(fake[i] - real[j]))), i, j) for i, others in enumerate(near) for j in others)
    excused: set[int] = set()
    used: set[int] = set()
    for _, i, j in pairs:
        if i not in excused and j not in used:
            excused.add(i)
            used.add(j)
    return len(fake) - len(excused)
