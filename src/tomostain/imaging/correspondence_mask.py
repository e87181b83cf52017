"""Correspondence masks (paper section 2.8): the region where µCT and histology show the same tissue."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import apply_hysteresis_threshold
from skimage.measure import label, regionprops
from skimage.morphology import convex_hull_image, disk

from tomostain.errors import InputError
from tomostain.imaging.colour import background_region, tissue_classes, white_balance
from tomostain.imaging.network_range import CT_BACKGROUND, CT_BONE

# Upper threshold: certainly bone. Lower threshold: thin trabeculae, whose voxels also contain their surroundings.
_RIGID_CT = (CT_BACKGROUND + CT_BONE) / 2
_THIN_CT = CT_BACKGROUND + 0.36 * (CT_BONE - CT_BACKGROUND)


def rigid_ct(ct: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Segment bone and screw in normalised µCT: brighter than halfway to bone, with the thin parts connected to it.

    A PEEK screw is darker and is not segmented. Bone surrounds it, so the convex hull includes it.

    Parameters
    ----------
    ct : ndarray of uint16, shape (Y, X)
        Normalised: background 10000, bone 30000.

    Returns
    -------
    ndarray of bool, shape (Y, X)
        Without small specks and without the wall of the sample holder.
    """
    smooth = ndimage.gaussian_filter(ct.astype(np.float32), 0.7)
    return main_bodies(apply_hysteresis_threshold(smooth, _THIN_CT, _RIGID_CT))


def rigid_histology(histology: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """Segment bone and metal screw in histology by colour. Where the screw is lost (H&E), the hull closes the gap.

    Parameters
    ----------
    histology : ndarray of uint8, shape (Y, X, 3)
    valid : ndarray of bool, shape (Y, X), optional
        Where the slide was imaged.

    Returns
    -------
    ndarray of bool, shape (Y, X)
    """
    background = background_region(histology, valid)
    white = histology[background].mean(axis=0) if background.any() else np.full(3, 255.0)
    white = np.maximum(white, 1.0)
    bone, metal = tissue_classes(white_balance(histology, white), float(white.mean()), valid)
    return main_bodies(bone | metal)


def main_bodies(rigid: NDArray[np.bool_], smallest: float = 0.003) -> NDArray[np.bool_]:
    """Remove specks, threads and the wall of the sample holder.

    Parameters
    ----------
    rigid : ndarray of bool, shape (Y, X)
    smallest : float
        Bodies smaller than this fraction of the area of the largest one are removed.

    Returns
    -------
    ndarray of bool, shape (Y, X)
    """
    # Regions that contain a disc of one pixel, with all thin parts connected to them.
    solid = ndimage.binary_opening(rigid, disk(1))
    labels = label(ndimage.binary_propagation(solid, mask=rigid, structure=np.ones((3, 3))), connectivity=2)
    bodies = [region for region in regionprops(labels) if not _is_wall(region, rigid.shape)]
    largest = max((region.area for region in bodies), default=0)
    labels_of_bodies = [region.label for region in bodies if region.area >= smallest * largest]
    return np.isin(labels, labels_of_bodies)


def _is_wall(region: object, shape: tuple[int, ...]) -> bool:
    """Whether a region is a thin arc or ring that spans much of the image."""
    top, left, bottom, right = region.bbox  # type: ignore[attr-defined]
    wide = max((bottom - top) / shape[0], (right - left) / shape[1]) > 0.6
    return bool(wide and region.solidity < 0.15)  # type: ignore[attr-defined]


def hull(rigid: NDArray[np.bool_], margin_px: int = 0) -> NDArray[np.bool_]:
    """Return the convex hull of a mask, grown by a margin.

    Parameters
    ----------
    rigid : ndarray of bool, shape (Y, X)
    margin_px : int
        "A small amount of background pixels surrounding the bone" (paper section 2.8).

    Returns
    -------
    ndarray of bool, shape (Y, X)
        All False if `rigid` is all False.
    """
    if not rigid.any():
        return np.zeros(rigid.shape, bool)
    filled = np.asarray(convex_hull_image(rigid), dtype=bool)
    if margin_px <= 0:
        return filled
    return np.asarray(ndimage.distance_transform_edt(~filled) <= margin_px)


def correspondence_mask(
    ct: NDArray[np.uint16],
    histology: NDArray[np.uint8],
    exclude: NDArray[np.bool_] | None = None,
    *,
    valid: NDArray[np.bool_] | None = None,
    margin_px: int = 3,
    source: str = "pair",
) -> NDArray[np.bool_]:
    """Intersect the convex hulls of bone and screw in both images and remove the excluded region (paper section 2.8).

    Parameters
    ----------
    ct : ndarray of uint16, shape (Y, X)
        Normalised.
    histology : ndarray of uint8, shape (Y, X, 3)
    exclude : ndarray of bool, shape (Y, X), optional
        Drawn by the user: True where tissue is missing inside the hulls.
    valid : ndarray of bool, shape (Y, X), optional
        Where both images have data.
    margin_px : int
        Margin of the hulls around the bone, px.
    source : str
        Named in error messages.

    Returns
    -------
    ndarray of bool, shape (Y, X)

    Raises
    ------
    InputError
        If the mask is empty.
    """
    hulls = {
        "µCT": hull(rigid_ct(ct), margin_px),
        "histology": hull(rigid_histology(histology, valid), margin_px),
    }
    for name, region in hulls.items():
        if not region.any():
            raise InputError(f"{source}: no bone and no screw found in the {name}, so the mask excludes everything")
    mask = hulls["µCT"] & hulls["histology"]
    if valid is not None:
        mask &= valid
    if not mask.any():
        raise InputError(
            f"{source}: µCT and histology do not overlap, so the mask excludes everything; check the section"
        )
    if exclude is not None:
        mask &= ~exclude
        if not mask.any():
            raise InputError(f"{source}: the exclusion removes the whole mask; draw it smaller")
    return mask
