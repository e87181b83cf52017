"""Normalisation of histology (paper section 2.5): white balance, then one contrast stretch for all channels."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from tomostain.errors import InputError
from tomostain.imaging.intensity import box_slices
from tomostain.imaging.regions import FEWEST_PX, block_mean

DARK, BRIGHT = 10.0, 255.0
_SIDE_PX = 1024
# Empty glass is at least so bright, relative to a percentile of all; less strictly where that leaves too little.
_GLASS = ((0.92, 99.5), (0.85, 99.0))
_BY_HAND = (
    "give the regions by hand (register: histology_background and histology_bone in --config; "
    "prepare: rois in its table)"
)
# New bone: redness below, summed optical density above.
_DEEP_BLUE = (-0.3, 1.6)


@dataclass(frozen=True)
class HistologyLevels:
    """What normalisation needs to know of a slide.

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
                f"histology levels: white {self.white}, fmin {self.fmin:g}, fmax {self.fmax:g}; "
                "white must be above 0 and fmax above fmin"
            )

    def to_dict(self) -> dict[str, list[float] | float]:
        """Return plain numbers for YAML."""
        return asdict(self) | {"white": list(self.white)}


def white_balance(rgb: NDArray[np.uint8], white: Sequence[float]) -> NDArray[np.float32]:
    """Scale the channels so that the background's means are equal: μR = μG = μB = their mean (paper section 2.5).

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
    """Find the empty glass: the main bright colour.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (Y, X, 3)
    valid : ndarray of bool, shape (Y, X), optional
        Where there is a slide at all.

    Returns
    -------
    ndarray of bool, shape (Y, X)
        All False where nothing bright is there.
    """
    grey = ndimage.gaussian_filter(rgb.mean(axis=2, dtype=np.float32), 1.0)
    seen = np.ones(grey.shape, bool) if valid is None else valid
    values = grey[seen]
    if values.size == 0 or values.min() == values.max():
        return np.zeros(grey.shape, bool)
    # In bright field nothing is brighter than the empty slide; pale bone may cover more of it, but is darker.
    otsu = float(threshold_otsu(values))
    for part, percentile in _GLASS:
        bright = seen & (grey > max(otsu, part * np.percentile(values, percentile)))
        found = _main_colour(rgb, grey, bright)
        if found.sum() >= FEWEST_PX:
            break
    return found


def _main_colour(rgb: NDArray[np.uint8], grey: NDArray[np.float32], bright: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of the commonest colour among the bright ones, without their border where enough is left."""
    counts, edges = np.histogram(grey[bright], bins=128)
    mode = edges[int(ndimage.gaussian_filter1d(counts.astype(float), 2.0).argmax())]
    near = bright & (np.abs(grey - mode) < 0.06 * mode)
    colour = np.median(rgb[near], axis=0) if near.any() else np.zeros(3)
    alike = near & (np.abs(rgb - colour.astype(np.float32)).max(axis=2) < 0.12 * 255)
    core = ndimage.binary_erosion(alike, iterations=2)
    return core if core.sum() >= FEWEST_PX else alike


