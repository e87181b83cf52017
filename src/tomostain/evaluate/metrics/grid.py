"""Lattice artefacts: structure that repeats with the strides of a network.

A network that changes the resolution by factors of 2 can draw a lattice with the period of its strides: dots or a woven
texture every 2, 4, 8, 16 or 32 px (Odena et al. 2016, Distill, doi:10.23915/distill.00003). In the power spectrum P of
the image, a lattice of period s adds to the frequencies (k/s, l/s) and to no others. Let F_s be those with k and l in
{-1, 0, 1} without that of the mean: n_s = 8 frequencies, or 3 if s = 2. The higher harmonics of a stride are in F_s of
shorter strides. With N(f), the mean power of the frequencies around f,

    r_s = (m + Σ_{f in F_s} P(f) / N(f)) / (m + n_s),    m = 16

is about 1 if the frequencies of stride s are as strong as their neighbours. The constant m limits the random variation,
since F_s has few frequencies. The metric is the mean over the strides of r_s of the stained image divided by r_s of the
real image: about 1 without a lattice.

The spectrum is that of the local contrast, (image - local mean) / local standard deviation, so that edges of tissue do
not hide a lattice in air or marrow.
"""

import numpy as np
from numpy.typing import NDArray

from tomostain.evaluate.metrics.base import RGB, ImageSample, Mask, register_metric
from tomostain.evaluate.metrics.checks import require_equal_rgb
from tomostain.evaluate.metrics.spectrum import coverage_of, fade_to_border, local_residual, smooth
from tomostain.imaging.colour import background_region

STRIDES = (2, 4, 8, 16, 32)
# Standard deviation of white noise, grey levels, that is added to the variance and to the spectrum. It is hardly
# visible; with it, the ratio of two flat images is 1.
NOISE = 2.0
_PRIOR = 16.0
# The shorter side of the image holds at least this many periods of a stride, or the stride is left out.
_MIN_PERIODS = 4
# Smaller regions give no value, px.
_MIN_REGION_PX = 1024

Float = NDArray[np.float64]


def lattice_ratios(image: RGB, region: Mask | None = None) -> dict[int, float]:
    """Return the power at the frequencies of each stride relative to the neighbouring frequencies.

    Parameters
    ----------
    image : ndarray of uint8, shape (Y, X, 3)
        At the resolution of the network: one pixel is one pixel of its output.
    region : ndarray of bool, shape (Y, X), optional
        The pixels to use. Default: all.

    Returns
    -------
    dict of int to float
        r_s by stride; about 1 without a lattice. Strides above a quarter of the shorter side are left out. Empty if the
        region has fewer than 1024 px.

    Examples
    --------
    >>> image = np.full((128, 128, 3), 255, np.uint8)
    >>> lattice_ratios(image)[16]
    1.0
    >>> image[::16, ::16] = 0
    >>> lattice_ratios(image)[16] > 5
    True
    """
    region = np.ones(image.shape[:2], bool) if region is None else region.astype(bool)
    strides = [stride for stride in STRIDES if stride * _MIN_PERIODS <= min(image.shape[:2])]
    if not strides or region.sum() < _MIN_REGION_PX:
        return {}
    longest = strides[-1]
    power = _power(image, region, longest)
    # One cell of frequencies around each frequency of the longest stride; its border is the neighbourhood.
    cell = tuple(length // longest for length in power.shape)
    neighbours = _border_mean(power, cell)
    relative = power[:: cell[0], :: cell[1]] / neighbours
    relative[0, 0] = 0.0
    ratios = {}
    for stride in strides:
        multiples = sorted({0, longest // stride, longest - longest // stride})
        chosen = relative[np.ix_(multiples, multiples)]
        ratios[stride] = float((_PRIOR + chosen.sum()) / (_PRIOR + chosen.size - 1))
    return ratios


def lattice_excess(stained: RGB, real: RGB, region: Mask | None = None) -> float:
    """Return the mean over strides of `lattice_ratios` of a stained image divided by those of the real image.

    Parameters
    ----------
    stained, real : ndarray of uint8, shape (Y, X, 3)
    region : ndarray of bool, shape (Y, X), optional
        The pixels to use. Default: all.

    Returns
    -------
    float
        About 1 without a lattice; above 0. NaN if the region or the image is too small.

    Raises
    ------
    InputError
        If the shapes differ.
    """
    require_equal_rgb(stained, real)
    a, b = lattice_ratios(stained, region), lattice_ratios(real, region)
    return float(np.mean([a[stride] / b[stride] for stride in a])) if a else float("nan")


def empty_region(real: RGB, mask: Mask) -> Mask:
    """Return where the real image is empty: outside the mask, and where it shows background; shape (Y, X)."""
    return ~mask.astype(bool) | background_region(real)


@register_metric("grid", label="grid", larger_is_better=False, digits=2, scope="image")
def grid(sample: ImageSample) -> dict[str, float]:
    """Lattice with the strides of a network (2 to 32 px), relative to the real image; about 1 without a lattice."""
    region = empty_region(sample.real, sample.mask)
    return {
        "all": lattice_excess(sample.stained, sample.real),
        "background": lattice_excess(sample.stained, sample.real, region),
    }


def _power(image: RGB, region: Mask, stride: int) -> Float:
    """Return the power spectrum of the local contrast, summed over channels, padded to a multiple of a stride."""
    shape = [-(-length // stride) * stride for length in region.shape]
    coverage, fade = coverage_of(region), fade_to_border(region)
    total, noise = np.zeros(shape), 0.0
    for channel in range(image.shape[2]):
        residual = local_residual(image[..., channel].astype(np.float64), region)
        variance = np.maximum(smooth(residual**2) / coverage, 0.0) + NOISE**2
        contrast = residual * fade / np.sqrt(variance)
        total += np.square(np.abs(np.fft.fft2(contrast, s=shape)))
        noise += float((fade**2 * NOISE**2 / variance).sum())
    return total + noise


def _border_mean(power: Float, cell: tuple[int, ...]) -> Float:
    """Return the mean power of the outer half of the cell around each frequency of the longest stride."""
    rows, columns = (length // size for length, size in zip(power.shape, cell, strict=True))
    middle = (cell[0] // 2, cell[1] // 2)
    cells = np.roll(power, middle, axis=(0, 1)).reshape(rows, cell[0], columns, cell[1]).transpose(0, 2, 1, 3)
    outer = [np.abs(np.arange(size) - size // 2) > size / 4 for size in cell]
    return np.asarray(cells[..., outer[0][:, None] | outer[1][None]].mean(axis=-1))
