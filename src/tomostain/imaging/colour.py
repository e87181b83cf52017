"""Normalisation of histology (paper section 2.5): white balance, then one contrast stretch for all channels."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from tomostain.errors import InputError
from tomostain.imaging.intensity import box_slices
from tomostain.imaging.regions import MIN_REGION_PX, block_mean
from tomostain.integers import to_integers

DARK, BRIGHT = 10.0, 255.0
_SIDE_PX = 1024
# Minimum brightness of empty glass relative to a percentile of all pixels; less strict where too little remains.
_GLASS = ((0.92, 99.5), (0.85, 99.0))
_MANUAL = (
    "state the regions: `histology_background` and `histology_bone` in the configuration of register, "
    "rois in the table of prepare"
)
# New bone: redness below, summed optical density above.
_DEEP_BLUE = (-0.3, 1.6)


@dataclass(frozen=True)
class ColourReference:
    """The colours of a slide that normalisation needs.

    Attributes
    ----------
    white : tuple of float
        Mean of the background ROI in red, green and blue, as scanned (the paper's μR, μG, μB).
    fmin : float
        First percentile of the bone ROI after white balance, all channels together, at most 10; it becomes 0.
    fmax : float
        99th percentile of the background ROI after white balance, at most 255; it becomes 255.
    """

    white: tuple[float, float, float]
    fmin: float
    fmax: float

    def __post_init__(self) -> None:
        if not (min(self.white) > 0 and self.fmax > self.fmin):
            raise InputError(
                f"histology colours: white {self.white}, fmin {self.fmin:g}, fmax {self.fmax:g}; "
                "white must be above 0 and fmax above fmin"
            )

    def to_dict(self) -> dict[str, list[float] | float]:
        """Return plain numbers for YAML."""
        return asdict(self) | {"white": list(self.white)}


def white_balance(rgb: NDArray[np.uint8], white: Sequence[float]) -> NDArray[np.float32]:
    """Scale the channels so that the means of the background are equal: μR = μG = μB = their mean (paper section 2.5).

    Parameters
    ----------
    rgb : ndarray of uint8, shape (..., 3)
    white : sequence of three float
        μR, μG, μB.

    Returns
    -------
    ndarray of float32, same shape
        Not clipped.

    Examples
    --------
    >>> white_balance(np.array([[[200, 220, 240]]], np.uint8), (200, 220, 240)).round().tolist()
    [[[220.0, 220.0, 220.0]]]
    """
    mean = np.asarray(white, dtype=np.float32)
    return rgb.astype(np.float32) * (mean.mean() / mean)


def background_region(rgb: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """Segment the empty glass: the main bright colour.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (Y, X, 3)
    valid : ndarray of bool, shape (Y, X), optional
        Where the slide was imaged.

    Returns
    -------
    ndarray of bool, shape (Y, X)
        All False if nothing is bright.
    """
    grey = ndimage.gaussian_filter(rgb.mean(axis=2, dtype=np.float32), 1.0)
    valid_pixels = np.ones(grey.shape, bool) if valid is None else valid
    values = grey[valid_pixels]
    if values.size == 0 or values.min() == values.max():
        return np.zeros(grey.shape, bool)
    # In bright field nothing is brighter than empty glass. Pale bone may cover a larger area, but is darker.
    otsu = float(threshold_otsu(values))
    for part, percentile in _GLASS:
        bright = valid_pixels & (grey > max(otsu, part * np.percentile(values, percentile)))
        glass = _main_colour(rgb, grey, bright)
        if glass.sum() >= MIN_REGION_PX:
            break
    return glass


def _main_colour(rgb: NDArray[np.uint8], grey: NDArray[np.float32], bright: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of the most common bright colour, eroded if enough pixels remain."""
    counts, edges = np.histogram(grey[bright], bins=128)
    mode = edges[int(ndimage.gaussian_filter1d(counts.astype(float), 2.0).argmax())]
    near = bright & (np.abs(grey - mode) < 0.06 * mode)
    colour = np.median(rgb[near], axis=0) if near.any() else np.zeros(3)
    alike = near & (np.abs(rgb - colour.astype(np.float32)).max(axis=2) < 0.12 * 255)
    core = ndimage.binary_erosion(alike, iterations=2)
    return core if core.sum() >= MIN_REGION_PX else alike


def tissue_classes(
    balanced: NDArray[np.float32], white: float, valid: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Segment bone and black metal by colour.

    In both stains bone is redder than other tissue: purple against blue with toluidine blue/pyronine, pink against
    purple with H&E (paper section 2.1). Metal is black. In a greyscale image the darker half is bone.

    Parameters
    ----------
    balanced : ndarray of float32, shape (Y, X, 3)
        After white balance.
    white : float
        Grey value of the background after white balance.
    valid : ndarray of bool, shape (Y, X), optional
        Where the slide was imaged.

    Returns
    -------
    bone, metal : ndarray of bool, shape (Y, X)
    """
    smooth = ndimage.gaussian_filter(balanced, (1.0, 1.0, 0.0)) / white
    valid_pixels = np.ones(smooth.shape[:2], bool) if valid is None else valid
    brightest = smooth.max(axis=2)
    colourful = brightest - smooth.min(axis=2)
    metal = valid_pixels & ((brightest < 0.25) | ((brightest < 0.42) & (colourful < 0.07)))
    tissue = valid_pixels & ~metal & ((smooth.min(axis=2) < 0.86) | (smooth.mean(axis=2) < 0.9))
    if tissue.sum() < MIN_REGION_PX:
        return np.zeros_like(metal), metal
    red, density = _hue(smooth)
    feature = red if np.percentile(colourful[tissue], 90) > 0.04 else -smooth.mean(axis=2)
    # The deep blue of new bone is as far from marrow as marrow is from bone, so it is excluded here.
    values = feature[tissue & ~_is_deep_blue(red, density)]
    if values.size == 0 or values.min() == values.max():
        return tissue, metal
    return tissue & (feature > threshold_otsu(values)), metal


def new_bone(smooth: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Segment new woven bone: deep blue with toluidine blue (paper section 2.1), deeper than any soft tissue.

    Parameters
    ----------
    smooth : ndarray of float32, shape (Y, X, 3)
        After white balance, relative to white.

    Returns
    -------
    ndarray of bool, shape (Y, X)
    """
    return _is_deep_blue(*_hue(smooth))


def redness(rgb: NDArray[np.uint8], white: float = 255.0) -> NDArray[np.float32]:
    """Return (blue - red) / sum of the optical densities of white-balanced colours (..., 3), shape (...)."""
    return _hue(rgb.astype(np.float32) / np.float32(white))[0]


def _hue(smooth: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return redness, (blue - red) / sum of the optical densities, and that sum, for colours relative to white.

    The ratios of optical densities do not change with thickness, so the hue is computed from them.
    """
    density = -np.log(np.clip(smooth, 0.02, 1.0))
    total = density.sum(axis=-1)
    return (density[..., 2] - density[..., 0]) / np.maximum(total, 0.1), total


def _is_deep_blue(red: NDArray[np.float32], density: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray((red < _DEEP_BLUE[0]) & (density > _DEEP_BLUE[1]))


def estimate_colour_reference(
    rgb: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None, source: str = "histology"
) -> ColourReference:
    """Estimate the colour of the background and the bounds of the contrast stretch.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (Y, X, 3)
    valid : ndarray of bool, shape (Y, X), optional
        Where the slide was imaged. Fill values outside must not count as background.
    source : str
        Named in error messages.

    Raises
    ------
    InputError
        If no bright background or no tissue is found.
    """
    step = max(1, -(-max(rgb.shape[:2]) // _SIDE_PX))
    small = to_integers(block_mean(rgb, step), np.uint8, source)
    valid_pixels = None if valid is None else block_mean(valid, step) == 1
    background = background_region(small, valid_pixels)
    if background.sum() < MIN_REGION_PX:
        raise InputError(f"{source}: no bright background found; {_MANUAL}")
    white = small[background].mean(axis=0, dtype=np.float64)
    bone, metal = tissue_classes(white_balance(small, white), float(white.mean()), valid_pixels)
    # The blurred rim of black metal is darker than any bone and would determine the first percentile.
    bone &= ~ndimage.binary_dilation(metal, iterations=3)
    core = ndimage.binary_erosion(bone)
    bone = core if core.sum() >= MIN_REGION_PX else bone
    if bone.sum() < MIN_REGION_PX:
        raise InputError(f"{source}: no tissue found on the slide; check that it is the right file, or {_MANUAL}")
    return _reference(small, background, bone)


def colour_reference_from_rois(
    rgb: NDArray[np.uint8], background: Sequence[int], bone: Sequence[int]
) -> ColourReference:
    """Compute the reference from two boxes that the user chose, each (row0, row1, column0, column1).

    Raises
    ------
    InputError
        If a box is empty or leaves the image, or the background is not brighter than bone.
    """
    masks = []
    for box in (background, bone):
        mask = np.zeros(rgb.shape[:2], bool)
        mask[box_slices(box, rgb.shape, "histology ROI")] = True
        masks.append(mask)
    return _reference(rgb, masks[0], masks[1])


def normalise_histology(rgb: NDArray[np.uint8], reference: ColourReference | None = None) -> NDArray[np.uint8]:
    """White balance, then stretch all channels by the same two constants (paper section 2.5).

    The stretch is c · f + c′ with fmin to 0 and fmax to 255, clipped to [0, 255]. The paper states that the bounds are
    "clamped to 10" and "clamped to 255". We take these as upper limits of fmin and fmax. If 10 were the value that the
    first percentile of bone is set to, the subtraction would remove all red from blues and purples, but the paper
    stretches "to preserve chromaticity".

    Parameters
    ----------
    rgb : ndarray of uint8, shape (Y, X, 3)
    reference : ColourReference, optional
        Estimated from the image by default.

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)

    Raises
    ------
    InputError
        If the reference is estimated and there is no background or no tissue.
    """
    reference = reference or estimate_colour_reference(rgb)
    c = BRIGHT / (reference.fmax - reference.fmin)
    stretched = (white_balance(rgb, reference.white) - reference.fmin) * c
    return to_integers(stretched, np.uint8, "normalised colours", clip=True)


def _reference(rgb: NDArray[np.uint8], background: NDArray[np.bool_], bone: NDArray[np.bool_]) -> ColourReference:
    """Compute the paper's numbers from the two regions."""
    white = rgb[background].mean(axis=0, dtype=np.float64)
    if white.min() <= 0:
        raise InputError(f"histology ROI: the background's mean is {white.tolist()}; choose a bright region")
    balanced = white_balance(rgb, white)
    p1, p99 = float(np.percentile(balanced[bone], 1)), float(np.percentile(balanced[background], 99))
    if p99 <= p1:
        raise InputError(
            f"histology ROI: background ({p99:g}) is not brighter than bone ({p1:g}); choose other regions"
        )
    fmin, fmax = min(p1, DARK), min(p99, BRIGHT)
    red, green, blue = (float(value) for value in white)
    return ColourReference((red, green, blue), fmin, fmax)
