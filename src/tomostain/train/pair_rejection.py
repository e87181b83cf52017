"""Leave out pairs that do not correspond: their correlation with the output of the generator is exceptionally low.

A wrong section, a damaged slide or a failed registration cannot be learned and disturbs the training. Once the
generator is roughly trained, its output for such a pair correlates less with the histology than that of other pairs.

The idea is that of RegiStain (github.com/liyuzhu1998/Autopsy-Virtual-Staining), which leaves out what lies below
mean - 2 σ. Several bad pairs lower the mean and raise σ, so that this limit finds none from 20 % of bad pairs on. The
limit here is median - 3 σ, with σ from the median absolute deviation (Leys et al. 2013,
doi:10.1016/j.jesp.2013.03.013). Up to 30 % of bad pairs hardly change it.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

# Pairs that all fit can have nearly equal correlations. Then a small difference is many deviations.
MIN_DIFFERENCE = 0.1
DEVIATIONS = 3.0
MIN_PAIRS = 6
# σ of a normal distribution, divided by its median absolute deviation.
_SIGMA_PER_MAD = 1.4826


def correlation(generated: Tensor, real: Tensor, mask: Tensor) -> Tensor:
    """Return the Pearson correlation of two images inside a mask, over all channels.

    Parameters
    ----------
    generated, real : Tensor (C, Y, X)
    mask : Tensor (1, Y, X)
        1 where the images may be compared.

    Returns
    -------
    Tensor
        One number in [-1, 1]; 0 if the mask is empty or an image is constant inside it.

    Examples
    --------
    >>> import torch
    >>> image = torch.arange(12.0).reshape(3, 2, 2)
    >>> correlation(image, 5 - 2 * image, torch.ones(1, 2, 2)).item()
    -1.0
    """
    inside = mask.expand_as(real) > 0.5
    if not bool(inside.any()):
        return real.new_zeros(())
    a, b = generated[inside].double(), real[inside].double()
    a, b = a - a.mean(), b - b.mean()
    return ((a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-12)).to(real.dtype)


def lowest_accepted(correlations: Sequence[float]) -> float:
    """Return the correlation below which a pair is left out: median - 3 σ, and at least 0.1 below the median.

    Parameters
    ----------
    correlations : sequence of float
        Of at least one pair.

    Returns
    -------
    float
        At most half of the pairs are below it. -1 for fewer than 6 pairs, which are too few to judge.

    Examples
    --------
    >>> round(lowest_accepted([0.8, 0.82, 0.79, 0.81, 0.8, 0.83, 0.1]), 3)
    0.7
    """
    values = np.asarray(correlations, float)
    if len(values) < MIN_PAIRS:
        return -1.0
    median = float(np.median(values))
    sigma = _SIGMA_PER_MAD * float(np.median(np.abs(values - median)))
    return median - max(DEVIATIONS * sigma, MIN_DIFFERENCE)


def accepted_pairs(correlations: Sequence[float]) -> list[bool]:
    """Return for each pair whether it is used: its correlation is not below `lowest_accepted`.

    Examples
    --------
    >>> accepted_pairs([0.8, 0.82, 0.79, 0.81, 0.8, 0.83, 0.1])
    [True, True, True, True, True, True, False]
    """
    # A tie with the limit is rounding.
    limit = lowest_accepted(correlations) - 1e-9
    return [value >= limit for value in correlations]
