"""Local means and tapers for the spectra of parts of an image."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.evaluate.metrics.base import Mask

LOCAL_PX = 8.0

Float = NDArray[np.float64]


def smooth(values: Float) -> Float:
    """Return the Gaussian mean of an image with a standard deviation of 8 px; zero outside."""
    return np.asarray(ndimage.gaussian_filter(values, LOCAL_PX, mode="constant"))


def fade_to_border(region: Mask) -> Float:
    """Return weights that rise from 0 at the border of a region, and of the image, to 1 at a distance of 8 px.

    An abrupt border would add power along the axes of the spectrum.
    """
    return np.asarray(np.minimum(ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1] / LOCAL_PX, 1.0))


def local_residual(values: Float, region: Mask) -> Float:
    """Return an image minus its local mean over a region; zero outside the region."""
    inside = region.astype(np.float64)
    return np.asarray((values - smooth(values * inside) / coverage_of(region)) * inside)


def coverage_of(region: Mask) -> Float:
    """Return the local share of a region, above 0."""
    return np.asarray(np.maximum(smooth(region.astype(np.float64)), 1e-6))
