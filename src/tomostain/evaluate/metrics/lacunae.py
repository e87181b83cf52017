"""Invented lacunae: small dark spots in the generated image where the histology has none.

The model of the paper drew osteocyte lacunae into the degradation layer of Mg screws, where there are no cells
(section 3.4). Lacunae are detected as dark blobs of their size (scale-normalised Laplacian of Gaussian: Lindeberg 1998,
Int. J. Comput. Vis. 30, 79), in the real and in the generated image.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.feature import blob_log

from tomostain.deprecation import renamed
from tomostain.errors import InputError
from tomostain.evaluate.metrics.base import RGB, ImageSample, Mask, register_metric
from tomostain.integers import to_integers
from tomostain.phantom.tissue import Label

# Osteocyte lacunae are ellipsoids of about 5 by 15 µm.
DIAMETER_UM = (6.0, 16.0)
CONTRAST = 0.08
WITHIN_UM = 12.0
# The Laplacian also responds to edges, so nothing this close to the border of a region counts.
RIM_UM = 9.0
_BONE = (int(Label.BONE), int(Label.WOVEN), int(Label.LACUNA))
_SCALES = 4
_DIRECTIONS, _ALL_AROUND = 16, 0.8


def detect_lacunae(
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
    return centres if region is None else _within(centres, region)


def _within(centres: NDArray[np.float64], region: Mask) -> NDArray[np.float64]:
    """Return the centres that lie in a region."""
    row, column = to_integers(centres, np.int64, "lacunae: centres", rounded=False).T
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
        Centres (row, column), px: `detect_lacunae`.
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
    return len(fake) - count_matches(fake, real, pixel_um, within_um)


def count_matches(
    fake: NDArray[np.float64], real: NDArray[np.float64], pixel_um: float, within_um: float = WITHIN_UM
) -> int:
    """Match each spot with at most one of the other set, the nearest first, and return the number of matches.

    Parameters
    ----------
    fake, real : ndarray of float64, shape (N, 2), (M, 2)
        Centres (row, column), px.
    pixel_um : float
    within_um : float
        Maximum distance, µm.
    """
    if not len(fake) or not len(real):
        return 0
    near = cKDTree(real).query_ball_point(fake, within_um / pixel_um)
    pairs = sorted((float(np.hypot(*(fake[i] - real[j]))), i, j) for i, others in enumerate(near) for j in others)
    matched: set[int] = set()
    used: set[int] = set()
    for _, i, j in pairs:
        if i not in matched and j not in used:
            matched.add(i)
            used.add(j)
    return len(matched)


@dataclass(frozen=True)
class Detection:
    """How many of the spots in an image are true.

    Attributes
    ----------
    drawn, true, matched : int
        Number of spots in the image, of true spots, and of spots that match a true one.
    true_matched : int or None
        Number of true spots that match one in the image. None: as `matched`. At the border of a region it may differ,
        because a counterpart may lie outside.
    """

    drawn: int
    true: int
    matched: int
    true_matched: int | None = None

    @classmethod
    def of(cls, fake: NDArray[np.float64], real: NDArray[np.float64], pixel_um: float) -> "Detection":
        """Match the centres of two sets of spots (N, 2), px (`count_matches`).

        Examples
        --------
        >>> Detection.of(np.array([[5.0, 5.0], [50.0, 50.0]]), np.array([[6.0, 5.0]]), pixel_um=3.0).f1
        0.6666666666666666
        """
        return cls(len(fake), len(real), count_matches(fake, real, pixel_um))

    @classmethod
    def in_region(cls, fake: RGB, real: RGB, region: Mask, pixel_um: float) -> "Detection":
        """Detect the spots of two images in a region and match them; a counterpart may lie just outside of it.

        Parameters
        ----------
        fake, real : ndarray of uint8, shape (Y, X, 3)
        region : ndarray of bool, shape (Y, X)
        pixel_um : float
        """
        near = _with_surroundings(region, pixel_um)
        near_fake, near_real = (detect_lacunae(image, pixel_um, near) for image in (fake, real))
        drawn, true = _within(near_fake, region), _within(near_real, region)
        matched = count_matches(drawn, near_real, pixel_um), count_matches(true, near_fake, pixel_um)
        return cls(len(drawn), len(true), *matched)

    @property
    def invented(self) -> int:
        """Number of drawn spots that are not true."""
        return self.drawn - self.matched

    @property
    def precision(self) -> float:
        """Share of the drawn spots that are true; NaN if none is drawn."""
        return self.matched / self.drawn if self.drawn else float("nan")

    @property
    def recall(self) -> float:
        """Share of the true spots that are drawn; NaN if there is none."""
        matched = self.matched if self.true_matched is None else self.true_matched
        return matched / self.true if self.true else float("nan")

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 if none of several spots match, NaN if there is no spot at all."""
        if not self.drawn + self.true:
            return float("nan")
        if self.true_matched is None or self.true_matched == self.matched:
            return 2 * self.matched / (self.drawn + self.true)
        if not self.matched or not self.true_matched:
            return 0.0
        return 2 / (1 / self.precision + 1 / self.recall)


