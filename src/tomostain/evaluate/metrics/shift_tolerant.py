"""Metrics that forgive a small shift: right texture a few pixels beside its place counts.

Registration leaves 1 to 3 px. At that distance two sharp, right pictures score worse than a blurred one. So the
generated patch is shifted by up to `REACH_PX`, and the best place counts; all metrics are taken there.
"""

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.evaluate.metrics.lpips import MIN_SIDE_PX, Lpips
from tomostain.evaluate.metrics.patch import SSIM_WINDOW_PX, psnr, ssim

RGB = NDArray[np.uint8]
REACH_PX = 3


def best_shift(fake: RGB, real: RGB, reach_px: int = REACH_PX) -> tuple[int, int]:
    """Return the shift (row, column) in px at which `fake` is nearest to `real` in mean square.

    Every shift is judged on the same pixels of `real`, all but a border of `reach_px`. Of equally good ones the
    shortest is taken.

    Parameters
    ----------
    fake, real : ndarray of uint8, shape (Y, X, 3)
    reach_px : int
        The largest shift along either axis.

    Raises
    ------
    InputError
        If the shapes differ or nothing is left within the border.

    Examples
    --------
    >>> real = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    >>> best_shift(np.roll(real, (2, -1), axis=(0, 1)), real)
    (2, -1)
    """
    if fake.shape != real.shape:
        raise InputError(f"images of shapes {fake.shape} and {real.shape}; metrics need two of one shape")
    if min(real.shape[:2]) <= 2 * reach_px:
        raise InputError(f"shift of {reach_px} px in an image of {real.shape[0]} × {real.shape[1]} px; nothing is left")
    reach = range(-reach_px, reach_px + 1)
    middle = _inside(real, (0, 0), reach_px).astype(np.float32)
    shifts = sorted(((row, column) for row in reach for column in reach), key=lambda s: s[0] ** 2 + s[1] ** 2)
    errors = [float(np.mean((_inside(fake, shift, reach_px) - middle) ** 2)) for shift in shifts]
    return shifts[int(np.argmin(errors))]


def tolerant_metrics(fake: RGB, real: RGB, lpips: Lpips | None = None, reach_px: int = REACH_PX) -> dict[str, float]:
    """Compare two patches at the best shift.

    Parameters
    ----------
    fake, real : ndarray of uint8, shape (Y, X, 3)
    lpips : Lpips, optional
    reach_px : int

    Returns
    -------
    dict
        ``ssim``, ``lpips``, ``psnr`` (NaN where not asked for or too small), and ``shift_px``, the length of the shift.
    """
    shift = best_shift(fake, real, reach_px)
    a, b = _inside(fake, shift, reach_px), _inside(real, (0, 0), reach_px)
    side = min(b.shape[:2])
    return {
        "ssim": ssim(a, b) if side >= SSIM_WINDOW_PX else float("nan"),
        "lpips": lpips(a, b) if lpips is not None and side >= MIN_SIDE_PX else float("nan"),
        "psnr": psnr(a, b),
        "shift_px": float(np.hypot(*shift)),
    }


def _inside(image: RGB, shift: tuple[int, int], border: int) -> RGB:
    """Return what `image` shows, moved back by `shift`, within a border."""
    rows, columns = (slice(border + s, n - border + s) for s, n in zip(shift, image.shape, strict=False))
    return np.ascontiguousarray(image[rows, columns])
