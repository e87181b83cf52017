"""Structural similarity index measure (SSIM; paper section 2.10)."""

from skimage.metrics import structural_similarity

from tomostain.errors import InputError
from tomostain.evaluate.metrics.base import RGB, register_metric
from tomostain.evaluate.metrics.checks import require_equal_rgb

WINDOW_PX = 7  # scikit-image's default


@register_metric("ssim", label="SSIM", larger_is_better=True, min_side_px=WINDOW_PX, default=True)
def ssim(a: RGB, b: RGB) -> float:
    """Structural similarity index measure, the mean over the image and the three channels.

    Parameters
    ----------
    a, b : ndarray of uint8, shape (Y, X, 3)
        RGB images with both sides of at least 7 px (the window).

    Returns
    -------
    float
        At most 1, which only equal images reach.

    Raises
    ------
    InputError
        If the shapes differ or an image is smaller than the window.

    References
    ----------
    Irvine et al., J. Synchrotron Rad. 2026, section 2.10; computed by scikit-image with its defaults, as there.
    """
    require_equal_rgb(a, b)
    if min(a.shape[:2]) < WINDOW_PX:
        raise InputError(f"SSIM: image of {a.shape[0]} × {a.shape[1]} px; both sides must be {WINDOW_PX} px or more")
    return float(structural_similarity(a, b, channel_axis=-1, data_range=255))
