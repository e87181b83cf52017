"""Pixel positions of a virtual section: on a plane, or on a smooth surface through points.

Positions are (z, y, x) in µm from the centre of the first voxel, as OME-Zarr viewers show them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.geometry.section import Section, grid_um, plane_in_box

Float64 = NDArray[np.float64]
Triple = tuple[float, float, float]
# Rounding tolerance of the number of pixels along a side, pixels.
_SLACK = 1e-6
# Smallest spread of points across their longest direction, relative to the spread along it, that defines a plane.
_THIN = 1e-6
MAX_SURFACE_POINTS = 4000
"""The memory for a curved surface grows with the square of the number of points: 0.1 GB here."""


@dataclass(frozen=True)
class Cut:
    """The pixels of a section in the volume.

    Attributes
    ----------
    places_um : ndarray of float64, shape (rows, columns, 3)
        Centre of each pixel (z, y, x), µm.
    normals : ndarray of float64, shape (rows, columns, 3)
        Unit normals of the section at each pixel (z, y, x).
    pixel_um : float
        Pixel size, µm. On a curved surface: pixel size of its projection on the plane of best fit.
    stretch : float
        Largest area of the surface in one pixel, in pixel areas. 1 for a plane.
    """

    places_um: Float64
    normals: Float64
    pixel_um: float
    stretch: float = 1.0

    def moved(self, shift_um: Sequence[float] | Float64) -> "Cut":
        """Return the same pixels, moved by (z, y, x), µm."""
        return replace(self, places_um=self.places_um + np.asarray(shift_um, np.float64))


def plane_of(points_um: Sequence[Sequence[float]] | Float64) -> tuple[Float64, Float64]:
    """Fit a plane to points by least squares. Return its centre and unit normal.

    Parameters
    ----------
    points_um : sequence of (z, y, x)
        Three or more, µm.

    Returns
    -------
    middle, normal : ndarray of float64, shape (3,)
        The largest component of the normal is positive.

    Raises
    ------
    InputError
        If there are fewer than three points, a coordinate is not finite, or the points lie on a line.

    Examples
    --------
    >>> middle, normal = plane_of([(5, 0, 0), (5, 1, 0), (5, 0, 1), (5, 1, 1)])
    >>> middle.tolist(), normal.round(9).tolist()
    ([5.0, 0.5, 0.5], [1.0, 0.0, 0.0])
    """
    points = np.asarray(points_um, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) < 3 or not np.isfinite(points).all():
        raise InputError(f"section: a plane needs three or more points (z, y, x) in µm, found {len(points)}")
    middle = points.mean(axis=0)
    _, spread, axes = np.linalg.svd(points - middle, full_matrices=False)
    if spread[1] <= _THIN * max(spread[0], 1e-12):
        raise InputError("section: the points lie on a line; give three points that define a plane")
    return middle, _turned(axes[2])


def axes_of(normal: Float64) -> tuple[Float64, Float64]:
    """Return the directions of the rows (down) and the columns (to the right) of an image of a plane.

    Columns run along x, or along y if the plane is perpendicular to x. So a slice of the volume looks as usual.

    Examples
    --------
    >>> down, right = axes_of(np.array([1.0, 0.0, 0.0]))
    >>> down.tolist(), right.tolist()
    ([0.0, 1.0, 0.0], [0.0, 0.0, 1.0])
    """
    along = np.array([0.0, 0.0, 1.0]) if abs(normal[2]) < 0.9 else np.array([0.0, 1.0, 0.0])
    right = along - normal * (along @ normal)
    right /= np.linalg.norm(right)
    down = np.cross(right, normal)
    return _turned(down), right


def plane_cut(
    middle_um: Sequence[float] | Float64, normal: Sequence[float] | Float64, size_um: Triple, pixel_um: float
) -> Cut:
    """Return the section along a plane, as large as the intersection of the plane with the volume.

    Parameters
    ----------
    middle_um : (z, y, x)
        A point of the plane, µm.
    normal : (z, y, x)
        Normal of the plane, of any length.
    size_um : tuple of float
        Size of the volume from the centre of the first voxel to the centre of the last one (z, y, x), µm.
    pixel_um : float

    Raises
    ------
    InputError
        If the normal is not a direction, or the plane does not cross the volume.
    """
    across = np.asarray(normal, dtype=np.float64)
    length = float(np.linalg.norm(across))
    if across.shape != (3,) or not np.isfinite(length) or length == 0:
        raise InputError(f"section: {list(normal)} is not a direction; give three numbers (z, y, x), not all 0")
    across = across / length
    middle = np.asarray(middle_um, dtype=np.float64)
    corners = plane_in_box(middle, across, size_um)
    if len(corners) == 0:
        reach = ", ".join(f"{side:g}" for side in size_um)
        place = ", ".join(f"{value:g}" for value in middle)
        raise InputError(f"section: the plane through ({place}) µm misses the volume, which reaches to ({reach}) µm")
    down, right = axes_of(across)
    rows, columns = (_steps((corners - middle) @ axis, pixel_um) for axis in (down, right))
    places = middle + rows[:, None, None] * down + columns[None, :, None] * right
    return Cut(places, np.broadcast_to(across, places.shape), pixel_um)


def section_cut(section: Section, shape: tuple[int, int], pixel_um: float) -> Cut:
    """Return the pixels of a registered section.

    Parameters
    ----------
    section : Section
        Where the section lies in the volume.
    shape : tuple of int
        (rows, columns).
    pixel_um : float

    Examples
    --------
    >>> plane = Section(np.zeros(3), np.array([0.0, 1, 0]), np.array([0.0, 0, 1]))
    >>> section_cut(plane, (1, 2), 5.0).places_um.tolist()
    [[[0.0, 0.0, 0.0], [0.0, 0.0, 5.0]]]
    """
    places = section.to_volume_um(grid_um(shape, pixel_um))
    return Cut(places, np.broadcast_to(section.normal, places.shape), pixel_um)


def curved_cut(points_um: Sequence[Sequence[float]] | Float64, size_um: Triple, pixel_um: float) -> Cut:
    """Return the section along a thin-plate spline through points.

    Parameters
    ----------
    points_um : sequence of (z, y, x)
        Three or more, µm. Along the normal of the plane of best fit no two points may coincide.
    size_um, pixel_um
        See `plane_cut`.

    Raises
    ------
    InputError
        If there are more than `MAX_SURFACE_POINTS` points, no such surface goes through them, or the plane of best fit
        does not cross the volume.

    Notes
    -----
    The height above the plane of best fit is a thin-plate spline (Duchon 1977): of all surfaces through the points it
    has the least bending energy, and far from the points it is flat. Pixels are evenly spaced in the plane, so a pixel
    on a steep part covers more of the surface: see `Cut.stretch`.
    """
    from scipy.interpolate import RBFInterpolator

    points = np.asarray(points_um, dtype=np.float64)
    if len(points) > MAX_SURFACE_POINTS:
        raise InputError(
            f"section: a curved surface goes through at most {MAX_SURFACE_POINTS} points, found {len(points)}; leave "
            "out some of them"
        )
    middle, normal = plane_of(points)
    flat = plane_cut(middle, normal, size_um, pixel_um)
    axes = np.stack(axes_of(normal))
    try:
        height = RBFInterpolator((points - middle) @ axes.T, (points - middle) @ normal, kernel="thin_plate_spline")
    except np.linalg.LinAlgError:
        raise InputError("section: two points lie above one another, so no surface goes through both") from None
    shape = flat.places_um.shape[:2]
    above = height((flat.places_um - middle).reshape(-1, 3) @ axes.T).reshape(shape)
    slopes = [np.gradient(above, pixel_um, axis=axis) if shape[axis] > 1 else np.zeros(shape) for axis in (0, 1)]
    across = normal - slopes[0][..., None] * axes[0] - slopes[1][..., None] * axes[1]
    area = np.linalg.norm(across, axis=2)
    return Cut(flat.places_um + above[..., None] * normal, across / area[..., None], pixel_um, float(area.max()))


def _steps(along: Float64, pixel_um: float) -> Float64:
    """Return evenly spaced positions from the smallest to the largest one."""
    count = int(np.floor((along.max() - along.min()) / pixel_um + _SLACK)) + 1
    return np.asarray(along.min() + pixel_um * np.arange(count))


def _turned(axis: Float64) -> Float64:
    """Return the direction or its opposite, such that the largest component is positive."""
    return np.asarray(axis * np.sign(axis[np.argmax(np.abs(axis))])) + 0.0
