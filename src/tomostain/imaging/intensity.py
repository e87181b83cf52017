"""Normalisation of µCT (paper section 2.5): bone to 30000, background to 10000.

The grey values of bone and background are estimated, or stated by the user.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.deprecation import renamed
from tomostain.errors import InputError
from tomostain.imaging.network_range import CT_BACKGROUND, CT_BONE, FULL_RANGE_WINDOW
from tomostain.integers import to_integers
from tomostain.io.parallel import in_parallel

# Grey values that are normalised at once, so that they stay in the cache of a core, and those of one task.
_CACHED_VALUES, _TASK_VALUES = 2**15, 2**21


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


__getattr__ = renamed(
    __name__,
    {
        "estimate_reference": "tomostain.imaging.intensity_estimation:estimate_reference",
        "manual_reference": "tomostain.imaging.intensity_estimation:manual_reference",
        "reference_regions": "tomostain.imaging.intensity_estimation:reference_regions",
        "reference_samples": "tomostain.imaging.intensity_estimation:reference_samples",
        "volume_reference": "tomostain.imaging.intensity_estimation:volume_reference",
    },
)
