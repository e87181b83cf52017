"""Spatial resolution by Fourier ring correlation (FRC) of two images of the same object, or of a single image.

Two images of the same object agree at low spatial frequencies and differ at high ones, by their noise. The resolution
is the period at which their correlation on rings in Fourier space falls below 1/7 (Nieuwenhuizen et al. 2013, Nat.
Methods 10, 557, doi:10.1038/nmeth.2448). A single image of counts is split into two: each count goes to one of them at
random, which gives two independent Poisson images (Rieger et al. 2024, Opt. Express 32, 21767, doi:10.1364/OE.524683).
"""

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.evaluate.metrics.base import ImageSample, register_metric
from tomostain.integers import to_integers

THRESHOLD = 1 / 7
# Grey value that counts as one when a stained image is split; the same for all images, so that they are comparable.
GREY_PER_COUNT = 4.0
MIN_SIDE_PX = 32
_TAPER = 0.25
# Fraction of the rings whose correlations are averaged before the crossing is located.
_SMOOTH = 0.03
# Larger counts make the splitting slow and no better.
_MAX_COUNTS = 1e9

Float = NDArray[np.float64]


def fourier_ring_correlation(a: NDArray[np.generic], b: NDArray[np.generic]) -> tuple[Float, Float]:
    """Correlate two images ring by ring.

    Parameters
    ----------
    a, b : ndarray, shape (Y, X)
        Grey values of the same object on the same grid. The longer sides are cropped to a central square.

    Returns
    -------
    frequency : ndarray of float64, shape (N,)
        Of each ring, cycles per pixel, up to 0.5.
    correlation : ndarray of float64, shape (N,)
        -1 to 1; 0 where a ring has no power.

    Raises
    ------
    InputError
        If the shapes differ, an image is smaller than 32 px or not finite.

    References
    ----------
    Nieuwenhuizen et al. 2013, Nat. Methods 10, 557, equation 1.

    Examples
    --------
    >>> image = np.random.default_rng(0).normal(size=(64, 64))
    >>> frequency, correlation = fourier_ring_correlation(image, image)
    >>> float(correlation.min().round(6)), float(frequency[-1])
    (1.0, 0.5)
    """
    if a.shape != b.shape or a.ndim != 2:
        raise InputError(f"FRC: images of shapes {a.shape} and {b.shape}; give two grey images of one shape")
    if min(a.shape) < MIN_SIDE_PX:
        raise InputError(f"FRC: image of {a.shape[0]} × {a.shape[1]} px; both sides must be {MIN_SIDE_PX} px or more")
    spectra = [np.fft.fft2(_tapered(image)) for image in (a, b)]
    side = len(spectra[0])
    axis = np.fft.fftfreq(side) * side
    ring = to_integers(np.hypot(axis[:, None], axis[None]), np.int64, "frequencies")
    inside = ring <= side // 2
    length = side // 2 + 1
    cross = np.bincount(ring[inside], (spectra[0] * spectra[1].conj()).real[inside], length)
    power = [np.bincount(ring[inside], np.abs(s[inside]) ** 2, length) for s in spectra]
    size = np.sqrt(power[0] * power[1])
    correlation = np.divide(cross, size, out=np.zeros(length), where=size > 0)
    return np.arange(length) / side, correlation


def resolution_um(
    a: NDArray[np.generic], b: NDArray[np.generic], pixel_um: float, threshold: float = THRESHOLD
) -> float:
    """Return the period up to which two images agree, µm.

    Parameters
    ----------
    a, b : ndarray, shape (Y, X)
        Grey values of the same object on the same grid.
    pixel_um : float
        Pixel size, µm.
    threshold : float
        Of the correlation.

    Returns
    -------
    float
        At least two pixels (Nyquist); infinite where not even the lowest frequencies agree.

    Raises
    ------
    InputError
        See `fourier_ring_correlation`.
    """
    frequency, correlation = fourier_ring_correlation(a, b)
    # Ring 0, the mean, is not informative. Neighbours are averaged, since a ring of few pixels is noisy.
    frequency, correlation = frequency[1:], correlation[1:]
    reach = max(1, round(_SMOOTH * len(frequency)))
    kernel = np.ones(2 * reach + 1)
    smooth = np.convolve(correlation, kernel, "same") / np.convolve(np.ones_like(correlation), kernel, "same")
    below = np.flatnonzero(smooth < threshold)
    if not len(below):
        return 2.0 * pixel_um
    first = int(below[0])
    if first == 0:
        return float("inf")
    high, low = smooth[first - 1], smooth[first]
    at = frequency[first - 1] + (high - threshold) / (high - low) * (frequency[first] - frequency[first - 1])
    return max(2.0 * pixel_um, float(pixel_um / at))


def split_counts(counts: NDArray[np.generic], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split an image of counts into two, each count at random.

    Parameters
    ----------
    counts : ndarray of non-negative numbers, any shape
        Rounded to whole counts.
    seed : int

    Returns
    -------
    ndarray of int64, ndarray of int64
        Their sum is the image; of a Poisson image, both are Poisson and independent.

    Raises
    ------
    InputError
        If a count is negative, not finite or above 1e9.
    """
    values = np.asarray(counts, dtype=np.float64)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > _MAX_COUNTS:
        raise InputError(
            f"FRC: counts from {values.min():g} to {values.max():g}; they must be finite and between 0 and 1e9: take "
            "the background off, or give the grey value of one count"
        )
    whole = to_integers(values, np.int64, "FRC: counts")
    half = np.random.default_rng(seed).binomial(whole, 0.5)
    return half, whole - half


def single_image_resolution_um(
    image: NDArray[np.generic], pixel_um: float, seed: int = 0, grey_per_count: float = 1.0
) -> float:
    """Return the resolution of one image, µm.

    Parameters
    ----------
    image : ndarray, shape (Y, X)
        Grey values proportional to counts, 0 for none.
    pixel_um : float
        Pixel size, µm.
    seed : int
        Of the splitting.
    grey_per_count : float
        Grey value of one count. It determines the noise, and so the result: use the same value for all images that
        are compared.

    Returns
    -------
    float
        See `resolution_um`. It is the resolution of the halves; that of the whole image is slightly better.

    Raises
    ------
    InputError
        If the image is not an image of counts, or too small.
    """
    if grey_per_count <= 0:
        raise InputError(f"FRC: grey_per_count = {grey_per_count:g}; it must be above 0")
    a, b = split_counts(np.asarray(image, dtype=np.float64) / grey_per_count, seed)
    return resolution_um(a, b, pixel_um)


def _tapered(image: NDArray[np.generic]) -> Float:
    """Return the central square of an image minus its mean, tapered to zero at the border against ringing."""
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError("FRC: the image holds values that are not finite")
    side = min(values.shape)
    top, left = ((n - side) // 2 for n in values.shape)
    square = values[top : top + side, left : left + side]
    from scipy.signal.windows import tukey  # takes more than half a second to import

    fade = tukey(side, _TAPER)
    return np.asarray((square - square.mean()) * fade[:, None] * fade[None])


@register_metric("frc", label="FRC resolution", unit="µm", larger_is_better=False, digits=1, scope="image")
def stained_resolution_um(sample: ImageSample) -> float:
    """Resolution of the stained image by Fourier ring correlation; compare it with that of the real image."""
    return single_image_resolution_um(sample.stained.mean(axis=2), sample.pixel_um, 0, GREY_PER_COUNT)
