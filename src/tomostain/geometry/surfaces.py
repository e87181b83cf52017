"""Where a virtual section lies: a plane, or a smooth surface through points, as a grid of places in the specimen.

Places are (z, y, x) in µm from the middle of the first voxel, as OME-Zarr viewers show them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError

Float64 = NDArray[np.float64]
Triple = tuple[float, float, float]
# Parts of a pixel by which a side may fall short of the next pixel through rounding alone.
_SLACK = 1e-6
# Parts of the largest side by which points must spread before a plane through them is believed.
_THIN = 1e-6


@dataclass(frozen=True)
class Cut:
    """A section's pixels in the specimen.

    Attributes
    ----------
    places_um : ndarray of float64, shape (rows, columns, 3)
        The middle of each pixel, (z, y, x), µm.
    normals : ndarray of float64, shape (rows, columns, 3)
        Unit vectors across the section, (z, y, x).
    pixel_um : float
        Pixel size, µm, in the plane; on a curved surface in its projection on the plane that fits best.
    stretch : float
        The largest area of the surface that one pixel stands for, in pixels: 1 for a plane.
    """

    places_um: Float64
    normals: Float64
    pixel_um: float
    stretch: float = 1.0


def plane_of(points_um: Sequence[Sequence[float]] | Float64) -> tuple[Float64, Float64]:
    """Return middle and unit normal of the plane that lies closest to points (least squares).

    Parameters
    ----------
    points_um : sequence of (z, y, x)
        Three or more, µm.

    Returns
    -------
    middle, normal : ndarray of float64, shape (3,)
        The normal's largest component is positive.

    Raises
    ------
    InputError
        If there are fewer than three points, one is not finite, or they lie on a line.

    Examples
    --------
    >>> middle, normal = plane_of([(5, 0, 0), (5, 1, 0), (5, 0, 1), (5, 1, 1)])
    >>> middle.tolist(), normal.round(9).tolist()
    ([5.0, 0.5, 0.5], [1.0, 0.0, 0.0])
    """
    points = np.asarray(points_um, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) < 3 or not np.isfinite(points).all():
        raise InputError(f"section: {len(points)} point(s) given; a plane needs three or more of (z, y, x) in µm")
    middle = points.mean(axis=0)
    _, spread, axes = np.linalg.svd(points - middle, full_matrices=True)
    if spread[1] <= _THIN * max(spread[0], 1e-12):
        raise InputError("section: the points lie on a line or on one spot; give three that span a plane")
    return middle, _turned(axes[2])


def axes_of(normal: Float64) -> tuple[Float64, Float64]:
    """Return the directions of rows (down the picture) and columns (to the right) of a plane.

    Columns run as x does in the specimen, or as y where the plane is across x; so that the slices of the volume look
    as they do in it.

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
    """Return the section along a plane, as large as its crossing with the volume.

    Parameters
    ----------
    middle_um : (z, y, x)
        A place in the plane, µm.
    normal : (z, y, x)
        Across the plane; its length does not matter.
    size_um : tuple of float
        From the middle of the first voxel to that of the last, (z, y, x), µm.
    pixel_um : float

    Raises
    ------
    InputError
        If the normal is no direction, or the plane misses the volume.
    """
    across = np.asarray(normal, dtype=np.float64)
    length = float(np.linalg.norm(across))
    if across.shape != (3,) or not np.isfinite(length) or length == 0:
        raise InputError(f"section: the normal {list(normal)} is no direction; give three numbers (z, y, x), not all 0")
    across = across / length
    middle = np.asarray(middle_um, dtype=np.float64)
    corners = crossing(middle, across, size_um)
    if len(corners) == 0:
        reach = ", ".join(f"{side:g}" for side in size_um)
        place = ", ".join(f"{value:g}" for value in middle)
        raise InputError(f"section: the plane through ({place}) µm misses the volume, which reaches to ({reach}) µm")
    down, right = axes_of(across)
    rows, columns = (_steps((corners - middle) @ axis, pixel_um) for axis in (down, right))
    places = middle + rows[:, None, None] * down + columns[None, :, None] * right
    return Cut(places, np.broadcast_to(across, places.shape), pixel_um)


def curved_cut(points_um: Sequence[Sequence[float]] | Float64, size_um: Triple, pixel_um: float) -> Cut:
    """Return the section along the smoothest surface through points.

    Parameters
    ----------
    points_um : sequence of (z, y, x)
        Three or more, µm, none above another as seen across the plane that fits them best.
    size_um, pixel_um
        As for `plane_cut`.

    Raises
    ------
    InputError
        If no surface leads through the points, or the plane that fits best misses the volume.

    Notes
    -----
    The height above the plane that fits best is a thin-plate spline (Duchon 1977), which bends least of all surfaces
    through the points; far from them it goes on straight. Pixels are even in the plane, so where the surface is steep
    one pixel stands for more than its area: `Cut.stretch`.
    """
    from scipy.interpolate import RBFInterpolator

    points = np.asarray(points_um, dtype=np.float64)
    middle, normal = plane_of(points)
    flat = plane_cut(middle, normal, size_um, pixel_um)
    axes = np.stack(axes_of(normal))
    try:
        height = RBFInterpolator((points - middle) @ axes.T, (points - middle) @ normal, kernel="thin_plate_spline")
    except np.linalg.LinAlgError:
        raise InputError("section: two points lie above one another, so no surface leads through both") from None
    shape = flat.places_um.shape[:2]
    above = height((flat.places_um - middle).reshape(-1, 3) @ axes.T).reshape(shape)
    slopes = [np.gradient(above, pixel_um, axis=axis) if shape[axis] > 1 else np.zeros(shape) for axis in (0, 1)]
    across = normal - slopes[0][..., None] * axes[0] - slopes[1][..., None] * axes[1]
    area = np.linalg.norm(across, axis=2)
    return Cut(flat.places_um + above[..., None] * normal, across / area[..., None], pixel_um, float(area.max()))


def crossing(middle: Float64, normal: Float64, size_um: Triple) -> Float64:
    """Return where a plane crosses the edges of the box from (0, 0, 0) to `size_um`, µm, shape (N, 3)."""
    found = []
    for axis, ends in product(range(3), product((0.0, 1.0), repeat=2)):
        start = np.insert(np.array(ends), axis, 0.0) * size_um
        stop = start.copy()
        stop[axis] = size_um[axis]
        before, after = (start - middle) @ normal, (stop - middle) @ normal
        near = _SLACK * max(*size_um, 1.0)
        found += [end for end, far in ((start, before), (stop, after)) if abs(far) <= near]
        if before * after < 0:
            found.append(start + (stop - start) * before / (before - after))
    return np.array(found).reshape(-1, 3)


def _steps(along: Float64, pixel_um: float) -> Float64:
    """Return the pixels' places from the least to the largest."""
    count = int(np.floor((along.max() - along.min()) / pixel_um + _SLACK)) + 1
    return np.asarray(along.min() + pixel_um * np.arange(count))


def _turned(axis: Float64) -> Float64:
    """Return the direction or its opposite, whichever has its largest component positive."""
    return np.asarray(axis * np.sign(axis[np.argmax(np.abs(axis))])) + 0.0
