"""Colour and tissue: ΔE2000 between stained and real image, and the Dice coefficient of tissue classes by colour.

ΔE2000 is the perceived difference of two colours; about 2 is just visible (CIEDE2000: Sharma et al. 2005, Color Res.
Appl. 30, 21, doi:10.1002/col.20070). Where the tissue of each pixel is known, as on phantoms, it is reported by class.
The Dice coefficient measures whether the same tissue would be read from the colours.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.color import deltaE_ciede2000, rgb2lab

from tomostain.errors import InputError
from tomostain.evaluate.metrics.base import RGB, ImageSample, register_metric
from tomostain.phantom.tissue import Label

Labels = NDArray[np.integer]
Float = NDArray[np.float64]
# Classes with fewer pixels are ignored.
MIN_REGION_PX = 50
# Added to the covariance, in Lab²: no class has exactly one colour.
_SPREAD = 4.0
# Tissues that differ in colour.
TISSUES = {
    int(label): label.name.lower().replace("woven", "new bone")
    for label in (Label.SOFT, Label.MARROW, Label.ADIPOCYTE, Label.BONE, Label.WOVEN, Label.DEGRADATION, Label.SCREW)
}


def colour_error(fake: RGB, real: RGB, labels: Labels, names: Mapping[int, str]) -> dict[str, float]:
    """Return the median ΔE2000 within each class.

    Parameters
    ----------
    fake, real : ndarray of uint8, shape (Y, X, 3)
        sRGB.
    labels : ndarray of int, shape (Y, X)
        The class of each pixel.
    names : mapping of int to str
        Classes to report.

    Returns
    -------
    dict of str to float
        NaN for a class that does not occur in the image.

    Raises
    ------
    InputError
        If the shapes differ.

    Examples
    --------
    >>> red = np.full((2, 2, 3), (255, 0, 0), np.uint8)
    >>> colour_error(red, red, np.ones((2, 2), int), {1: "bone", 2: "marrow"})
    {'bone': 0.0, 'marrow': nan}
    """
    _require_shapes(fake, real, labels)
    difference = deltaE_ciede2000(rgb2lab(fake), rgb2lab(real))
    return {
        name: float(np.median(difference[labels == label])) if (labels == label).any() else float("nan")
        for label, name in names.items()
    }


@dataclass(frozen=True, eq=False)
class ColourClasses:
    """The colours of each tissue class: a normal distribution in CIELAB.

    Attributes
    ----------
    labels : tuple of int
    mean : ndarray of float64, shape (K, 3)
        L*, a*, b*.
    precision : ndarray of float64, shape (K, 3, 3)
        Inverse covariance.
    constant : ndarray of float64, shape (K,)
        Logarithm of the density's factor.
    """

    labels: tuple[int, ...]
    mean: Float
    precision: Float
    constant: Float

    @classmethod
    def learn(cls, reals: Sequence[RGB], labels: Sequence[Labels], classes: Sequence[int]) -> "ColourClasses":
        """Learn the classes' colours from real images whose labels are known.

        Raises
        ------
        InputError
            If the shapes differ, or fewer than two classes have 50 px or more.
        """
        pixels: dict[int, list[Float]] = {label: [] for label in classes}
        for real, label_image in zip(reals, labels, strict=True):
            _require_shapes(real, real, label_image)
            lab = rgb2lab(real)
            for label in classes:
                pixels[label].append(lab[label_image == label])
        samples = {label: np.concatenate(parts) for label, parts in pixels.items() if parts}
        samples = {label: values for label, values in samples.items() if len(values) >= MIN_REGION_PX}
        if len(samples) < 2:
            raise InputError(
                f"colour classes: {len(samples)} of {len(classes)} classes have {MIN_REGION_PX} px or more"
            )
        covariance = np.stack([np.cov(values.T) + _SPREAD * np.eye(3) for values in samples.values()])
        constant = -0.5 * np.linalg.slogdet(covariance)[1]
        mean = np.stack([values.mean(axis=0) for values in samples.values()])
        return cls(tuple(samples), mean, np.asarray(np.linalg.inv(covariance), np.float64), constant)

    def classify(self, rgb: RGB) -> NDArray[np.int64]:
        """Return the most likely class of each pixel by its colour, with equal priors; shape (Y, X)."""
        lab = rgb2lab(rgb).reshape(-1, 3)
        score = np.empty((len(self.labels), len(lab)))
        for i, (mean, precision) in enumerate(zip(self.mean, self.precision, strict=True)):
            apart = lab - mean
            score[i] = self.constant[i] - 0.5 * ((apart @ precision) * apart).sum(axis=1)
        return np.asarray(self.labels)[score.argmax(axis=0)].reshape(rgb.shape[:2])

    def dice(self, fake: RGB, labels: Labels, names: Mapping[int, str]) -> dict[str, float]:
        """Return the Dice coefficient of each class, by colour in `fake` against the truth.

        Only pixels whose true class was learned count. The Dice of the real image is an upper bound.

        Parameters
        ----------
        fake : ndarray of uint8, shape (Y, X, 3)
        labels : ndarray of int, shape (Y, X)
        names : mapping of int to str
            Classes to report.

        Returns
        -------
        dict of str to float
            0 to 1; NaN for a class that occurs in neither.

        Raises
        ------
        InputError
            If the shapes differ.
        """
        _require_shapes(fake, fake, labels)
        classified = np.isin(labels, self.labels)
        predicted, true = self.classify(fake)[classified], labels[classified]
        result = {}
        for label, name in names.items():
            a, b = predicted == label, true == label
            total = a.sum() + b.sum()
            result[name] = float(2 * (a & b).sum() / total) if total and label in self.labels else float("nan")
        return result


@register_metric("delta_e", label="ΔE2000", larger_is_better=False, digits=1, scope="image")
def delta_e(sample: ImageSample) -> float:
    """Median colour difference ΔE2000 inside the mask."""
    return colour_error(sample.stained, sample.real, sample.mask.astype(np.int64), {1: "mask"})["mask"]


@register_metric("tissue_delta_e", label="ΔE2000 by tissue", larger_is_better=False, digits=1, scope="image")
def tissue_delta_e(sample: ImageSample) -> dict[str, float]:
    """Median colour difference ΔE2000 of each tissue, and their mean (needs ``labels.tif``)."""
    return colour_error(sample.stained, sample.real, sample.require_labels("tissue_delta_e"), TISSUES)


def learn_tissue_colours(samples: Iterable[ImageSample]) -> Callable[[ImageSample], dict[str, float]]:
    """Return the metric "tissue_dice" with the tissue colours of training samples."""
    pixels = [(sample.real, sample.require_labels("tissue_dice")) for sample in samples]
    colours = ColourClasses.learn([real for real, _ in pixels], [labels for _, labels in pixels], list(TISSUES))
    return lambda sample: colours.dice(sample.stained, sample.require_labels("tissue_dice"), TISSUES)


@register_metric("tissue_dice", label="tissue Dice", larger_is_better=True, scope="image", fit=learn_tissue_colours)
def tissue_dice(sample: ImageSample) -> dict[str, float]:
    """Dice coefficient of each tissue by its colour, and their mean (needs ``labels.tif``)."""
    return learn_tissue_colours([sample])(sample)


def _require_shapes(a: RGB, b: RGB, labels: Labels) -> None:
    """Raise unless two RGB images and the labels are of one shape."""
    if a.shape != b.shape or a.ndim != 3 or a.shape[:2] != labels.shape:
        raise InputError(f"colour: images of shapes {a.shape} and {b.shape}, labels {labels.shape}; give one shape")
