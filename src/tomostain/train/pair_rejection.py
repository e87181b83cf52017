"""Leave out pairs that do not correspond: their correlation with the output of the generator is exceptionally low.

A wrong section, a damaged slide or a failed registration cannot be learnt and disturbs the training. Once the generator
is roughly trained, its output for such a pair correlates less with the histology than that of the other pairs.
Source of the limit, mean - 2 σ: RegiStain (github.com/liyuzhu1998/Autopsy-Virtual-Staining).
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

# Among pairs that all fit, the lowest correlation is often 2 σ below the mean, but close to it.
MIN_DIFFERENCE = 0.1
DEVIATIONS = 2.0


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


def accepted_pairs(correlations: Sequence[float]) -> list[bool]:
    """Return for each pair whether it is used: its correlation is not below mean - 2 σ, nor 0.1 below the mean.

    A single outlier among n pairs is at most (n - 1) / √n deviations below the mean, so fewer than 6 pairs are all
    accepted.

    Examples
    --------
    >>> accepted_pairs([0.8, 0.82, 0.79, 0.81, 0.8, 0.83, 0.1])
    [True, True, True, True, True, True, False]
    """
    values = np.asarray(correlations, float)
    limit = min(values.mean() - DEVIATIONS * values.std(), values.mean() - MIN_DIFFERENCE)
    # A tie with the limit is rounding.
    return [bool(value >= limit - 1e-9) for value in values]
