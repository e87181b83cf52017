"""Normalisation of µCT (paper section 2.5): bone to 30000, background to 10000.

The grey values of bone and background are estimated, or stated by the user.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.errors import InputError
from tomostain.imaging.network_range import CT_BACKGROUND, CT_BONE, FULL_RANGE_WINDOW
from tomostain.imaging.regions import (
    MIN_REGION_PX,
    background_and_core,
    block_mean,
    is_bone,
    padding,
    saturated_body,
)
from tomostain.integers import to_integers
from tomostain.io.parallel import in_parallel
from tomostain.io.volumes.base import VolumeLike, read_each
from tomostain.io.volumes.missing import present_slices

_SIDE_PX = 512
# Grey values that are normalised at once, so that they stay in the cache of a core, and those of one task.
_CACHED_VALUES, _TASK_VALUES = 2**15, 2**21
_MANUAL = (
    "state both grey values: `background` and `bone` for stain, `ct_background` and `ct_bone` in the configuration of "
    "register and prepare"
)


@dataclass(frozen=True)
class IntensityReference:
    """Grey values of a scan that normalisation sets to 10000 and 30000.

    Attributes
    ----------
    background, bone : float
        Mean grey value of the two regions of interest, in the scale of the scan.
    background_std, bone_std : float
        Standard deviation within them; 0 where the values were stated.
    background_px, bone_px : int
        Pixels in them (after averaging large slices down); 0 where the values were stated.
    """

    background: float
    bone: float
    background_std: float = 0.0
    bone_std: float = 0.0
    background_px: int = 0
    bone_px: int = 0

    def __post_init__(self) -> None:
        if not (np.isfinite([self.background, self.bone]).all() and self.bone > self.background):
            raise InputError(
                f"µCT grey values: bone {self.bone:g} and background {self.background:g}; "
                "both must be finite, and bone must be brighter than background"
            )

    def to_dict(self) -> dict[str, float | int]:
        """Return plain numbers for YAML."""
        return asdict(self)


def check_ct(ct: NDArray[Any], source: str = "µCT") -> None:
    """Raise unless the grey values are finite and not all the same.

    Raises
    ------
    InputError
        If there are no values, if one is NaN or infinite, or if all are equal. The message begins with `source`.
    """
    if ct.size == 0:
        raise InputError(f"{source}: holds no pixels; choose an image or a volume that is not empty")
    if ct.dtype.kind == "f" and not np.isfinite(ct).all():
        bad = int((~np.isfinite(ct)).sum())
        raise InputError(
            f"{source}: {bad} grey values are NaN or infinite; replace them by the value of the background"
        )
    if ct.min() == ct.max():
        raise InputError(f"{source}: every grey value is {ct.flat[0]}; a constant image contains no bone")


def estimate_reference(samples: NDArray[Any], source: str = "µCT") -> IntensityReference:
    """Estimate the mean grey values of bone and background (the ROIs of paper section 2.5, chosen automatically).

    The background is the lowest main mode of the grey values. Otsu's threshold separates solid matter from the rest.
    If its bright class is one compact body far above another solid, that body is a metal screw (Ti), and bone is the
    solid matter below it. A thick body that is cut off at the top of the grey scale is such a screw, too. The means are
    taken over the cores of the regions, so that partial volumes at edges do not count.

    Parameters
    ----------
    samples : ndarray, shape (Y, X) or (N, Y, X)
        One image, or some slices of a volume, that contain bone and background.
    source : str
        Named in error messages.

    Returns
    -------
    IntensityReference

    Raises
    ------
    InputError
        If the samples are empty, constant or not finite, or if no bone is found.

    References
    ----------
    N. Otsu, IEEE Trans. Syst. Man Cybern. 9 (1979) 62–66.
    """
    small, background, core = _regions(samples, source)
    zero, unit = float(samples.min()), float(samples.max()) - float(samples.min())
    low, high = np.percentile(small[core], [5, 95])
    bone = small[core & (small >= low) & (small <= high)]
    means = [float(region.mean(dtype=np.float64)) for region in (small[background], bone)]
    spread = [float(region.std(dtype=np.float64)) for region in (small[background], small[core])]
    if means[1] - means[0] <= 2 * spread[0]:
        raise InputError(f"{source}: no bone is brighter than the noise; {_MANUAL}")
    background_grey, bone_grey = (zero + unit * mean for mean in means)
    return IntensityReference(
        background_grey, bone_grey, unit * spread[0], unit * spread[1], int(background.sum()), int(bone.size)
    )


def reference_regions(samples: NDArray[Any], source: str = "µCT") -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the regions that `estimate_reference` uses as background and as bone.

    Parameters
    ----------
    samples : ndarray, shape (N, Y, X)
        The result of `reference_samples`.

    Returns
    -------
    background, bone : ndarray of bool, shape (N, Y, X)
        Averaged down so that no side is longer than 512 px.

    Raises
    ------
    InputError
        See `estimate_reference`.
    """
    return _regions(samples, source)[1:]


