"""Texture: the radial power spectrum of the stained image compared with that of the real image.

Regression blurs the texture that the µCT does not determine, and adversarial training can add texture that does not
exist. SSIM and PSNR prefer blur. The spectrum does not depend on where the texture is, so it shows both.
"""

import numpy as np
from numpy.typing import NDArray

from tomostain.evaluate.metrics.base import RGB, ImageSample, Mask, register_metric
from tomostain.evaluate.metrics.checks import require_equal_rgb
from tomostain.evaluate.metrics.implant import implant_region
from tomostain.evaluate.metrics.spectrum import fade_to_border, local_residual

# Periods of texture, px: the bands are evenly spaced in the logarithm.
PERIODS_PX = (2.0, 32.0)
BANDS = 8
# Standard deviation of white noise, grey levels, that is added to both images: differences below are not visible.
NOISE = 1.0
_MIN_REGION_PX = 1024

Float = NDArray[np.float64]


def band_powers(image: RGB, region: Mask | None = None) -> Float:
    """Return the power of an image's brightness in bands of spatial frequency.

    Parameters
    ----------
    image : ndarray of uint8, shape (Y, X, 3)
    region : ndarray of bool, shape (Y, X), optional
        The pixels to use. Default: all.

    Returns
    -------
    ndarray of float64, shape (8,)
        Mean power per pixel, grey levels², from periods of 32 px to 2 px; white noise of variance v has v in each band,
        plus 1 for the noise that is added. NaN in bands without a frequency, and in all if the region is below 1024 px.
    """
    region = np.ones(image.shape[:2], bool) if region is None else region.astype(bool)
    if region.sum() < _MIN_REGION_PX:
        return np.full(BANDS, np.nan)
    fade = fade_to_border(region)
    residual = local_residual(image.mean(axis=2, dtype=np.float64), region) * fade
    power = np.square(np.abs(np.fft.fft2(residual))) / np.square(fade).sum() + NOISE**2
    rows, columns = (np.fft.fftfreq(length) for length in region.shape)
    frequency: Float = np.hypot(rows[:, None], columns[None])
    edges = np.geomspace(1 / PERIODS_PX[1], 1 / PERIODS_PX[0], BANDS + 1)
    band = np.asarray(np.searchsorted(edges, frequency, side="right")) - 1
    inside = (band >= 0) & (band < BANDS)
    number = np.bincount(band[inside], minlength=BANDS)
    total = np.bincount(band[inside], power[inside], BANDS)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def spectrum_difference_db(stained: RGB, real: RGB, region: Mask | None = None) -> float:
    """Return the root mean square over bands of the ratio of two power spectra, dB.

    Parameters
    ----------
    stained, real : ndarray of uint8, shape (Y, X, 3)
    region : ndarray of bool, shape (Y, X), optional
        The pixels to use. Default: all.

    Returns
    -------
    float
        0 for equal spectra; 3 dB is a factor of 2 in power. NaN if the region is below 1024 px.

    Raises
    ------
    InputError
        If the shapes differ.
    """
    require_equal_rgb(stained, real)
    ratio = 10 * np.log10(band_powers(stained, region) / band_powers(real, region))
    ratio = ratio[np.isfinite(ratio)]
    return float(np.sqrt(np.mean(ratio**2))) if ratio.size else float("nan")


@register_metric(
    "texture_spectrum", label="texture spectrum", unit="dB", larger_is_better=False, digits=2, scope="image"
)
def texture_spectrum(sample: ImageSample) -> float:
    """Difference of the radial power spectra of stained and real image in the mask, without implant; 0 if equal."""
    region = sample.mask.astype(bool) & ~implant_region(sample.real)
    return spectrum_difference_db(sample.stained, sample.real, np.asarray(region))
