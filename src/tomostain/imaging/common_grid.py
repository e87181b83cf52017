"""The grid of a pair: the part of the section plane that the volume and the slide both cover."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.errors import InputError
from tomostain.geometry.section import Section, grid_um, plane_in_box, resample_slide, sample_volume, slices_needed
from tomostain.imaging.intensity import check_finite
from tomostain.io.volumes.base import VolumeLike

_CHUNK_SLICES = 64
_TRUNCATE = 3.0
_MIN_SIDE = 8
Voxel = tuple[float, float, float]


def common_grid(
    section: Section,
    volume_shape: tuple[int, int, int],
    voxel_um: Voxel,
    slide_shape: tuple[int, int],
    slide_pixel_um: float,
    pixel_um: float,
    source: str = "section",
) -> tuple[Section, tuple[int, int]]:
    """Choose the grid of a pair: "both transformed slices were cropped to fit the minimum field of view" (section 2.3).

    Parameters
    ----------
    section : Section
        Position of the slide in the volume.
    volume_shape, voxel_um
        Voxels (z, y, x) and their size, µm.
    slide_shape, slide_pixel_um
        Rows and columns of the slide and its pixel size, µm.
    pixel_um : float
        Pixel size of the pair, µm.
    source : str
        Named in error messages.

    Returns
    -------
    section : Section
        The same plane with its origin at the pair's first pixel.
    shape : tuple of int
        Rows and columns of the pair: the bounding box of slide ∩ volume.

    Raises
    ------
    InputError
        If plane, volume and slide have less than 8 × 8 pixels in common.
    """
    corners = grid_um((2, 2), 1.0).reshape(-1, 2) * (np.array(slide_shape) - 1) * slide_pixel_um
    on_plane = section.slide_to_section_um(corners)
    cut = section.from_volume_um(
        plane_in_box(section.origin_um, section.normal, (np.array(volume_shape) - 1) * np.array(voxel_um))
    )
    if len(cut):
        low = np.maximum(on_plane.min(axis=0), cut.min(axis=0))
        size = np.minimum(on_plane.max(axis=0), cut.max(axis=0)) - low
        shape = (int(size[0] // pixel_um) + 1, int(size[1] // pixel_um) + 1)
    if not len(cut) or min(size) < 0 or min(shape) < _MIN_SIDE:
        raise InputError(
            f"{source}: the overlap of volume and slide is less than {_MIN_SIDE} pixels wide; check the section "
            "and the sizes"
        )
    affine = section.slide_to_section.copy()
    affine[:, 2] -= low
    return Section(section.to_volume_um(low), section.row, section.column, affine), shape


def cut_volume(
    volume: VolumeLike, voxel_um: Voxel, section: Section, shape: tuple[int, int], pixel_um: float, source: str
) -> NDArray[np.float32]:
    """Interpolate the section plane in a volume. Only the slices that it crosses are read, a few at a time.

    Where the pixels of the pair are larger than the voxels, the volume is smoothed first (a Gaussian with the variance
    of the pixel's box), so that noise and fine structure are not aliased.

    Parameters
    ----------
    volume : VolumeLike
    voxel_um : tuple of float
        (z, y, x), µm.
    section, shape, pixel_um
        The grid of the pair.
    source : str
        Named in error messages.

    Returns
    -------
    ndarray of float32, shape (Y, X)
        NaN outside the volume.

    Raises
    ------
    InputError
        If a slice that is read holds NaN.
    """
    first, last = slices_needed(section, shape, pixel_um, voxel_um[0], volume.shape[0])
    # The variance of a box of n voxels is (n² - 1) / 12 larger than that of a single voxel.
    ratio = pixel_um / np.asarray(voxel_um)
    sigma = np.sqrt(np.clip(ratio**2 - 1, 0, None) / 12)
    more = int(np.ceil(_TRUNCATE * sigma[0]))
    result = np.full(shape, np.nan, dtype=np.float32)
    if first >= last:
        return result  # the plane does not cross the volume
    for start in range(first, max(first + 1, last - 1), _CHUNK_SLICES):
        # One slice more than the step: points between two chunks need the last slice of one and the first of the next.
        stop = min(start + _CHUNK_SLICES + 1, last)
        low, high = max(0, start - more), min(stop + more, volume.shape[0])
        slices = volume.read(low, high)
        check_finite(slices, source)
        if sigma.any():
            slices = ndimage.gaussian_filter(slices.astype(np.float32), sigma, mode="nearest", truncate=_TRUNCATE)
        slices = slices[start - low : stop - low]
        values = sample_volume(slices, voxel_um, section, shape, pixel_um, fill=float("nan"), first_slice=start)
        result = np.where(np.isnan(result), values, result)
    return result


def cut_slide(
    slide: NDArray[np.uint8], slide_pixel_um: float, section: Section, shape: tuple[int, int], pixel_um: float
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Resample a slide on the grid of a pair.

    Parameters
    ----------
    slide : ndarray of uint8, shape (rows, columns, 3)
    slide_pixel_um : float
    section, shape, pixel_um
        The grid of the pair.

    Returns
    -------
    histology : ndarray of uint8, shape (Y, X, 3)
    covered : ndarray of bool, shape (Y, X)
        True inside the slide. Elsewhere `histology` holds fill values.
    """
    histology = resample_slide(slide, slide_pixel_um, section, shape, pixel_um)
    at: NDArray[Any] = section.section_to_slide_um(grid_um(shape, pixel_um)) / slide_pixel_um
    rim = max(0.0, pixel_um / slide_pixel_um - 1) / 2
    covered = ((at >= rim - 1e-6) & (at <= np.array(slide.shape[:2]) - 1 - rim + 1e-6)).all(axis=-1)
    return histology, np.asarray(covered)
