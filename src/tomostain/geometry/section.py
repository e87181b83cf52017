"""Section planes: transforms between slide, section and volume coordinates in µm, and resampling on a section.

Paper section 2.3: a plane in the µCT volume (rigid in 3D) and an affine of the histology image. The centre of the
first voxel is (0, 0, 0) µm. The centre of the first slide pixel is (0, 0) µm. A slide point (row_um, column_um) is at
``origin_um + r * row + c * column`` in the volume, with ``(r, c) = slide_to_section @ (row_um, column_um, 1)``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from tomostain.errors import InputError
from tomostain.integers import to_integers

IDENTITY_2D = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
Float = NDArray[np.float64]
_OPTIONAL_KEYS = ("volume_origin_um", "region_um", "volume_voxel_um")
# Relative tolerance of distances: a point of a box this close to a plane is on the plane.
_TOLERANCE = 1e-6
_MAX_SCALE = 1000
MAX_UM = 1e9
"""No volume is larger; the products of larger lengths would overflow."""


@dataclass(frozen=True)
class Section:
    """The plane of a histological section in a volume, and the affine from the slide to it.

    Attributes
    ----------
    origin_um : ndarray, shape (3,)
        Point of the plane at section coordinates (0, 0), in volume coordinates (z, y, x), µm.
    row, column : ndarray, shape (3,)
        Unit steps down the image rows and along its columns, in volume coordinates (z, y, x); orthonormal.
    slide_to_section : ndarray, shape (2, 3)
        Affine from slide (row, column) µm to section (row, column) µm.
    volume_origin_um : ndarray, shape (3,), or None
        Centre of the first voxel of the volume, (z, y, x) along its axes, in the coordinates that its file states; 0 if
        it states none. None if it is not known.
    region_um : ndarray, shape (3,), or None
        The part of `volume_origin_um` that is due to a region: its first voxel in the whole volume, 0 of a whole
        volume. None if it is not known.
    volume_voxel_um : ndarray, shape (3,), or None
        Voxel size (z, y, x) of the volume, µm. None if it is not known.
    """

    origin_um: Float
    row: Float
    column: Float
    slide_to_section: Float = field(default_factory=lambda: np.array(IDENTITY_2D))
    volume_origin_um: Float | None = None
    region_um: Float | None = None
    volume_voxel_um: Float | None = None

    def __post_init__(self) -> None:
        for name, shape in (
            ("origin_um", (3,)),
            ("row", (3,)),
            ("column", (3,)),
            ("slide_to_section", (2, 3)),
            *((name, (3,)) for name in _OPTIONAL_KEYS if getattr(self, name) is not None),
        ):
            value = np.asarray(getattr(self, name), dtype=np.float64)
            if value.shape != shape or not np.isfinite(value).all():
                raise InputError(f"section: {name} must be {shape} finite numbers, found {value.tolist()}")
            if np.abs(value).max() > MAX_UM:
                raise InputError(f"section: {name} reaches {np.abs(value).max():.3g}; lengths are below {MAX_UM:g} µm")
            object.__setattr__(self, name, value)
        gram = np.array([[a @ b for b in (self.row, self.column)] for a in (self.row, self.column)])
        if not np.allclose(gram, np.eye(2), atol=1e-4):
            raise InputError("section: row and column must be unit vectors at right angles to each other")
        if np.abs(self.slide_to_section[:, :2]).max() > _MAX_SCALE:
            factor = np.abs(self.slide_to_section[:, :2]).max()
            raise InputError(f"section: slide_to_section scales by {factor:.3g}; both sides are in µm, so it is near 1")
        if abs(np.linalg.det(self.slide_to_section[:, :2])) < 1e-6:
            raise InputError("section: slide_to_section is not invertible")

    @property
    def normal(self) -> Float:
        """Unit normal of the plane, row × column, in (z, y, x)."""
        return np.asarray(np.cross(self.row, self.column), dtype=np.float64)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "section") -> "Section":
        """Make a section from the keys of `pair.yaml` or `truth/section.yaml`. Error messages name `source`."""
        missing = [key for key in ("origin_um", "row", "column") if key not in values]
        if missing:
            raise InputError(f"{source}: key '{missing[0]}' is missing")
        try:
            arrays = [np.asarray(values[key], dtype=np.float64) for key in ("origin_um", "row", "column")]
            affine = np.asarray(values.get("slide_to_section", IDENTITY_2D), dtype=np.float64)
            stated = [values.get(key) for key in _OPTIONAL_KEYS]
            begins = [None if value is None else np.asarray(value, dtype=np.float64) for value in stated]
            return cls(arrays[0], arrays[1], arrays[2], affine, *begins)
        except InputError as error:  # a ValueError itself
            raise InputError(f"{source}: {error}") from None
        except (TypeError, ValueError) as error:
            raise InputError(f"{source}: not a section ({error})") from None

    def to_dict(self) -> dict[str, list[Any]]:
        """Return lists of numbers with the keys of `pair.yaml`."""
        keys = ("origin_um", "row", "column", "slide_to_section")
        stated = [key for key in _OPTIONAL_KEYS if getattr(self, key) is not None]
        return {key: getattr(self, key).tolist() for key in (*keys, *stated)}

    def to_volume_um(self, section_um: ArrayLike) -> Float:
        """Map section points to the volume.

        Parameters
        ----------
        section_um : array_like, shape (..., 2)
            Section (row, column), µm.

        Returns
        -------
        ndarray, shape (..., 3)
            Volume (z, y, x), µm.
        """
        points = np.asarray(section_um, dtype=np.float64)
        return np.asarray(self.origin_um + points[..., :1] * self.row + points[..., 1:] * self.column)

    def from_volume_um(self, volume_um: ArrayLike) -> Float:
        """Project volume points (..., 3) onto the plane. Return section (row, column), µm, shape (..., 2)."""
        offset = np.asarray(volume_um, dtype=np.float64) - self.origin_um
        return np.stack([offset @ self.row, offset @ self.column], axis=-1)

    def slide_to_section_um(self, slide_um: ArrayLike) -> Float:
        """Map slide (row, column) µm, shape (..., 2), to section (row, column) µm."""
        points = np.asarray(slide_um, dtype=np.float64)
        return points @ self.slide_to_section[:, :2].T + self.slide_to_section[:, 2]

    def section_to_slide_um(self, section_um: ArrayLike) -> Float:
        """Map section (row, column) µm, shape (..., 2), to slide (row, column) µm."""
        points = np.asarray(section_um, dtype=np.float64) - self.slide_to_section[:, 2]
        return np.asarray(points @ np.linalg.inv(self.slide_to_section[:, :2]).T, dtype=np.float64)


class SampleOptions(TypedDict, total=False):
    """Keywords of `sample_volume`."""

    order: int
    fill: float
    first_slice: int


def grid_um(shape: tuple[int, int], pixel_um: float) -> Float:
    """Return the (row, column) µm of each pixel centre, shape (rows, columns, 2), the first pixel at (0, 0).

    Examples
    --------
    >>> grid_um((1, 2), 5.0).tolist()
    [[[0.0, 0.0], [0.0, 5.0]]]
    """
    rows, columns = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    return np.asarray(np.stack([rows, columns], axis=-1) * float(pixel_um), dtype=np.float64)


def interpolate(
    image: NDArray[Any], index: NDArray[np.floating], *, order: int = 1, fill: float | None = None
) -> NDArray[np.float32]:
    """Interpolate an image or a volume by splines.

    Parameters
    ----------
    image : ndarray, N dimensions
        Real numbers.
    index : ndarray, shape (..., N)
        Positions in pixels or voxels. The centre of the first one is at 0.
    order : int
        Order of the spline, 0 to 5.
    fill : float, optional
        Value outside the image. None repeats the border.

    Returns
    -------
    ndarray of float32, shape (...)
    """
    mode, value = ("nearest", 0.0) if fill is None else ("constant", fill)
    coordinates = np.moveaxis(index, -1, 0)
    return np.asarray(
        ndimage.map_coordinates(image, coordinates, output=np.float32, order=order, mode=mode, cval=value)
    )


def sample_volume(
    volume: NDArray[Any],
    voxel_um: tuple[float, float, float],
    section: Section,
    shape: tuple[int, int],
    pixel_um: float,
    **options: Unpack[SampleOptions],
) -> NDArray[np.float32]:
    """Interpolate a volume on a section plane.

    Parameters
    ----------
    volume : ndarray, shape (Z, Y, X)
        Grey values (or labels, with ``order=0``): the whole volume, or the slices that begin at `first_slice`.
    voxel_um : tuple of float
        Voxel size (z, y, x), µm.
    section : Section
        The plane.
    shape : tuple of int
        (rows, columns) of the result.
    pixel_um : float
        Pixel size of the result, µm.
    **options
        ``order`` (int, default 1): order of the spline, 0 to 5. ``fill`` (float, default 0): value outside the volume.
        ``first_slice`` (int, default 0): index in the whole volume of the first slice of `volume`.

    Returns
    -------
    ndarray of float32, shape (rows, columns)
    """
    index = section.to_volume_um(grid_um(shape, pixel_um)) / np.asarray(voxel_um)
    index[..., 0] -= options.get("first_slice", 0)
    return interpolate(np.asarray(volume), index, order=options.get("order", 1), fill=options.get("fill", 0.0))


def plane_in_box(point_um: Float, normal: Float, size_um: Sequence[float] | Float) -> Float:
    """Return the points where a plane crosses the edges of a box.

    Parameters
    ----------
    point_um : ndarray, shape (3,)
        A point of the plane (z, y, x), µm.
    normal : ndarray, shape (3,)
        Unit normal of the plane.
    size_um : sequence of float
        The box reaches from (0, 0, 0) to this corner, µm.

    Returns
    -------
    ndarray, shape (N, 3)
        A point may occur more than once. Empty if the plane misses the box.

    Examples
    --------
    >>> points = plane_in_box(np.array([1.0, 0.0, 0.0]), np.array([1.0, 0.0, 0.0]), (2.0, 5.0, 5.0))
    >>> points.tolist()
    [[1.0, 0.0, 0.0], [1.0, 0.0, 5.0], [1.0, 5.0, 0.0], [1.0, 5.0, 5.0]]
    """
    tolerance = _TOLERANCE * max(*size_um, 1.0)
    points = []
    for axis, ends in product(range(3), product((0.0, 1.0), repeat=2)):
        start = np.insert(np.array(ends), axis, 0.0) * size_um
        stop = start.copy()
        stop[axis] = size_um[axis]
        heights = (start - point_um) @ normal, (stop - point_um) @ normal
        points += [end for end, height in zip((start, stop), heights, strict=True) if abs(height) <= tolerance]
        if heights[0] * heights[1] < 0:
            points.append(start + (stop - start) * heights[0] / (heights[0] - heights[1]))
    return np.array(points).reshape(-1, 3)


def slices_needed(
    section: Section, shape: tuple[int, int], pixel_um: float, z_um: float, n_slices: int
) -> tuple[int, int]:
    """Return the half-open range of the volume slices that the section plane crosses."""
    corners = grid_um((2, 2), 1.0) * (np.array(shape) - 1) * pixel_um
    z = section.to_volume_um(corners)[..., 0] / z_um
    first, last = int(np.floor(z.min())) - 1, int(np.ceil(z.max())) + 2
    return max(0, min(first, n_slices)), max(0, min(last, n_slices))


def resample_slide(
    slide: NDArray[np.uint8],
    slide_pixel_um: float,
    section: Section,
    shape: tuple[int, int],
    pixel_um: float,
    fill: int = 255,
) -> NDArray[np.uint8]:
    """Resample a slide on the grid of the section (paper section 2.3) in one step, with area averaging.

    Parameters
    ----------
    slide : ndarray of uint8, shape (rows, columns, 3)
        The slide, or one level of its pyramid.
    slide_pixel_um : float
        Pixel size of `slide`, µm.
    section : Section
        Gives the affine from the slide to the section.
    shape : tuple of int
        (rows, columns) of the result.
    pixel_um : float
        Pixel size of the result, µm.
    fill : int
        Value outside the slide.

    Returns
    -------
    ndarray of uint8, shape (rows, columns, 3)

    Notes
    -----
    A result pixel that covers n × n slide pixels (n > 1) is the mean of n × n bilinear samples, spread evenly over its
    area. This averages fine detail instead of aliasing it.
    """
    n = max(1, round(pixel_um / slide_pixel_um))
    offsets = ((np.arange(n) + 0.5) / n - 0.5) * pixel_um
    centres = grid_um(shape, pixel_um)
    total = np.zeros((*shape, 3), dtype=np.float32)
    for row_um in offsets:
        for column_um in offsets:
            points = section.section_to_slide_um(centres + np.array([row_um, column_um])) / slide_pixel_um
            for channel in range(3):
                total[..., channel] += interpolate(slide[..., channel], points, fill=fill)
    return to_integers(total / n**2, np.uint8, "colours of the slide", clip=True)
