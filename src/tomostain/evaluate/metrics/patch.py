"""Comparative metrics of a stained and a real image, patch by patch (paper sections 2.8 and 2.10)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from tomostain.errors import InputError
from tomostain.evaluate.metrics.lpips import MIN_SIDE_PX, Lpips
from tomostain.progress import Progress, silent, track

RGB = NDArray[np.uint8]
Mask = NDArray[np.bool_]

METRICS = ("ssim", "lpips", "psnr")  # the order of Table 1
LARGER_IS_BETTER = {"ssim": True, "lpips": False, "psnr": True}
MIN_OVERLAP = 0.5  # section 2.10: patches with less of the correspondence mask are background
SSIM_WINDOW_PX = 7  # scikit-image's default


@dataclass(frozen=True)
class Patch:
    """Where a patch lies in an image, px."""

    row: int
    column: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the patch in an array of shape (Y, X, ...)."""
        return slice(self.row, self.row + self.height), slice(self.column, self.column + self.width)


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
    _require_equal_rgb(a, b)
    if min(a.shape[:2]) < SSIM_WINDOW_PX:
        raise InputError(
            f"SSIM: image of {a.shape[0]} × {a.shape[1]} px; both sides must be {SSIM_WINDOW_PX} px or more"
        )
    return float(structural_similarity(a, b, channel_axis=-1, data_range=255))


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
    _require_equal_rgb(a, b)
    mse = float(np.mean((a.astype(np.float64) - b) ** 2))
    return float("inf") if mse == 0 else float(10 * np.log10(255**2 / mse))


def background_colour(histology: RGB, mask: Mask) -> NDArray[np.uint8]:
    """Estimate the mean colour of the empty slide from what lies outside the correspondence mask.

    Outside the mask lie background and stray tissue. The background is taken as the pixels within 20 grey values of the
    median colour, so that tissue of less than half the area does not tint the mean.

    Parameters
    ----------
    histology : ndarray of uint8, shape (Y, X, 3)
        The real image.
    mask : ndarray of bool, shape (Y, X)
        The correspondence mask, true inside.

    Returns
    -------
    ndarray of uint8, shape (3,)
        The colour; white if nothing lies outside the mask or no pixel is near the median.
    """
    outside = histology[~mask].astype(np.float64)
    if not len(outside):
        return np.full(3, 255, np.uint8)
    near = np.abs(outside - np.median(outside, axis=0)).max(axis=1) <= 20
    if not near.any():
        return np.full(3, 255, np.uint8)
    return np.rint(outside[near].mean(axis=0)).astype(np.uint8)


def fill_background(rgb: RGB, mask: Mask, colour: NDArray[np.uint8]) -> RGB:
    """Set the pixels outside the correspondence mask to one colour, in a copy.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (Y, X, 3)
        The image.
    mask : ndarray of bool, shape (Y, X)
        The correspondence mask, true inside.
    colour : ndarray of uint8, shape (3,)
        The mean background (`background_colour`).

    References
    ----------
    Irvine et al., J. Synchrotron Rad. 2026, section 2.8.
    """
    return np.where(mask[..., None], rgb, np.asarray(colour, np.uint8))


def patch_grid(shape: tuple[int, int], patch_px: int = 256, stride_px: int | None = None) -> list[Patch]:
    """Lay patches over an image, the last of each row and column moved inwards to end at the border.

    An axis shorter than a patch gets one patch of its own length.

    Parameters
    ----------
    shape : (Y, X)
        Size of the image, px.
    patch_px : int
        Side of a patch, px.
    stride_px : int, optional
        Step between patches; `patch_px` if not given.

    Raises
    ------
    InputError
        If a size is not positive.

    Examples
    --------
    >>> [(p.row, p.column) for p in patch_grid((256, 600), 256)]
    [(0, 0), (0, 256), (0, 344)]
    >>> patch_grid((100, 256), 256)
    [Patch(row=0, column=0, height=100, width=256)]
    """
    stride = patch_px if stride_px is None else stride_px
    if patch_px < 1 or stride < 1:
        raise InputError(f"patch_px = {patch_px}, stride_px = {stride}; both must be 1 or more")
    rows, columns = (_starts(length, patch_px, stride) for length in shape)
    height, width = (min(length, patch_px) for length in shape)
    return [Patch(row, column, height, width) for row in rows for column in columns]


