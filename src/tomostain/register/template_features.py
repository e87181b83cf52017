"""Features of a slide that its template uses: stiffness, texture, density and connected bodies."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import convex_hull_image

from tomostain.imaging.colour import redness

Float32 = NDArray[np.float32]
# Expected µCT values, background 0 and bone 1. An accuracy of 30 % is sufficient.
SOFT, PALE, BONE, NEW_BONE = 0.20, 0.04, 0.90, 0.70
# The median redness of tissue stained with toluidine blue is below this.
_BLUE = -0.06
EDGE_UM = 40.0
_FIBRE_UM = 50.0
# Texture: window of the standard deviation of the optical density and window of its mean, µm; the standard deviation
# of an area without texture and the smallest usual one.
_TEXTURE_UM = (100.0, 180.0)
_TEXTURE = (0.02, 0.06)
# Weight of an area without texture. The rule only applies if the mean weight of the tissue stays above the minimum.
FLAT_WEIGHT = 0.1
_MIN_TEXTURED = 0.4


def is_stiff(rgb: NDArray[np.uint8], inside: NDArray[np.bool_] | None = None) -> bool:
    """Whether the colours are those of a ground, resin-embedded section: toluidine blue.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (Y, X, 3)
    inside : ndarray of bool, shape (Y, X), optional
        Pixels that count. None: all that are neither black nor glass.
    """
    tissue = (rgb.max(axis=2) > 60) & (rgb.min(axis=2) < 215)
    if inside is not None:
        tissue &= inside
    return bool(tissue.any()) and float(np.median(redness(rgb[tissue]))) < _BLUE


def texture_weight(relative: Float32, tissue: NDArray[np.bool_], pixel_um: float) -> Float32:
    """Return a weight of the tissue by its texture: `FLAT_WEIGHT` without texture, 1 with the usual texture.

    Bone and marrow are never of one colour. An area of one colour was flooded or stained wrongly. Its colour has no
    meaning and could hide the screw.

    Parameters
    ----------
    relative : ndarray of float32, shape (Y, X, 3)
        Colours after white balance, relative to white.
    tissue : ndarray of bool, shape (Y, X)
        Where tissue is. Elsewhere the result is 1.
    pixel_um : float

    Returns
    -------
    ndarray of float32, shape (Y, X)
        1 everywhere if almost nothing shows texture.
    """
    near, wide = (max(3, 2 * round(um / pixel_um / 2) + 1) for um in _TEXTURE_UM)
    density = np.log(np.clip(relative, 0.03, 1.0))
    mean = ndimage.uniform_filter(density, (near, near, 0))
    spread = np.sqrt(np.clip(ndimage.uniform_filter(density**2, (near, near, 0)) - mean**2, 0, None)).max(axis=2)
    flat, usual = _TEXTURE
    # Limit the standard deviation to twice the usual one, because edges are not texture.
    part = tissue.astype(np.float32)
    total = ndimage.uniform_filter(np.minimum(spread, 2 * usual) * part, wide)
    texture = total / np.maximum(ndimage.uniform_filter(part, wide), 1e-3)
    weight = np.clip((texture - flat) / (usual - flat), FLAT_WEIGHT, 1.0)
    weight[~tissue] = 1.0
    if not tissue.any() or weight[tissue].mean() < _MIN_TEXTURED:
        return np.ones_like(weight)
    return np.asarray(weight, dtype=np.float32)


def density_of(grey: Float32, pixel_um: float) -> Float32:
    """Return the local density of stained matter, 0 to `BONE`, from an image without colour."""
    filled = ndimage.gaussian_filter((grey < 0.93).astype(np.float32), _FIBRE_UM / pixel_um)
    return np.asarray(BONE * np.clip(1.3 * filled, 0, 1), dtype=np.float32)


def hull_of(tissue: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the convex hull of the tissue."""
    return np.asarray(convex_hull_image(tissue), dtype=bool)


def without_specks(tissue: NDArray[np.bool_], pixel_um: float) -> NDArray[np.bool_]:
    """Remove dust and pen marks: components much smaller than the largest one."""
    labels, n = ndimage.label(ndimage.binary_closing(tissue, iterations=2))
    if n == 0:
        return tissue & False
    areas = np.bincount(labels.ravel())[1:]
    large = np.flatnonzero(areas >= max(0.02 * areas.max(), (150.0 / pixel_um) ** 2)) + 1
    return np.isin(labels, large)


def large_bodies(mask: NDArray[np.bool_], radius_px: float) -> NDArray[np.bool_]:
    """Return the large bodies of a mask: those that contain a disc of this radius, with their surroundings."""
    # The border of the image is not an edge of the body.
    padded = np.pad(mask, 1, mode="edge")
    core = ndimage.distance_transform_edt(padded) > radius_px
    if not core.any():
        return np.zeros_like(mask)
    near = padded & (ndimage.distance_transform_edt(~core) <= 2.0 * radius_px)
    return np.asarray(ndimage.binary_propagation(core, mask=near)[1:-1, 1:-1] & mask)
