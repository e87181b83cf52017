"""Texture and content of each place of a slice: the features of the novelty.

Content is where grey values lie: means in windows, and the share of classes of grey values. Texture is how they vary:
energy, typical size and asymmetry of band-pass images, gradients and their orientation. The finest band lies between
Gaussian windows of 1 and 2 px. Finer noise depends on the interpolation of the training pairs, so it is left out.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.imaging.gaussian import gaussian_samples
from tomostain.imaging.network_range import CT_BACKGROUND, CT_BONE
from tomostain.io.parallel import in_parallel
from tomostain.ood.grey_limits import GREY_LIMITS

Float32 = NDArray[np.float32]
# Neighbourhoods overlap, so every fourth pixel along each axis is enough.
STEP_PX = 4
# Standard deviations of the windows in which texture is averaged, px; the second for the widest band.
POOL_PX, WIDE_POOL_PX = 6.0, 24.0
# Limits of the classes of grey values, and the width of the transition between them, as fractions of the step from
# background to bone.
CLASS_LIMITS, TRANSITION = (-0.15, 0.05, 0.25, 0.5, 0.75, 0.95, 1.15), 0.15
_CLASSES = len(CLASS_LIMITS) + 1
# Squares below these are rounding, not texture.
ENERGY_FLOOR, GRADIENT_FLOOR, AMPLITUDE_FLOOR = 1e-4, 1e-5, 3e-3
CONTENT = 3 + _CLASSES
TEXTURE = 16
TRUNCATE = 3.0


def describe(ct: NDArray[Any], limits: tuple[float, float] = GREY_LIMITS) -> tuple[Float32, Float32]:
    """Describe the neighbourhood of every fourth pixel.

    Parameters
    ----------
    ct : ndarray, shape (Y, X)
        Normalised µCT: background 10000, bone 30000.
    limits : (float, float)
        Lowest and highest grey value that is distinguished.

    Returns
    -------
    content : ndarray of float32, shape (ceil(Y / 4), ceil(X / 4), 11)
        The mean in Gaussian windows of 2, 8 and 16 px, as a fraction of the step from background to bone, and the
        square root of the share of eight classes of grey values.
    texture : ndarray of float32, shape (ceil(Y / 4), ceil(X / 4), 16)
        Of the bands between windows of 1, 2, 4 and 8 px: logarithm of the root mean square, mean logarithm of the
        amplitude, and skewness. The first of these of the band from 8 to 16 px. In windows of 1, 2 and 4 px: the
        logarithm of the gradient, and its coherence (0: all directions, 1: one direction).
    """
    clipped = np.clip(ct.astype(np.float32), *limits)
    grey = (clipped - np.float32(CT_BACKGROUND)) / np.float32(CT_BONE - CT_BACKGROUND)
    fine = _blur(grey, 1.0)
    two = _blur(fine, np.sqrt(3.0))
    half_two = two[::2, ::2]
    half_four = _blur(half_two, np.sqrt(3.0))
    four = half_four[::2, ::2]
    eight = _blur(four, np.sqrt(3.0))
    sixteen = _blur(eight, np.sqrt(12.0))
    parts: list[Callable[[], list[Float32]]] = [
        lambda: _class_shares(half_two),
        lambda: _band(fine - two, 4),
        lambda: _band(half_two - half_four, 2),
        lambda: _band(four - eight, 1),
        lambda: [_log_size(_pool(np.square(eight - sixteen), 1, pool_px=WIDE_POOL_PX), ENERGY_FLOOR)],
        lambda: _gradient(fine, 4),
        lambda: _gradient(half_two, 2),
        lambda: _gradient(four, 1),
    ]
    classes, *texture = in_parallel(lambda part: part(), parts)
    content = [two[::STEP_PX, ::STEP_PX], eight, sixteen, *classes]
    return _stack(content), _stack([feature for features in texture for feature in features])


def _stack(features: list[Float32]) -> Float32:
    return np.stack(features, axis=-1).astype(np.float32, copy=False)


def _blur(image: Float32, sigma: float, step: int = 1) -> Float32:
    """Return every `step`-th pixel of an image after a Gaussian filter."""
    return gaussian_samples(image, sigma, step, TRUNCATE)


def _pool(image: Float32, step: int, pool_px: float = POOL_PX) -> Float32:
    """Average in a Gaussian window, and sample at every fourth pixel of the slice.

    Parameters
    ----------
    image : ndarray
        Sampled at every `STEP_PX / step` pixels of the slice.
    step : {1, 2, 4}
        Step from there to the grid of features.
    pool_px : float
        Standard deviation of the window, pixels of the slice.
    """
    # Half a step of the coarse grid first, so that little is lost when sampling; the rest is inexpensive there.
    first_px = 0.0 if step == 1 else 2.0
    if first_px:
        image = _blur(image, first_px * step / STEP_PX, step)
    return _blur(image, float(np.sqrt(pool_px**2 - first_px**2)) / STEP_PX)


def _log_size(mean_square: Float32, floor: float) -> Float32:
    return np.asarray(0.5 * np.log(np.maximum(mean_square, 0.0) + floor), dtype=np.float32)


def band_pool_px(step: int) -> float:
    """Return the window for a band-pass image, px: coarser bands vary more slowly and need a wider window."""
    return max(POOL_PX, 12.0 / step)


def _band(band: Float32, step: int) -> list[Float32]:
    """Return mean log amplitude, log root mean square and skewness of a band-pass image."""
    pool_px = band_pool_px(step)
    square = _pool(band * band, step, pool_px)
    cube = _pool(band * band * band, step, pool_px)
    amplitude = _pool(np.log(np.abs(band) + AMPLITUDE_FLOOR), step, pool_px)
    skewness = np.cbrt(cube) / np.sqrt(np.maximum(square, 0.0) + ENERGY_FLOOR)
    return [amplitude, _log_size(square, ENERGY_FLOOR), skewness.astype(np.float32)]


def _gradient(image: Float32, step: int) -> list[Float32]:
    """Return the logarithm of the gradient and its coherence, from the structure tensor."""
    rows, columns = (ndimage.sobel(image, axis) / 8 for axis in (0, 1))
    rr, cc, rc = (_pool(product, step) for product in (rows * rows, columns * columns, rows * columns))
    trace = np.maximum(rr + cc, 0.0)
    coherence = np.sqrt((rr - cc) ** 2 + 4 * rc**2) / (trace + ENERGY_FLOOR)
    return [_log_size(trace, GRADIENT_FLOOR), coherence.astype(np.float32)]


def _class_shares(image: Float32) -> list[Float32]:
    """Return the square root of the share of each class of grey values, with soft transitions between the classes."""
    above = [np.ones_like(image)]
    for limit in CLASS_LIMITS:
        above.append(1 / (1 + np.exp(-np.clip((image - limit) * (4 / TRANSITION), -30, 30))))
    above.append(np.zeros_like(image))
    return in_parallel(lambda limits: np.sqrt(np.maximum(_pool(limits[0] - limits[1], 2), 0.0)), pairwise(above))
