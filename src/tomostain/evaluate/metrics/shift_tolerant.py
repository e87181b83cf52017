"""Metrics at the best shift: texture that is correct but a few pixels off is not penalised.

Registration leaves errors of 1 to 3 px. At that distance, two sharp and correct images score worse than a blurred one.
So the generated patch is shifted by up to `REACH_PX`, and all metrics are computed at the best shift.
"""

import warnings
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.evaluate.metrics.base import RGB, Mask, Metric, select_metrics
from tomostain.evaluate.metrics.lpips import Lpips, with_lpips
from tomostain.evaluate.metrics.patch import fill_background

REACH_PX = 3
_T = TypeVar("_T", bound=np.generic)


def best_shift(fake: RGB, real: RGB, reach_px: int = REACH_PX, *, mask: Mask | None = None) -> tuple[int, int]:
    """Return the shift (row, column) in px at which `fake` is nearest to `real` in mean square.

    Every shift is compared on the same pixels of `real`: those of the mask, without a border of `reach_px`. Of equally
    good shifts, the shortest is returned.

    Parameters
    ----------
    fake, real : ndarray of uint8, shape (Y, X, 3)
        As they are outside the mask: a filled border would move with `fake` and favour small shifts.
    reach_px : int
        The largest shift along either axis.
    mask : ndarray of bool, shape (Y, X), optional
        The correspondence mask; all pixels if None.

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
    if mask is not None and mask.shape != real.shape[:2]:
        raise InputError(
            f"`mask` has the shape {mask.shape}, but the images have {real.shape[0]} × {real.shape[1]} px; give one of "
            "the same size",
            parameter="mask",
        )
    if min(real.shape[:2]) <= 2 * reach_px:
        raise InputError(f"shift of {reach_px} px in an image of {real.shape[0]} × {real.shape[1]} px; nothing is left")
    reach = range(-reach_px, reach_px + 1)
    middle = _inside(real, (0, 0), reach_px).astype(np.float32)
    shifts = sorted(((row, column) for row in reach for column in reach), key=lambda s: s[0] ** 2 + s[1] ** 2)
    compared = np.ones(real.shape[:2], bool) if mask is None else mask
    compared = _inside(compared, (0, 0), reach_px)
    if not compared.any():
        return 0, 0  # all of the mask lies in the border
    errors = [float(np.mean((_inside(fake, shift, reach_px) - middle)[compared] ** 2)) for shift in shifts]
    return shifts[int(np.argmin(errors))]


def shift_tolerant_metrics(
    fake: RGB,
    real: RGB,
    metrics: Sequence[Metric] | None = None,
    reach_px: int = REACH_PX,
    *,
    mask: Mask | None = None,
    colour: NDArray[np.uint8] | None = None,
) -> dict[str, float]:
    """Compare two patches at the best shift.

    Parameters
    ----------
    fake, real : ndarray of uint8, shape (Y, X, 3)
        With a mask: as they are outside it.
    metrics : sequence of Metric, optional
        Metrics of scope "patch". Default: SSIM and PSNR, with LPIPS as NaN.
    reach_px : int
        The largest shift along either axis.
    mask : ndarray of bool, shape (Y, X), optional
        The correspondence mask of `real`. The shift is that of the pixels in the mask; after it, both patches are
        filled outside the mask.
    colour : ndarray of uint8, shape (3,), optional
        The background with which they are filled; white if None.

    Returns
    -------
    dict
        The metrics by name (NaN if the patch is too small), and ``shift_px``, the length of the shift.
    """
    shift = best_shift(fake, real, reach_px, mask=mask)
    a, b = _inside(fake, shift, reach_px), _inside(real, (0, 0), reach_px)
    if mask is not None:
        inside = _inside(mask, (0, 0), reach_px)
        a, b = (fill_background(image, inside, np.full(3, 255) if colour is None else colour) for image in (a, b))
    if metrics is None:
        metrics = with_lpips(select_metrics(scope="patch"), None)
    values = {metric.name: metric.of_patch(a, b) for metric in metrics}
    return {**values, "shift_px": float(np.hypot(*shift))}


def tolerant_metrics(fake: RGB, real: RGB, lpips: Lpips | None = None, reach_px: int = REACH_PX) -> dict[str, float]:
    """Compare two patches at the best shift. Deprecated: use `shift_tolerant_metrics`."""
    warnings.warn("tolerant_metrics is now shift_tolerant_metrics", DeprecationWarning, stacklevel=2)
    return shift_tolerant_metrics(fake, real, with_lpips(select_metrics(scope="patch"), lpips), reach_px)


def _inside(image: NDArray[_T], shift: tuple[int, int], border: int) -> NDArray[_T]:
    """Return the image moved back by `shift`, without a border."""
    rows, columns = (slice(border + s, n - border + s) for s, n in zip(shift, image.shape, strict=False))
    return np.ascontiguousarray(image[rows, columns])
