"""Optical density of stained images, and its separation into the amounts of two stains.

The optical density of a stained section is the sum over its stains of amount times colour (Beer-Lambert law). With
known colours, the amounts follow by a linear map (colour deconvolution; Ruifrok and Johnston 2001, Anal. Quant. Cytol.
Histol. 23, 291). Unknown colours are estimated from the image (Macenko et al. 2009, doi:10.1109/ISBI.2009.5193250).

`skimage.color.separate_stains` does the linear map too. It has no white level, clips negative amounts and needs 64-bit
colours of the whole image, so it is used as the reference of the tests only. Its vectors of haematoxylin and eosin,
those of Ruifrok and Johnston, are used here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb_from_hed

from tomostain.errors import InputError

RGB = NDArray[np.uint8]
Float = NDArray[np.float64]

# Densities below are background; the percentiles of the angles between the two colours.
_MIN_DENSITY, _PERCENTILE = 0.15, 1.0
_MIN_PIXELS = 100
# Grey values below are taken as this, so that black has a finite density.
_DARKEST = 1.0
# Vectors at a smaller angle do not separate two stains.
_MIN_ANGLE_DEG = 2.0


@dataclass(frozen=True, eq=False)
class StainVectors:
    """The colours of two stains.

    Attributes
    ----------
    density : ndarray of float64, shape (2, 3)
        Optical density of red, green and blue for one unit of each stain, unit length. The first stain is the bluer
        one: of the two, it absorbs more red light relative to blue light.
    """

    density: Float

    def __post_init__(self) -> None:
        density = np.asarray(self.density, np.float64)
        if density.shape != (2, 3) or not np.isfinite(density).all() or not (np.abs(density).sum(axis=1) > 0).all():
            raise InputError(f"stain vectors: {np.asarray(self.density).tolist()}; give two vectors of three numbers")
        object.__setattr__(self, "density", density)

    @classmethod
    def of(cls, first: tuple[float, float, float], second: tuple[float, float, float]) -> "StainVectors":
        """Return vectors of unit length.

        Parameters
        ----------
        first, second : tuple of float
            Optical density of red, green and blue, of any length.

        Examples
        --------
        >>> StainVectors.of((0.0, 3.0, 4.0), (2.0, 0.0, 0.0)).density.tolist()
        [[0.0, 0.6, 0.8], [1.0, 0.0, 0.0]]
        """
        density = np.array([first, second], np.float64)
        return cls(density / np.maximum(np.linalg.norm(density, axis=1, keepdims=True), 1e-12))

    @classmethod
    def estimate(cls, density: Float) -> "StainVectors":
        """Estimate the colours from densities of tissue (Macenko et al. 2009).

        Parameters
        ----------
        density : ndarray of float64, shape (N, 3)
            Optical densities (`optical_density`), without implant. Background is ignored.

        Raises
        ------
        InputError
            If fewer than 100 pixels are tissue.
        """
        tissue = density[density.sum(axis=1) > _MIN_DENSITY]
        if len(tissue) < _MIN_PIXELS:
            raise InputError(f"stain colours: {len(tissue)} px of tissue; at least {_MIN_PIXELS} are needed")
        _, vectors = np.linalg.eigh(tissue.T @ tissue)
        plane = vectors[:, :0:-1] * np.sign(vectors[:, :0:-1].sum(axis=0) + 1e-12)
        angle = np.arctan2(*(tissue @ plane).T[::-1])
        ends = np.percentile(angle, (_PERCENTILE, 100 - _PERCENTILE))
        colours = np.stack([plane @ (np.cos(end), np.sin(end)) for end in ends])
        colours = np.maximum(colours, 0.0)
        colours /= np.linalg.norm(colours, axis=1, keepdims=True)
        return cls(colours[np.argsort(colours[:, 2] - colours[:, 0])])

    def amounts(self, density: Float) -> Float:
        """Return the amounts of both stains, not below 0, for densities (..., 3); shape (..., 2)."""
        return np.asarray(np.maximum(density @ np.linalg.pinv(self.density), 0.0))

    @property
    def angle_deg(self) -> float:
        """Angle between the two vectors, degrees."""
        first, second = self.density / np.linalg.norm(self.density, axis=1, keepdims=True)
        return float(np.degrees(np.arccos(np.clip(first @ second, -1.0, 1.0))))

    @property
    def separation(self) -> Float:
        """Linear map from densities to the amounts of both stains and a residual, shape (3, 3).

        The residual is the density along the direction that is perpendicular to both vectors: what neither stain
        explains, such as black metal.

        Raises
        ------
        InputError
            If the two vectors are parallel.
        """
        if self.angle_deg < _MIN_ANGLE_DEG:
            raise InputError(
                f"stain vectors: the angle between them is {self.angle_deg:.1f}°; give two different stains"
            )
        residual = np.cross(self.density[0], self.density[1])
        return np.linalg.inv(np.vstack([self.density, residual / np.linalg.norm(residual)]))

    def separate(self, density: Float) -> Float:
        """Return the amounts of both stains and the residual for densities (..., 3), not clipped; shape (..., 3)."""
        return np.asarray(density @ self.separation)


TOLUIDINE_BLUE_PYRONIN = StainVectors.of((0.85, 0.51, 0.10), (0.32, 0.89, 0.33))
"""Toluidine blue, and pyronin (red): bone-implant sections as in Sarve et al. 2007."""
HAEMATOXYLIN_EOSIN = StainVectors.of(tuple(rgb_from_hed[0]), tuple(rgb_from_hed[1]))
"""Haematoxylin and eosin: the vectors of Ruifrok and Johnston 2001, from scikit-image."""
STAIN_VECTORS: Mapping[str, StainVectors] = {
    "toluidine-blue": TOLUIDINE_BLUE_PYRONIN,
    "h&e": HAEMATOXYLIN_EOSIN,
}
"""Vectors by the name of the stain, as models and datasets state it."""


def optical_density(rgb: RGB, white: NDArray[np.number]) -> Float:
    """Return the optical density -ln(I / I_0), not below 0.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (..., 3)
    white : ndarray, shape (3,)
        The colour of the empty slide, I_0.

    Examples
    --------
    >>> optical_density(np.array([[255, 94, 35]], np.uint8), np.full(3, 255)).round(2).tolist()
    [[0.0, 1.0, 1.99]]
    """
    reference = np.maximum(np.asarray(white, np.float64), _DARKEST)
    return np.asarray(np.maximum(-np.log(np.maximum(rgb.astype(np.float64), _DARKEST) / reference), 0.0))


def transmitted(density: NDArray[np.floating], white: NDArray[np.number]) -> RGB:
    """Return the colour of densities: the inverse of `optical_density`, rounded.

    Examples
    --------
    >>> transmitted(np.array([0.0, 1.0, 2.0]), np.full(3, 255)).tolist()
    [255, 94, 35]
    """
    return np.asarray(np.clip(np.rint(np.exp(-density) * np.asarray(white, np.float64)), 0, 255), np.uint8)
