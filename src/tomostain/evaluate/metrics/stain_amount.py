"""The amount of stain, tile by tile: does the stained image have much stain where the real image has?

The optical density of a stained section is the sum over its stains of amount times colour (Beer-Lambert law). The
colours of two stains are estimated from the real images (Macenko et al. 2009, doi:10.1109/ISBI.2009.5193250), and the
density is separated into the two amounts (Ruifrok and Johnston 2001, Anal. Quant. Cytol. Histol. 23, 291). The Pearson
correlation of the mean amounts over tiles forgives the texture within a tile and is sensitive to wrong tissue.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.evaluate.metrics.base import RGB, ImageSample, Mask, register_metric
from tomostain.evaluate.metrics.implant import implant_region
from tomostain.evaluate.metrics.patch import background_colour, patch_grid

TILE_PX = 16
# Tiles with less of the region than this are left out; fewer tiles than this give no value.
_MIN_SHARE, _MIN_TILES = 0.5, 8
# Densities: below is background; the percentiles of the angles between the two colours.
_MIN_DENSITY, _PERCENTILE = 0.15, 1.0
_MIN_PIXELS = 100
# Grey values below are taken as this, so that black has a finite density.
_DARKEST = 1.0

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class StainColours:
    """The colours of two stains.

    Attributes
    ----------
    density : ndarray of float64, shape (2, 3)
        Optical density of red, green and blue for one unit of each stain, unit length. The first stain is the bluer
        one: of the two, it absorbs more red light relative to blue light.
    """

    density: Float

    @classmethod
    def estimate(cls, density: Float) -> "StainColours":
        """Estimate the colours from densities of tissue.

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


def tile_correlation(stained: Float, real: Float, region: Mask, tile_px: int = TILE_PX) -> float:
    """Return the Pearson correlation over tiles of the means of two images in a region.

    Parameters
    ----------
    stained, real : ndarray of float64, shape (Y, X)
    region : ndarray of bool, shape (Y, X)
        Tiles count if half of their pixels are in the region.
    tile_px : int
        Side of a tile, px.

    Returns
    -------
    float
        -1 to 1. NaN if there are fewer than 8 tiles, or the means of an image do not vary.
    """
    means = []
    for tile in patch_grid((region.shape[0], region.shape[1]), tile_px):
        inside = region[tile.slices]
        if inside.mean() >= _MIN_SHARE:
            means.append([float(image[tile.slices][inside].mean()) for image in (stained, real)])
    if len(means) < _MIN_TILES:
        return float("nan")
    a, b = (column - column.mean() for column in np.asarray(means).T)
    size = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / size) if size > 1e-9 else float("nan")


def learn_stain_colours(samples: Iterable[ImageSample]) -> Callable[[ImageSample], dict[str, float]]:
    """Return the metric "stain_correlation" with the colours of the stains of training samples."""
    densities = [_tissue_density(sample) for sample in samples]
    if not densities:
        raise InputError("metric 'stain_correlation': the dataset has no training pairs", parameter="metrics")
    colours = StainColours.estimate(np.concatenate(densities))
    return lambda sample: _correlations(sample, colours)


@register_metric(
    "stain_correlation", label="stain correlation", larger_is_better=True, scope="image", fit=learn_stain_colours
)
def stain_correlation(sample: ImageSample) -> dict[str, float]:
    """Correlation over tiles of 16 px of the amounts of two stains with those of the real image, without implant."""
    return learn_stain_colours([sample])(sample)


def _region(sample: ImageSample) -> Mask:
    return np.asarray(sample.mask.astype(bool) & ~implant_region(sample.real))


def _tissue_density(sample: ImageSample) -> Float:
    white = background_colour(sample.real, sample.mask)
    return optical_density(sample.real[_region(sample)], white)


def _correlations(sample: ImageSample, colours: StainColours) -> dict[str, float]:
    white, region = background_colour(sample.real, sample.mask), _region(sample)
    stained, real = (colours.amounts(optical_density(image, white)) for image in (sample.stained, sample.real))
    return {name: tile_correlation(stained[..., i], real[..., i], region) for i, name in enumerate(("blue", "red"))}