def _regions(
    samples: NDArray[Any], source: str
) -> tuple[NDArray[np.floating[Any]], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the samples, averaged down and scaled to [0, 1], and the regions of background and bone in them."""
    check_ct(samples, source)
    slices = [samples] if samples.ndim == 2 else list(samples)
    step = max(1, -(-max(slices[0].shape) // _SIDE_PX))
    # Scaled to [0, 1], so that the offset and range of the scan do not affect the precision.
    zero, unit = float(samples.min()), float(samples.max()) - float(samples.min())
    small = np.stack(in_parallel(lambda image: block_mean((image.astype(np.float64) - zero) / unit, step), slices))
    smooth = np.stack(in_parallel(lambda image: ndimage.gaussian_filter(image, 1.0), small))
    seen = ~padding(small)
    background, core = background_and_core(smooth, seen)
    saturated = saturated_body(small)
    if saturated.any():
        around = background_and_core(smooth, seen & ~saturated)
        if is_bone(smooth, *around, saturated):
            background, core = around
    if background.sum() < MIN_REGION_PX or core.sum() < MIN_REGION_PX:
        raise InputError(f"{source}: no bone is brighter than the background; {_MANUAL}")
    return small, background, core


def reference_samples(volume: VolumeLike, n_slices: int = 12, source: str = "µCT") -> NDArray[np.float32]:
    """Read slices at equal distances from a volume, averaged down to at most 512 px per side.

    Parameters
    ----------
    volume : VolumeLike
        For instance a `tomostain.io.Volume`.
    n_slices : int
        Number of slices that are read.
    source : str
        Named in error messages.

    Returns
    -------
    ndarray of float32, shape (N, Y, X)

    Raises
    ------
    InputError
        If a grey value is NaN or infinite.
    """
    present = present_slices(volume, volume.shape[0])
    n = len(present)
    chosen = np.unique(to_integers((np.arange(n_slices) + 0.5) * n / n_slices, np.int64, "slices", rounded=False))
    step = max(1, -(-max(volume.shape[1:]) // _SIDE_PX))

    def averaged(z: int, image: NDArray[Any]) -> NDArray[np.float32]:
        check_finite(image, f"{source}, slice {z}")
        return block_mean(image, step)

    return np.stack(read_each(volume, [int(present[index]) for index in chosen], averaged))


def volume_reference(volume: VolumeLike, n_slices: int = 12, source: str = "µCT") -> IntensityReference:
    """Estimate the intensity reference of a volume from its `reference_samples`.

    Raises
    ------
    InputError
        See `estimate_reference`.
    """
    return estimate_reference(reference_samples(volume, n_slices, source), source)


def manual_reference(
    volume: VolumeLike,
    background: float | None,
    bone: float | None,
    n_slices: int = 12,
    source: str = "µCT",
) -> IntensityReference:
    """Return a reference with stated values; values that are None are estimated from the volume.

    Parameters
    ----------
    volume : VolumeLike
    background, bone : float or None
        In the scale of the scan.
    n_slices, source
        See `volume_reference`.

    Raises
    ------
    InputError
        If bone is not brighter than background. See also `estimate_reference`.
    """
    if background is not None and bone is not None:
        return IntensityReference(background, bone)
    reference = volume_reference(volume, n_slices, source)
    if background is not None:
        reference = replace(reference, background=background, background_std=0.0, background_px=0)
    if bone is not None:
        reference = replace(reference, bone=bone, bone_std=0.0, bone_px=0)
    return reference


def check_finite(ct: NDArray[Any], source: str) -> None:
    """Raise `InputError` that names `source` if a grey value is NaN or infinite."""
    if ct.dtype.kind == "f" and not np.isfinite(ct).all():
        raise InputError(f"{source}: holds NaN or infinite grey values; replace them by the value of the background")


def reference_from_rois(ct: NDArray[Any], background: Sequence[int], bone: Sequence[int]) -> IntensityReference:
    """Compute the reference from two boxes that the user chose.

    Parameters
    ----------
    ct : ndarray, shape (Y, X)
    background, bone : sequence of four int
        First row, row after the last, first column, column after the last.

    Raises
    ------
    InputError
        If a box is empty, or bone is not brighter than background.
    """
    regions = [ct[box_slices(box, ct.shape, "µCT ROI")] for box in (background, bone)]
    return reference_from_values(*regions)


def reference_from_values(background: NDArray[Any], bone: NDArray[Any]) -> IntensityReference:
    """Compute the reference from the grey values of two regions that the user chose.

    Parameters
    ----------
    background, bone : ndarray, any shape
        Grey values of the scan.

    Raises
    ------
    InputError
        If bone is not brighter than background, or a region is empty.
    """
    regions = (background, bone)
    if not all(region.size for region in regions):
        raise InputError("µCT ROI: a region holds no pixels; draw it larger")
    mean = [float(region.mean(dtype=np.float64)) for region in regions]
    spread = [float(region.std(dtype=np.float64)) for region in regions]
    return IntensityReference(mean[0], mean[1], spread[0], spread[1], regions[0].size, regions[1].size)


def box_slices(box: Sequence[int], shape: tuple[int, ...], what: str) -> tuple[slice, slice]:
    """Return the slices of a box (row0, row1, column0, column1); `InputError` if it is empty or leaves the image."""
    if len(box) != 4 or not (0 <= box[0] < box[1] <= shape[0] and 0 <= box[2] < box[3] <= shape[1]):
        size = f"{shape[0]} x {shape[1]} px"
        raise InputError(f"{what}: {list(box)} is not a box in an image of {size}; state row0, row1, column0, column1")
    return slice(box[0], box[1]), slice(box[2], box[3])


def full_range_reference(
    dtype: np.dtype[Any] | type, source: str = "µCT", bits: int | None = None
) -> IntensityReference:
    """Return the reference that scales the full range of an integer type to grey values from 0 to 40000.

    Parameters
    ----------
    dtype : numpy type
    source : str
        Named in messages.
    bits : int, optional
        Significant bits, where a file states fewer than the type has.

    Raises
    ------
    InputError
        If the type has no full range.

    Examples
    --------
    >>> reference = full_range_reference(np.uint8)
    >>> normalise_ct(np.array([0, 51, 255]), reference).tolist()
    [0, 8000, 40000]
    """
    kind = np.dtype(dtype)
    if kind.kind not in "ui":
        raise InputError(f"{source}: is {kind}, which has no full range; normalise by background and bone instead")
    info, (low, high) = np.iinfo(kind), FULL_RANGE_WINDOW
    largest = float(info.max if bits is None else 2**bits - 1)
    background, bone = (
        info.min + (grey - low) / (high - low) * (largest - info.min) for grey in (CT_BACKGROUND, CT_BONE)
    )
    return IntensityReference(background, bone)


def normalise_ct(ct: NDArray[Any], reference: IntensityReference) -> NDArray[np.uint16]:
    """Scale grey values linearly so that background is 10000 and bone 30000 (paper section 2.5).

    Parameters
    ----------
    ct : ndarray, any shape
        Grey values of the scan.
    reference : IntensityReference
        Grey values of background and bone in the scan.

    Returns
    -------
    ndarray of uint16, same shape
        Clipped to [0, 65535].

    Examples
    --------
    >>> normalise_ct(np.array([0.1, 0.5, 0.9]), IntensityReference(0.1, 0.9)).tolist()
    [10000, 20000, 30000]
    """
    values, result = ct.reshape(-1), np.empty(ct.size, np.uint16)
    place = "µCT grey values"

    def convert(start: int) -> None:
        for first in range(start, min(start + _TASK_VALUES, values.size), _CACHED_VALUES):
            part = slice(first, min(first + _CACHED_VALUES, start + _TASK_VALUES))
            result[part] = to_integers(_scaled(values[part], reference), np.uint16, place, clip=True)

    try:
        in_parallel(convert, range(0, values.size, _TASK_VALUES))
    except InputError:
        to_integers(_scaled(ct, reference), np.uint16, place, clip=True)  # states the number in all of them
        raise
    return result.reshape(ct.shape)


def _scaled(ct: NDArray[Any], reference: IntensityReference) -> NDArray[np.float32]:
    scale = (CT_BONE - CT_BACKGROUND) / (reference.bone - reference.background)
    scaled: NDArray[np.float32] = ct.astype(np.float32)
    scaled -= np.float32(reference.background)
    scaled *= np.float32(scale)
    scaled += np.float32(CT_BACKGROUND)
    return scaled
