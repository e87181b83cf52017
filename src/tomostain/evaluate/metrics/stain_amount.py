"""The amount of stain, tile by tile: its correlation between the stained and the real image.

The optical density of a stained section is the sum over its stains of amount times colour (Beer-Lambert law). The
colours of two stains are estimated from the real images (Macenko et al. 2009, doi:10.1109/ISBI.2009.5193250), and the
density is separated into the two amounts (Ruifrok and Johnston 2001, Anal. Quant. Cytol. Histol. 23, 291). The Pearson
correlation of the mean amounts over tiles forgives the texture within a tile and is sensitive to wrong tissue.
"""

from collections.abc import Callable, Iterable

import numpy as np

from tomostain.deprecation import renamed
from tomostain.errors import InputError
from tomostain.evaluate.metrics.base import ImageSample, Mask, register_metric
from tomostain.evaluate.metrics.implant import implant_region
from tomostain.evaluate.metrics.patch import background_colour, patch_grid
from tomostain.measure.tissue.stain_vectors import Float, StainVectors, optical_density

TILE_PX = 16
# Tiles with less of the region than this are left out; fewer tiles than this give no value.
_MIN_SHARE, _MIN_TILES = 0.5, 8


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
    colours = StainVectors.estimate(np.concatenate(densities))
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


def _correlations(sample: ImageSample, colours: StainVectors) -> dict[str, float]:
    white, region = background_colour(sample.real, sample.mask), _region(sample)
    stained, real = (colours.amounts(optical_density(image, white)) for image in (sample.stained, sample.real))
    return {name: tile_correlation(stained[..., i], real[..., i], region) for i, name in enumerate(("blue", "red"))}


__getattr__ = renamed(__name__, {"StainColours": "tomostain.measure.tissue.stain_vectors:StainVectors"})
