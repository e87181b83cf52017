"""Colour and tissue, where the truth is known: ΔE2000 and Dice of each tissue class.

"The new bone is blue" becomes a number: how far the generated colour is from the real one within each tissue class of
the phantom's truth (CIEDE2000: Sharma et al. 2005, Color Res. Appl. 30, 21, doi:10.1002/col.20070; about 2 is just
seen), and whether a reader who knows the stain would tell the same tissue from it (Dice of the classes by colour).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.color import deltaE_ciede2000, rgb2lab

from tomostain.errors import InputError

RGB = NDArray[np.uint8]
Labels = NDArray[np.integer]
Float = NDArray[np.float64]
# Classes of fewer pixels have no colour of their own.
MIN_REGION_PX = 50
# Added to the covariance, in Lab²: no class is of one single colour.
_SPREAD = 4.0


def colour_error(fake: RGB, real: RGB, labels: Labels, names: Mapping[int, str]) -> dict[str, float]:
    """Return the median ΔE2000 within each class.

    Parameters
    ----------
    fake, real : ndarray of uint8, shape (Y, X, 3)
        sRGB.
    labels : ndarray of int, shape (Y, X)
        The class of each pixel.
    names : mapping of int to str
        Which classes to report.

    Returns
    -------
    dict of str to float
        NaN for a class that is not in the image.

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
    """What each tissue class looks like: a normal distribution in CIELAB.

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
        seen = {label: np.concatenate(parts) for label, parts in pixels.items() if parts}
        seen = {label: values for label, values in seen.items() if len(values) >= MIN_REGION_PX}
        if len(seen) < 2:
            raise InputError(f"colour classes: {len(seen)} of {len(classes)} classes have {MIN_REGION_PX} px or more")
        covariance = np.stack([np.cov(values.T) + _SPREAD * np.eye(3) for values in seen.values()])
        constant = -0.5 * np.linalg.slogdet(covariance)[1]
        mean = np.stack([values.mean(axis=0) for values in seen.values()])
        return cls(tuple(seen), mean, np.asarray(np.linalg.inv(covariance), np.float64), constant)

    def classify(self, rgb: RGB) -> NDArray[np.int64]:
        """Return the likeliest class of each pixel by its colour alone, all classes as likely; shape (Y, X)."""
        lab = rgb2lab(rgb).reshape(-1, 3)
        score = np.empty((len(self.labels), len(lab)))
        for i, (mean, precision) in enumerate(zip(self.mean, self.precision, strict=True)):
            apart = lab - mean
            score[i] = self.constant[i] - 0.5 * ((apart @ precision) * apart).sum(axis=1)
        return np.asarray(self.labels)[score.argmax(axis=0)].reshape(rgb.shape[:2])

    def dice(self, fake: RGB, labels: Labels, names: Mapping[int, str]) -> dict[str, float]:
        """Return the Dice coefficient of each class, by colour in `fake` against the truth.

        Only pixels whose true class was learned count. The real image's own Dice is the most that can be hoped for.

        Parameters
        ----------
        fake : ndarray of uint8, shape (Y, X, 3)
        labels : ndarray of int, shape (Y, X)
        names : mapping of int to str
            Which classes to report.

        Returns
        -------
        dict of str to float
            0 to 1; NaN for a class that is in neither.

        Raises
        ------
        InputError
            If the shapes differ.
        """
        _require_shapes(fake, fake, labels)
        known = np.isin(labels, self.labels)
        found, right = self.classify(fake)[known], labels[known]
        result = {}
        for label, name in names.items():
            a, b = found == label, right == label
            total = a.sum() + b.sum()
            result[name] = float(2 * (a & b).sum() / total) if total and label in self.labels else float("nan")
        return result


def _require_shapes(a: RGB, b: RGB, labels: Labels) -> None:
    """Raise unless two RGB images and the labels are of one shape."""
    if a.shape != b.shape or a.ndim != 3 or a.shape[:2] != labels.shape:
        raise InputError(f"colour: images of shapes {a.shape} and {b.shape}, labels {labels.shape}; give one shape")
