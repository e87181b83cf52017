"""The prior on the strain of a section, and the evidence against which it is weighed.

**Likelihood.** Let ``c`` be the grey values of the µCT and ``h`` the colours of the slide at N pixels under a
transform. If the colour of a pixel depends on its µCT value alone, the log-likelihood of the slide, with the
conditional probabilities taken from the joint histogram, is ``N · I(c; h)`` up to a constant, where I is the mutual
information in nats (Roche et al. 2000, Int. J. Imaging Syst. Technol. 11, 71).

**Independent samples.** Neighbouring pixels repeat each other. With the autocorrelations ρ_c and ρ_h, a sum over N
pixels has the variance of a sum over ``N_eff = N / Σ_τ ρ_c(τ) ρ_h(τ)`` independent ones (Bartlett 1935, J. R. Stat.
Soc. 98, 536; Dutilleul 1993, Biometrics 49, 305). The log-likelihood is therefore ``N_eff · I``.

**Prior.** Each component of the strain tensor is normal with a standard deviation σ that depends on the preparation:
sections that are embedded in resin, sawn and ground stay below 1 to 2 % (σ = 0.6 %), paraffin sections shrink and
stretch by 3 to 4 % (σ = 1.5 %; paper section 2.3). The log-posterior is

    N_eff · I(c; h) − (e_rr² + e_cc² + 2 e_rc²) / (2 σ²).

A strain of 4 % on a resin section costs 22 nats; with σ = 1.5 % it costs 3.6. The maximum over k more parameters rises
by k / 2 nats by chance alone (Wilks 1938), so a rise below that is no evidence.

The likelihood assumes that colour depends on the grey value in the same way everywhere. A real section breaks this
assumption where soft tissue has shifted, and then the rise of the mutual information is large and still wrong. So a
strained transform must also agree with the edges: see `tomostain.register.edge_blocks`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from tomostain.geometry.section import Section
from tomostain.register.config import RegisterConfig
from tomostain.register.template_features import is_stiff

# Standard deviation of each component of the strain.
STRAIN_RESIN, STRAIN_PARAFFIN = 0.006, 0.015


def effective_samples(images: Sequence[NDArray[np.floating]], mask: NDArray[np.bool_]) -> float:
    """Return the number of independent samples in two images of one section.

    Parameters
    ----------
    images : two ndarray of float, shape (Y, X)
    mask : ndarray of bool, shape (Y, X)
        The pixels that count.

    Returns
    -------
    float
        N / Σ ρ₁ ρ₂, between 1 and the number of pixels. The sum is taken over lags up to a quarter of the image.

    Examples
    --------
    >>> noise = np.random.default_rng(0).standard_normal((2, 64, 64))
    >>> bool(abs(effective_samples(list(noise), np.ones((64, 64), bool)) / 64**2 - 1) < 0.1)
    True
    """
    n = int(mask.sum())
    if n < 2:
        return 1.0
    shape = [fft.next_fast_len(2 * side, real=True) for side in mask.shape]
    counts = _autocorrelation(mask.astype(np.float64), shape)
    product = np.ones_like(counts)
    for image in images:
        centred = np.where(mask, image - image[mask].mean(), 0.0)
        correlation = _autocorrelation(centred, shape) / np.maximum(counts, 1.0)
        product *= correlation / max(float(correlation[0, 0]), 1e-30)
    lags = [
        np.abs(np.fft.fftfreq(side, 1 / side)) <= length / 4 for side, length in zip(shape, mask.shape, strict=True)
    ]
    window = lags[0][:, None] & lags[1][None, :] & (counts > 0.1 * n)
    return float(np.clip(n / max(float(product[window].sum()), 1.0), 1.0, n))


def _autocorrelation(image: NDArray[np.float64], shape: Sequence[int]) -> NDArray[np.float64]:
    """Return Σ_x f(x) f(x + τ) for all lags τ, shape `shape`, lag 0 first."""
    spectrum = fft.rfft2(image, shape)
    return np.asarray(fft.irfft2(spectrum * spectrum.conj(), shape))


def strain_cost(strain: NDArray[np.floating], sigma: float) -> float:
    """Return the negative log-prior of a symmetric strain (2, 2), nats.

    Examples
    --------
    >>> round(strain_cost(np.diag([0.04, 0.0]), 0.006), 1)
    22.2
    """
    return float((np.asarray(strain) ** 2).sum() / (2 * sigma**2))


def prior_deviation(config: RegisterConfig, rgb: NDArray[np.uint8]) -> float:
    """Return the standard deviation of the prior: as configured, or that of the preparation that the colours show."""
    return config.planar_strain or (STRAIN_RESIN if is_stiff(rgb) else STRAIN_PARAFFIN)


def histology_strain(section: Section) -> NDArray[np.float64]:
    """Return scale along rows, scale along columns, and shear of the histology, as strains; shape (3,).

    The rotation and the side in `slide_to_section` are no strain (polar decomposition).

    Examples
    --------
    >>> axes = np.zeros(3), np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])
    >>> histology_strain(Section(*axes, np.array([[1.02, 0.01, 5.0], [0.01, 0.99, 7.0]]))).round(3).tolist()
    [0.02, -0.01, 0.01]
    >>> histology_strain(Section(*axes, np.array([[0.0, -1.0, 5.0], [1.02, 0.0, 7.0]]))).round(3).tolist()
    [0.02, 0.0, 0.0]
    """
    _, sizes, v = np.linalg.svd(section.slide_to_section[:, :2])
    stretch = v.T @ np.diag(sizes) @ v
    return np.array([stretch[0, 0] - 1, stretch[1, 1] - 1, stretch[0, 1]]) + 0.0
