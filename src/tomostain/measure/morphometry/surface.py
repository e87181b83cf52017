"""The surface of the implant as small elements with position, normal and area, slab by slab.

Two surfaces are offered. The faces of the voxels form a stepped surface, whose area is up to √3 too large; each face is
therefore weighted by the projection of its area onto the estimated surface (Flin et al. 2005, IEEE Trans. Image
Process. 14, 585, doi:10.1109/TIP.2005.846021). The sub-voxel surface is the level 0.5 of the smoothed implant, made of
triangles (marching cubes: Lewiner et al. 2003, doi:10.1080/10867651.2003.10487582; `skimage.measure.marching_cubes`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.measure.morphometry.implant import Implant
from tomostain.measure.morphometry.slabs import Slab

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Index = NDArray[np.intp]
Box = tuple[slice, slice]
Kind = Literal["faces", "triangles"]

SMOOTHING = {"faces": 1.5, "triangles": 1.0}
"""Standard deviation of the Gaussian that smooths the implant, voxels: for the normals of faces, for the level set."""
TRUNCATE = 3.0
BYTES_PER_VOXEL = 24.0
"""Labels, mask, the smoothed implant with one intermediate array, and what marching cubes copies."""


@dataclass(frozen=True)
class Surface:
    """Elements of a surface.

    Attributes
    ----------
    points_um : ndarray of float64, shape (n, 3)
        Centres (z, y, x), µm. The centre of the first voxel of the volume is (0, 0, 0).
    normals : ndarray of float64, shape (n, 3)
        Unit vectors (z, y, x) that point away from the implant.
    areas_um2 : ndarray of float64, shape (n,)
        Areas, µm².
    """

    points_um: Float
    normals: Float
    areas_um2: Float

    def __len__(self) -> int:
        return len(self.areas_um2)


def smoothing_slices(kind: Kind) -> int:
    """Return how many voxels around an element its position and normal depend on."""
    return int(TRUNCATE * SMOOTHING[kind] + 0.5) + 2


def implant_surface(implant: Implant, slab: Slab, kind: Kind) -> Surface:
    """Return the elements of the surface that belong to a slab.

    An element lies between two slices, or in one; it belongs to the slab of the lower one. So each element of a volume
    belongs to exactly one slab. Where the implant is cut by a face of the volume, there is no surface.

    Parameters
    ----------
    implant : Implant
    slab : Slab
        Its `start` and `stop` count; its overlap does not matter.
    kind : {"faces", "triangles"}
        Faces of voxels, or the sub-voxel surface.

    Returns
    -------
    Surface
    """
    margin = smoothing_slices(kind)
    depth = implant.shape[0]
    stop = min(slab.stop + 1, depth)
    low, high = implant.box[0].start - margin, implant.box[0].stop + margin
    if slab.start >= high or stop <= low:
        return _nothing()
    first, last = max(0, slab.start - margin), min(depth, stop + margin)
    window = _window(implant, margin)
    mask = implant.read(first, last)[:, window[0], window[1]]
    smooth = ndimage.gaussian_filter(mask.astype(np.float32), SMOOTHING[kind], truncate=TRUNCATE, mode="nearest")
    make: Callable[..., Surface] = _triangles if kind == "triangles" else _faces
    part = slice(slab.start - first, stop - first)
    surface = make(mask, smooth, part, slab.stop - slab.start, np.array(implant.voxel_um))
    offset = np.array([first, window[0].start, window[1].start]) * implant.voxel_um
    return Surface(surface.points_um + offset, surface.normals, surface.areas_um2)


def _nothing() -> Surface:
    return Surface(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0))


def _window(implant: Implant, margin: int) -> Box:
    """Return the rows and columns of the implant, with a margin."""
    _, rows, columns = implant.box
    return (
        slice(max(0, rows.start - margin), min(implant.shape[1], rows.stop + margin)),
        slice(max(0, columns.start - margin), min(implant.shape[2], columns.stop + margin)),
    )


def _triangles(mask: NDArray[np.bool_], smooth: Float32, part: slice, thickness: int, voxel_um: Float) -> Surface:
    """Return the triangles between the slices of `part`."""
    from skimage.measure import marching_cubes

    level = smooth[part]
    if min(level.shape) < 2 or not level.min() < 0.5 < level.max():
        return _nothing()
    vertices, triangles, _, _ = marching_cubes(level, 0.5, allow_degenerate=False)
    corners = (vertices.astype(np.float64) * voxel_um)[triangles]
    double = np.cross(corners[:, 2] - corners[:, 0], corners[:, 1] - corners[:, 0])
    length = np.linalg.norm(double, axis=1)
    keep = length > 0
    points = corners.mean(axis=1) + np.array([part.start, 0, 0]) * voxel_um
    return Surface(points[keep], double[keep] / length[keep, None], length[keep] / 2)


def _faces(mask: NDArray[np.bool_], smooth: Float32, part: slice, thickness: int, voxel_um: Float) -> Surface:
    """Return the faces of voxels: those within the slices of `part`, and those to the next slice."""
    found = []
    for axis in range(3):
        rows = mask[part] if axis == 0 else mask[part.start : part.start + thickness]
        lower, upper = _pair(rows, axis)
        index = np.argwhere(lower != upper)
        if len(index):
            found.append(_weighted(index, axis, mask, smooth, part.start, voxel_um))
    if not found:
        return _nothing()
    return Surface(*(np.concatenate([getattr(each, name) for each in found]) for name in Surface.__annotations__))


def _pair(values: NDArray[np.bool_], axis: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return each voxel and its next neighbour along an axis."""
    count = values.shape[axis]
    return np.take(values, range(count - 1), axis), np.take(values, range(1, count), axis)


def _weighted(
    index: Index, axis: int, mask: NDArray[np.bool_], smooth: Float32, start: int, voxel_um: Float
) -> Surface:
    """Return the faces between voxels `index` and their next neighbours along an axis, weighted by their normals."""
    lower = index + np.array([start, 0, 0])
    step = np.zeros(3, np.intp)
    step[axis] = 1
    normals = -(_gradient(smooth, lower, voxel_um) + _gradient(smooth, lower + step, voxel_um))
    length = np.linalg.norm(normals, axis=1)
    sign = np.where(mask[tuple(lower.T)], 1.0, -1.0)
    flat = length <= 1e-9
    normals[flat, axis], length[flat] = sign[flat], 1.0
    normals /= length[:, None]
    # A face whose side does not fit to the smoothed surface belongs to a detail below its resolution.
    projection = np.clip(normals[:, axis] * sign, 0.0, 1.0)
    area = float(np.prod(voxel_um) / voxel_um[axis])
    return Surface((lower + step / 2) * voxel_um, normals, projection * area)


def _gradient(smooth: Float32, index: Index, voxel_um: Float) -> Float:
    """Return the gradient (1/µm) at voxels by central differences, one-sided at the border."""
    result = np.zeros((len(index), 3))
    for axis, side in enumerate(smooth.shape):
        above, below = index.copy(), index.copy()
        above[:, axis] = np.minimum(index[:, axis] + 1, side - 1)
        below[:, axis] = np.maximum(index[:, axis] - 1, 0)
        distance = (above[:, axis] - below[:, axis]) * voxel_um[axis]
        result[:, axis] = (smooth[tuple(above.T)] - smooth[tuple(below.T)]) / np.maximum(distance, voxel_um[axis])
    return result