def tissue_classes(
    balanced: NDArray[np.float32], white: float, valid: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Find bone and black metal by colour.

    In both stains bone is the redder matter: purple against blue with toluidine blue/pyronine, pink against purple
    with H&E (paper section 2.1). Metal is black. In a picture without colour (a grey scan) the darker half is bone.

    Parameters
    ----------
    balanced : ndarray of float32, shape (Y, X, 3)
        After white balance.
    white : float
        Grey value of the background after white balance.
    valid : ndarray of bool, shape (Y, X), optional
        Where there is a slide at all.

    Returns
    -------
    bone, metal : ndarray of bool, shape (Y, X)
    """
    smooth = ndimage.gaussian_filter(balanced, (1.0, 1.0, 0.0)) / white
    seen = np.ones(smooth.shape[:2], bool) if valid is None else valid
    brightest = smooth.max(axis=2)
    colourful = brightest - smooth.min(axis=2)
    metal = seen & ((brightest < 0.25) | ((brightest < 0.42) & (colourful < 0.07)))
    tissue = seen & ~metal & ((smooth.min(axis=2) < 0.86) | (smooth.mean(axis=2) < 0.9))
    if tissue.sum() < FEWEST_PX:
        return np.zeros_like(metal), metal
    red, density = _hue(smooth)
    feature = red if np.percentile(colourful[tissue], 90) > 0.04 else -smooth.mean(axis=2)
    # The deep blue of new bone is as far from marrow as marrow is from bone: bone is looked for in the rest.
    values = feature[tissue & ~_is_deep_blue(red, density)]
    if values.size == 0 or values.min() == values.max():
        return tissue, metal
    return tissue & (feature > threshold_otsu(values)), metal


def new_bone(smooth: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Find new woven bone: deep blue with toluidine blue (paper section 2.1), deeper than any soft tissue.

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
    """Return redness, (blue - red) / sum of the optical densities, and that sum; of colours relative to white.

    Optical densities do not change their ratios with thickness, so hue is read from them and not from grey values.
    """
    density = -np.log(np.clip(smooth, 0.02, 1.0))
    total = density.sum(axis=-1)
    return (density[..., 2] - density[..., 0]) / np.maximum(total, 0.1), total


def _is_deep_blue(red: NDArray[np.float32], density: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray((red < _DEEP_BLUE[0]) & (density > _DEEP_BLUE[1]))


def estimate_histology_levels(
    rgb: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None, source: str = "histology"
) -> HistologyLevels:
    """Find the background's colour and the bounds of the contrast stretch automatically.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (Y, X, 3)
    valid : ndarray of bool, shape (Y, X), optional
        Where there is a slide at all; what fills the rest must not count as background.
    source : str
        Named in error messages.

    Raises
    ------
    InputError
        If there is no bright background or no tissue.
    """
    step = max(1, -(-max(rgb.shape[:2]) // _SIDE_PX))
    small = np.rint(block_mean(rgb, step)).astype(np.uint8)
    seen = None if valid is None else block_mean(valid, step) == 1
    background = background_region(small, seen)
    if background.sum() < FEWEST_PX:
        raise InputError(f"{source}: no bright background found; {_BY_HAND}")
    white = small[background].mean(axis=0, dtype=np.float64)
    bone, metal = tissue_classes(white_balance(small, white), float(white.mean()), seen)
    # The blurred rim of black metal is darker than any bone and would set the first percentile.
    bone &= ~ndimage.binary_dilation(metal, iterations=3)
    core = ndimage.binary_erosion(bone)
    bone = core if core.sum() >= FEWEST_PX else bone
    if bone.sum() < FEWEST_PX:
        raise InputError(f"{source}: no tissue found on the slide; is it the right file? Else {_BY_HAND}")
    return _levels(small, background, bone)


def histology_levels_from_rois(
    rgb: NDArray[np.uint8], background: Sequence[int], bone: Sequence[int]
) -> HistologyLevels:
    """Take the levels from two boxes chosen by hand, each (row0, row1, column0, column1).

    Raises
    ------
    InputError
        If a box is empty or leaves the image, or the background is not the brighter one.
    """
    masks = []
    for box in (background, bone):
        mask = np.zeros(rgb.shape[:2], bool)
        mask[box_slices(box, rgb.shape, "histology ROI")] = True
        masks.append(mask)
    return _levels(rgb, masks[0], masks[1])


def normalise_histology(rgb: NDArray[np.uint8], levels: HistologyLevels | None = None) -> NDArray[np.uint8]:
    """White balance, then stretch all channels by the same two constants (paper section 2.5).

    The stretch is c · f + c′ with fmin to 0 and fmax to 255, clipped to [0, 255]. The paper says of the bounds
    "clamped to 10" and "clamped to 255"; we read it as their largest values. Taken as the value that the bone's first
    percentile is set to, 10 would subtract so much from all channels that blues and purples lose their red
    altogether, whereas the paper stretches "to preserve chromaticity".

    Parameters
    ----------
    rgb : ndarray of uint8, shape (Y, X, 3)
    levels : HistologyLevels, optional
        Found in the image itself if not given.

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)

    Raises
    ------
    InputError
        If levels must be found and there is no background or no tissue.
    """
    levels = levels or estimate_histology_levels(rgb)
    c = BRIGHT / (levels.fmax - levels.fmin)
    stretched = (white_balance(rgb, levels.white) - levels.fmin) * c
    return np.clip(np.rint(stretched), 0, 255).astype(np.uint8)


def _levels(rgb: NDArray[np.uint8], background: NDArray[np.bool_], bone: NDArray[np.bool_]) -> HistologyLevels:
    """Compute the paper's numbers from the two regions."""
    white = rgb[background].mean(axis=0, dtype=np.float64)
    if white.min() <= 0:
        raise InputError(f"histology ROI: the background's mean is {white.tolist()}; choose a bright place")
    balanced = white_balance(rgb, white)
    p1, p99 = float(np.percentile(balanced[bone], 1)), float(np.percentile(balanced[background], 99))
    if p99 <= p1:
        raise InputError(f"histology ROI: background ({p99:g}) is not brighter than bone ({p1:g}); choose other places")
    fmin, fmax = min(p1, DARK), min(p99, BRIGHT)
    red, green, blue = (float(value) for value in white)
    return HistologyLevels((red, green, blue), fmin, fmax)
