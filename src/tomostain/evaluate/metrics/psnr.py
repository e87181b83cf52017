"""Peak signal-to-noise ratio (PSNR; paper section 2.10)."""

import numpy as np

from tomostain.evaluate.metrics.base import RGB, register_metric
from tomostain.evaluate.metrics.checks import require_equal_rgb


@register_metric("psnr", label="PSNR", unit="dB", larger_is_better=True, digits=1, default=True)
def psnr(a: RGB, b: RGB) -> float:
    """Peak signal-to-noise ratio ``10 log10(L² / MSE)`` with L = 255, in dB; infinite for equal images.

    Parameters
    ----------
    a, b : ndarray of uint8, shape (Y, X, 3)
        RGB images.

    Raises
    ------
    InputError
        If the shapes differ.

    References
    ----------
    Irvine et al., J. Synchrotron Rad. 2026, section 2.10.

    Examples
    --------
    >>> black, white = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    >>> psnr(black, white), psnr(black, black)
    (0.0, inf)
    """
    require_equal_rgb(a, b)
    mse = float(np.mean((a.astype(np.float64) - b) ** 2))
    return float("inf") if mse == 0 else float(10 * np.log10(255**2 / mse))