def patch_metrics(
    fake: RGB,
    real: RGB,
    mask: Mask | None = None,
    patch_px: int = 256,
    stride_px: int | None = None,
    lpips: Lpips | None = None,
    *,
    colour: NDArray[np.uint8] | None = None,
) -> list[dict[str, Any]]:
    """Compare a stained image with the real one on patches of at least 50 % mask overlap.

    In both images the pixels outside the mask are first set to the mean background, so that nothing out there counts.
    In a patch that the mask covers only in part this raises all three metrics, for every model alike.

    Parameters
    ----------
    fake, real : ndarray of uint8, shape (Y, X, 3)
        The stained and the real image.
    mask : ndarray of bool, shape (Y, X), optional
        The correspondence mask; without it the whole image counts.
    patch_px, stride_px : int
        Side and step of the patches (`patch_grid`); 256 px in the paper.
    lpips : Lpips, optional
        Compute LPIPS with it.
    colour : ndarray of uint8, shape (3,), optional
        The background; estimated from `real` if not given.

    Returns
    -------
    list of dict
        One a patch: ``row, column, height, width`` (px), ``overlap`` (0.5 to 1), ``ssim``, ``lpips``, ``psnr``.
        A metric is NaN where it was not asked for or the patch is too small for it (SSIM 7 px, LPIPS 32 px).

    Raises
    ------
    InputError
        If the shapes differ.

    References
    ----------
    Irvine et al., J. Synchrotron Rad. 2026, sections 2.8 and 2.10.
    """
    _require_equal_rgb(fake, real)
    if mask is None:
        mask = np.ones(real.shape[:2], bool)
    if mask.shape != real.shape[:2]:
        raise InputError(f"mask of shape {mask.shape} for images of shape {real.shape[:2]}; give one of the same shape")
    mask = mask.astype(bool)
    if colour is None:
        colour = background_colour(real, mask)
    fake, real = fill_background(fake, mask, colour), fill_background(real, mask, colour)
    records = []
    for patch in patch_grid(mask.shape, patch_px, stride_px):
        overlap = float(mask[patch.slices].mean())
        if overlap >= MIN_OVERLAP:
            values = _compare(fake[patch.slices], real[patch.slices], lpips)
            records.append({**vars(patch), "overlap": overlap, **values})
    return records


def evaluate_images(
    fakes: Sequence[RGB],
    reals: Sequence[RGB],
    masks: Sequence[NDArray[np.bool_]] | None = None,
    *,
    model: str = "model",
    ids: Sequence[str] | None = None,
    patch_px: int = 256,
    stride_px: int | None = None,
    lpips: Lpips | None = None,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Compare images that are in memory, e.g. planes of a stained phantom volume with the phantom's truth.

    Parameters
    ----------
    fakes, reals : sequence of ndarray of uint8, shape (Y, X, 3)
        Stained and true images, in the same order.
    masks : sequence of ndarray of bool, shape (Y, X), optional
        Where they correspond; without it, everywhere.
    model, ids : str, sequence of str
        What the records call the model and the images.
    patch_px, stride_px, lpips
        As in `patch_metrics`.
    progress : Progress
        Told of every image.

    Returns
    -------
    list of dict
        One record a patch, for `Table.from_records`; records of several models can be joined.
    """
    masks = [np.ones(real.shape[:2], bool) for real in reals] if masks is None else masks
    names = [str(index) for index in range(len(reals))] if ids is None else ids
    records = []
    images = list(zip(names, fakes, reals, masks, strict=True))
    for name, fake, real, mask in track(images, f"comparing {model}", progress):
        patches = patch_metrics(fake, real, mask, patch_px, stride_px, lpips)
        records += [{"model": model, "pair": name, **patch} for patch in patches]
    return records


def _compare(fake: RGB, real: RGB, lpips: Lpips | None) -> dict[str, float]:
    """Return the three metrics of one patch, NaN where one cannot be computed."""
    side = min(fake.shape[:2])
    return {
        "ssim": ssim(fake, real) if side >= SSIM_WINDOW_PX else float("nan"),
        "lpips": lpips(fake, real) if lpips is not None and side >= MIN_SIDE_PX else float("nan"),
        "psnr": psnr(fake, real),
    }


def _starts(length: int, patch_px: int, stride: int) -> list[int]:
    """Return where patches start along one axis."""
    last = max(length - patch_px, 0)
    return [*range(0, last, stride), last]


def _require_equal_rgb(a: RGB, b: RGB) -> None:
    """Raise unless both are uint8 RGB images of one shape."""
    if a.shape != b.shape or a.ndim != 3 or a.shape[2] != 3:
        raise InputError(
            f"images of shapes {a.shape} and {b.shape}; metrics need two RGB images (Y, X, 3) of one shape"
        )
    if a.dtype != np.uint8 or b.dtype != np.uint8:
        raise InputError(f"images of types {a.dtype} and {b.dtype}; metrics need 8-bit images (uint8)")
