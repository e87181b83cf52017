"""The surface of the implant as small elements with position, normal and area, block by block.

Two surfaces are offered. The faces of the voxels form a stepped surface, whose area is up to √3 too large; each face is
therefore weighted by the projection of its area onto the estimated surface (Flin et al. 2005, IEEE Trans. Image
Process. 14, 585, doi:10.1109/TIP.2005.846021). The sub-voxel surface is the level 0.5 of the smoothed implant, made of
triangles (marching cubes: Lewiner et al. 2003, doi:10.1080/10867651.2003.10487582; `skimage.measure.marching_cubes`).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.measure.morphometry.implant import Implant
from tomostain.measure.morphometry.z_blocks import ZBlock

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]
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


def implant_surface(implant: Implant, block: ZBlock, kind: Kind) -> Surface:
    """Return the elements of the surface that belong to a z block.

    An element lies between two slices, or in one; it belongs to the block of the lower one. So each element of a volume
    belongs to exactly one block. Where the implant is cut by a face of the volume, there is no surface.

    Parameters
    ----------
    implant : Implant
    block : ZBlock
        Its `start` and `stop` count; its overlap does not matter.
    kind : {"faces", "triangles"}
        Faces of voxels, or the sub-voxel surface.

    Returns
    -------
    Surface
    """
    margin = smoothing_slices(kind)
    depth = implant.shape[0]
    stop = min(block.stop + 1, depth)
    low, high = implant.box[0].start - margin, implant.box[0].stop + margin
    if block.start >= high or stop <= low:
        return _join([])
    first, last = max(0, block.start - margin), min(depth, stop + margin)
    window = _window(implant, margin)
    mask = implant.read(first, last)[:, window[0], window[1]]
    smooth = ndimage.gaussian_filter(mask.astype(np.float32), SMOOTHING[kind], truncate=TRUNCATE, mode="nearest")
    part = slice(block.start - first, stop - first)
    grid = _Grid(np.array([first, window[0].start, window[1].start]), np.array(implant.voxel_um))
    if kind == "triangles":
        return _triangles(smooth, part, grid)
    return _faces(mask, smooth, part, block.stop - block.start, grid)


@dataclass(frozen=True)
class _Grid:
    """Position of a part of the volume: its first voxel, and the voxel size (µm)."""

    first: Index
    voxel_um: Float

    def to_um(self, index: NDArray[np.floating] | Index) -> Float:
        # In this order the result has the same bits for every block, so that rays end in the same voxels.
        return np.asarray((index + self.first) * self.voxel_um, dtype=np.float64)


def _join(parts: list[Surface]) -> Surface:
    """Return all elements of some surfaces."""
    empty = Surface(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0))
    every = [empty, *parts]
    return Surface(*(np.concatenate([getattr(each, name) for each in every]) for name in Surface.__annotations__))


def _window(implant: Implant, margin: int) -> Box:
    """Return the rows and columns of the implant, with a margin."""
    _, rows, columns = implant.box
    return (
        slice(max(0, rows.start - margin), min(implant.shape[1], rows.stop + margin)),
        slice(max(0, columns.start - margin), min(implant.shape[2], columns.stop + margin)),
    )


def _triangles(smooth: Float32, part: slice, grid: _Grid) -> Surface:
    """Return the triangles between the slices of `part`, layer by layer.

    Marching cubes returns float32, whose rounding would depend on the slices below in the block.
    """
    from skimage.measure import marching_cubes

    parts = []
    for z in range(part.start, part.stop - 1):
        layer = smooth[z : z + 2]
        if min(layer.shape) < 2 or not layer.min() < 0.5 < layer.max():
            continue
        vertices, triangles, _, _ = marching_cubes(layer, 0.5, allow_degenerate=False)
        corners = vertices.astype(np.float64)[triangles]
        sides = (corners[:, 1:] - corners[:, :1]) * grid.voxel_um
        double = np.cross(sides[:, 1], sides[:, 0])
        length = np.linalg.norm(double, axis=1)
        keep = length > 0
        points = grid.to_um(corners.mean(axis=1)[keep] + np.array([z, 0, 0]))
        parts.append(Surface(points, double[keep] / length[keep, None], length[keep] / 2))
    return _join(parts)


def _faces(mask: Mask, smooth: Float32, part: slice, thickness: int, grid: _Grid) -> Surface:
    """Return the faces of voxels: those between the slices of `part`, and those within its first `thickness` slices."""
    faces = []
    for axis in range(3):
        rows = mask[part] if axis == 0 else mask[part.start : part.start + thickness]
        lower, upper = _pair(rows, axis)
        index = np.argwhere(lower != upper)
        if len(index):
            faces.append(_weighted(index + np.array([part.start, 0, 0]), axis, mask, smooth, grid))
    return _join(faces)


def _pair(values: Mask, axis: int) -> tuple[Mask, Mask]:
    """Return each voxel and its next neighbour along an axis."""
    count = values.shape[axis]
    return np.take(values, range(count - 1), axis), np.take(values, range(1, count), axis)


def _weighted(lower: Index, axis: int, mask: Mask, smooth: Float32, grid: _Grid) -> Surface:
    """Return the faces between voxels `lower` and their next neighbours along an axis, weighted by their normals."""
    voxel_um = grid.voxel_um
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
    return Surface(grid.to_um(lower + step / 2), normals, projection * area)


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