def lacuna_regions(labels: NDArray[np.integer], mask: Mask, pixel_um: float) -> dict[str, Mask]:
    """Return where lacunae are searched: degradation layer and bone with its lacunae, in the mask, without a rim.

    Parameters
    ----------
    labels : ndarray of int, shape (Y, X)
        Values of `tomostain.phantom.tissue.Label`.
    mask : ndarray of bool, shape (Y, X)
    pixel_um : float
    """
    regions = {"degradation layer": labels == int(Label.DEGRADATION), "bone": np.isin(labels, _BONE)}
    return {name: _without_rim(region & mask, pixel_um) for name, region in regions.items()}


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


@register_metric("lacunae_precision", label="lacunae precision", larger_is_better=True, scope="image")
def lacunae_precision(sample: ImageSample) -> float:
    """Share of the lacunae drawn in bone that the real image has, too (needs ``labels.tif``)."""
    return _detection(sample).precision


@register_metric("lacunae_recall", label="lacunae recall", larger_is_better=True, scope="image")
def lacunae_recall(sample: ImageSample) -> float:
    """Share of the lacunae of the real image in bone that are drawn (needs ``labels.tif``)."""
    return _detection(sample).recall


@register_metric("lacunae_f1", label="lacunae F1", larger_is_better=True, scope="image")
def lacunae_f1(sample: ImageSample) -> float:
    """Harmonic mean of the precision and the recall of lacunae in bone (needs ``labels.tif``)."""
    return _detection(sample).f1


# The three metrics get one sample after another; samples are compared by identity.
@lru_cache(maxsize=1)
def _detection(sample: ImageSample) -> Detection:
    """Match the lacunae in bone with those of the real image.

    The labels only say where bone is. They are those of one plane, but a section is tens of micrometres thick and shows
    all lacunae in its thickness.
    """
    bone = lacuna_regions(sample.require_labels("lacunae_f1"), sample.mask, sample.pixel_um)["bone"]
    return Detection.in_region(sample.stained, sample.real, bone, sample.pixel_um)


def _with_surroundings(region: Mask, pixel_um: float) -> Mask:
    """Return a region with its surroundings: the counterpart of a spot at its border may lie outside it."""
    if not region.any():
        return region
    return np.asarray(ndimage.distance_transform_edt(~region) * pixel_um <= WITHIN_UM)


def _without_rim(region: Mask, pixel_um: float) -> Mask:
    return np.asarray(ndimage.binary_erosion(region, iterations=max(1, round(RIM_UM / pixel_um))))


def _invented_per_mm2(sample: ImageSample, region: NDArray[np.bool_]) -> float:
    region = _without_rim(region, sample.pixel_um)
    stained = detect_lacunae(sample.stained, sample.pixel_um, region)
    real = detect_lacunae(sample.real, sample.pixel_um, _with_surroundings(region, sample.pixel_um))
    if not region.any():
        return float("nan")
    return invented(stained, real, sample.pixel_um) / (float(region.sum()) * (sample.pixel_um / 1000) ** 2)


__getattr__ = renamed(__name__, {"find_lacunae": "detect_lacunae"})
