"""Metrics of scope "patch": compare a stained and a real image patch by patch (paper sections 2.8 and 2.10)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.evaluate.metrics.base import RGB, Mask, Metric, select_metrics
from tomostain.evaluate.metrics.checks import require_equal_rgb
from tomostain.evaluate.metrics.lpips import Lpips, with_lpips
from tomostain.evaluate.metrics.psnr import psnr
from tomostain.evaluate.metrics.ssim import ssim
from tomostain.integers import to_integers
from tomostain.progress import Progress, silent, track
from tomostain.tiling.grid import tile_starts

__all__ = [
    "Patch",
    "PatchOptions",
    "PatchRecord",
    "background_colour",
    "evaluate_images",
    "fill_background",
    "measure_patches",
    "patch_grid",
    "patch_metrics",
    "psnr",
    "ssim",
]

MIN_OVERLAP = 0.5  # section 2.10: patches with less of the correspondence mask are background
PatchRecord = dict[str, float | int | str]
"""One row of ``metrics.csv``: model and pair, position and size of the patch, its overlap, and the metrics."""


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


@dataclass(frozen=True)
class PatchOptions:
    """How images are compared patch by patch.

    Attributes
    ----------
    metrics : tuple of Metric
        Metrics of scope "patch"; by default SSIM and PSNR, with LPIPS as NaN.
    patch_px : int
        Side of a patch, px; 256 px in the paper.
    stride_px : int, optional
        Step between patches, px; `patch_px` if not given.
    """

    metrics: tuple[Metric, ...] = field(default_factory=lambda: with_lpips(select_metrics(scope="patch"), None))
    patch_px: int = 256
    stride_px: int | None = None

    @classmethod
    def of(cls, patch_px: int = 256, stride_px: int | None = None, lpips: Lpips | None = None) -> "PatchOptions":
        """Return the options for SSIM, LPIPS (with a network) and PSNR."""
        return cls(with_lpips(select_metrics(scope="patch"), lpips), patch_px, stride_px)


class PatchKeywords(TypedDict, total=False):
    """The keywords of `PatchOptions.of`."""

    patch_px: int
    stride_px: int | None
    lpips: Lpips | None


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
    return to_integers(outside[near].mean(axis=0), np.uint8, "colour of the background")


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
    """Divide an image into patches. The last patch of each row and column is moved inwards to end at the border.

    An axis shorter than a patch gets one patch of the length of the axis.

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
    rows, columns = (tile_starts(length, patch_px, stride) for length in shape)
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
) -> list[PatchRecord]:
    """Compare a stained image with the real one by SSIM, LPIPS and PSNR; see `measure_patches`.

    Parameters
    ----------
    fake, real : ndarray of uint8, shape (Y, X, 3)
        The stained and the real image.
    mask : ndarray of bool, shape (Y, X), optional
        The correspondence mask. Default: the whole image.
    patch_px, stride_px : int
        Side and step of the patches (`patch_grid`); 256 px in the paper.
    lpips : Lpips, optional
        The network of LPIPS; LPIPS is NaN without it.
    colour : ndarray of uint8, shape (3,), optional
        The background; estimated from `real` if not given.

    Returns
    -------
    list of dict
        One per patch: ``row, column, height, width`` (px), ``overlap`` (0.5 to 1), ``ssim``, ``lpips``, ``psnr``.
        SSIM is NaN for patches below 7 px, LPIPS below 32 px.

    Raises
    ------
    InputError
        If the shapes differ.
    """
    return measure_patches(fake, real, mask, PatchOptions.of(patch_px, stride_px, lpips), colour=colour)


def measure_patches(
    fake: RGB,
    real: RGB,
    mask: Mask | None = None,
    options: PatchOptions | None = None,
    *,
    colour: NDArray[np.uint8] | None = None,
) -> list[PatchRecord]:
    """Compare a stained image with the real one on patches that overlap the mask by at least 50 %.

    In both images, the pixels outside the mask are first set to the mean background, so that they do not count. This
    improves all metrics of a patch that is partly outside the mask, equally for every model.

    Parameters
    ----------
    fake, real : ndarray of uint8, shape (Y, X, 3)
        The stained and the real image.
    mask : ndarray of bool, shape (Y, X), optional
        The correspondence mask. Default: the whole image.
    options : PatchOptions, optional
        Metrics, and side and step of the patches.
    colour : ndarray of uint8, shape (3,), optional
        The background; estimated from `real` if not given.

    Returns
    -------
    list of dict
        One per patch: ``row, column, height, width`` (px), ``overlap`` (0.5 to 1), and the metrics by name. A metric is
        NaN if the patch is too small for it.

    Raises
    ------
    InputError
        If the shapes differ.

    References
    ----------
    Irvine et al., J. Synchrotron Rad. 2026, sections 2.8 and 2.10.
    """
    options = options or PatchOptions()
    require_equal_rgb(fake, real)
    if mask is None:
        mask = np.ones(real.shape[:2], bool)
    if mask.shape != real.shape[:2]:
        raise InputError(f"mask of shape {mask.shape} for images of shape {real.shape[:2]}; give one of the same shape")
    mask = mask.astype(bool)
    if colour is None:
        colour = background_colour(real, mask)
    fake, real = fill_background(fake, mask, colour), fill_background(real, mask, colour)
    records: list[PatchRecord] = []
    for patch in patch_grid(mask.shape, options.patch_px, options.stride_px):
        overlap = float(mask[patch.slices].mean())
        if overlap >= MIN_OVERLAP:
            a, b = fake[patch.slices], real[patch.slices]
            values = {metric.name: metric.of_patch(a, b) for metric in options.metrics}
            records.append({**vars(patch), "overlap": overlap, **values})
    return records


def evaluate_images(
    fakes: Sequence[RGB],
    reals: Sequence[RGB],
    masks: Sequence[Mask] | None = None,
    *,
    model: str = "model",
    ids: Sequence[str] | None = None,
    progress: Progress = silent,
    **options: Unpack[PatchKeywords],
) -> list[PatchRecord]:
    """Compare images in memory, such as slices of a stained phantom volume with the phantom's truth.

    Parameters
    ----------
    fakes, reals : sequence of ndarray of uint8, shape (Y, X, 3)
        Stained and true images, in the same order.
    masks : sequence of ndarray of bool, shape (Y, X), optional
        Where they correspond. Default: everywhere.
    model, ids : str, sequence of str
        Names of the model and of the images in the records.
    progress : Progress
        Called after every image.
    **options
        ``patch_px``, ``stride_px`` and ``lpips``, as in `patch_metrics`.

    Returns
    -------
    list of dict
        One record per patch, for `Table.from_records`. Records of several models can be joined.
    """
    sampling = PatchOptions.of(**options)
    masks = [np.ones(real.shape[:2], bool) for real in reals] if masks is None else masks
    names = [str(index) for index in range(len(reals))] if ids is None else ids
    records: list[PatchRecord] = []
    images = list(zip(names, fakes, reals, masks, strict=True))
    for name, fake, real, mask in track(images, f"comparing {model}", progress):
        patches = measure_patches(fake, real, mask, sampling)
        records += [{"model": model, "pair": name, **patch} for patch in patches]
    return records
