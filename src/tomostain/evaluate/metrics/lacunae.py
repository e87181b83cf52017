"""Invented lacunae: small dark spots in the generated image where the histology has none.

The model of the paper drew osteocyte lacunae into the degradation layer of Mg screws, where there are no cells
(section 3.4). Lacunae are detected as dark blobs of their size (scale-normalised Laplacian of Gaussian: Lindeberg 1998,
Int. J. Comput. Vis. 30, 79), in the real and in the generated image alike.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.feature import blob_log

from tomostain.errors import InputError
from tomostain.evaluate.metrics.base import RGB, ImageSample, register_metric
from tomostain.phantom.tissue import Label

# Osteocyte lacunae are ellipsoids of about 5 by 15 µm.
DIAMETER_UM = (6.0, 16.0)
CONTRAST = 0.08
WITHIN_UM = 12.0
# The Laplacian also responds to edges, so nothing this close to the border of a region counts.
RIM_UM = 9.0
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
        Where to search. Default: everywhere.
    diameter_um : tuple of float
        Smallest and largest diameter, µm.
    contrast : float
        Minimum difference from the surroundings, as a fraction of white.

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
    # The response to a disc of radius r is largest at sigma = r / sqrt(2), with its contrast times 2 / e.
    low, high = (d / 2 / np.sqrt(2) / pixel_um for d in diameter_um)
    blobs = blob_log(darkness, low, high, _SCALES, threshold=contrast * 2 / math.e, overlap=0.3)
    centres = np.asarray(blobs[:, :2], dtype=np.float64).reshape(-1, 2)
    if len(centres):
        centres = centres[_is_isolated(darkness, centres, 0.75 * diameter_um[1] / pixel_um, contrast)]
    if region is None or not len(centres):
        return centres
    row, column = centres.astype(int).T
    return centres[region[row, column]]


def _is_isolated(
    darkness: NDArray[np.float64], centres: NDArray[np.float64], radius_px: float, contrast: float
) -> NDArray[np.bool_]:
    """Return whether nearly all surroundings are brighter: the Laplacian also responds to edges and corners."""
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
    """Count the spots of `fake` that have no counterpart in `real` nearby; each real spot is matched at most once.

    Parameters
    ----------
    fake, real : ndarray of float64, shape (N, 2), (M, 2)
        Centres (row, column), px: `find_lacunae`.
    pixel_um : float
    within_um : float
        Maximum distance of a spot from its counterpart, µm: the error of the registration, and a radius.

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
    matched: set[int] = set()
    used: set[int] = set()
    for _, i, j in pairs:
        if i not in matched and j not in used:
            matched.add(i)
            used.add(j)
    return len(fake) - len(matched)


@register_metric("lacunae", label="invented lacunae", unit="mm⁻²", larger_is_better=False, digits=1, scope="image")
def lacunae_per_mm2(sample: ImageSample) -> float:
    """Invented lacunae per mm² of the mask."""
    return _invented_per_mm2(sample, sample.mask)


@register_metric(
    "lacunae_degradation",
    label="lacunae in degradation layer",
    unit="mm⁻²",
    larger_is_better=False,
    digits=1,
    scope="image",
)
def lacunae_in_degradation_layer(sample: ImageSample) -> float:
    """Invented lacunae per mm² of the degradation layer, where there are none (needs ``labels.tif``)."""
    labels = sample.require_labels("lacunae_degradation")
    return _invented_per_mm2(sample, sample.mask & (labels == int(Label.DEGRADATION)))


def _invented_per_mm2(sample: ImageSample, region: NDArray[np.bool_]) -> float:
    region = ndimage.binary_erosion(region, iterations=max(1, round(RIM_UM / sample.pixel_um)))
    stained, real = (find_lacunae(image, sample.pixel_um, region) for image in (sample.stained, sample.real))
    if not region.any():
        return float("nan")
    return invented(stained, real, sample.pixel_um) / (float(region.sum()) * (sample.pixel_um / 1000) ** 2)
