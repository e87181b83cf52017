"""Points on the boundary of the implant, to fit bodies to."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomostain.measure.classes import TissueClass
from tomostain.measure.morphometry.implant import Implant
from tomostain.measure.morphometry.z_blocks import BLOCK_BYTES, z_blocks

Float = NDArray[np.float64]
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class BoundaryPoints:
    """A sample of the boundary of the implant.

    Attributes
    ----------
    points_um : ndarray of float64, shape (n, 3)
        Centres of voxel faces between implant and surrounding, (z, y, x), µm.
    normals : ndarray of float64, shape (n, 3)
        Outward normals of the faces. They are parallel to the axes of the volume.
    total : int
        All such faces of the volume.
    """

    points_um: Float
    normals: Float
    total: int


def boundary_points(implant: Implant, count: int = 4000, *, max_bytes: int = BLOCK_BYTES) -> BoundaryPoints:
    """Return a sample of the voxel faces between implant and surrounding.

    Faces on the border of the volume, and next to voxels that are not measured, are left out: the implant is cut there,
    or unknown. The selection is pseudo-random by position, so that it does not depend on the blocks.

    Parameters
    ----------
    implant : Implant
    count : int
        Faces to return; all if there are fewer.
    max_bytes : int
        Memory of a z block, 24 bytes per voxel.

    Returns
    -------
    BoundaryPoints
    """
    keys, places, axes, signs = _no_faces()
    total = 0
    for block in z_blocks(implant.shape, overlap=1, bytes_per_voxel=24.0, max_bytes=max_bytes):
        if block.start >= implant.box[0].stop or block.stop <= implant.box[0].start:
            continue
        faces = _faces(implant, block.first, block.last, block.start, block.stop)
        total += len(faces[0])
        joined = [np.concatenate(pair) for pair in zip((keys, places, axes, signs), faces, strict=True)]
        order = np.argsort(joined[0], kind="stable")[:count]
        keys, places, axes, signs = (each[order] for each in joined)
    normals = np.zeros((len(axes), 3))
    normals[np.arange(len(axes)), axes] = signs
    points = np.stack(np.unravel_index(places, implant.shape), axis=1) + normals / 2
    return BoundaryPoints(points * np.array(implant.voxel_um), normals, total)


Faces = tuple[NDArray[np.integer], ...]
"""Sort key, voxel, axis and direction of faces."""


def _no_faces() -> Faces:
    return np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)


def _faces(implant: Implant, first: int, last: int, start: int, stop: int) -> Faces:
    """Return the faces whose implant voxel lies in the slices `start` to `stop`: key, voxel, axis and direction."""
    inside = implant.read(first, last)
    outside = ~inside & (implant.labels.read(first, last) != TissueClass.NOT_MEASURED)
    strides = np.array([implant.shape[1] * implant.shape[2], implant.shape[2], 1])
    base = first * strides[0]
    parts = [_no_faces()]
    for axis in range(3):
        low, high = [slice(None)] * 3, [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        for sign, body, beyond in ((1, low, high), (-1, high, low)):
            index = np.argwhere(inside[tuple(body)] & outside[tuple(beyond)])
            if sign < 0:
                index[:, axis] += 1
            index = index[(index[:, 0] >= start - first) & (index[:, 0] < stop - first)]
            places = index @ strides + base
            keys = (places.astype(np.uint64) * np.uint64(6) + np.uint64(2 * axis + (sign > 0))) * _GOLDEN
            same = np.ones(len(index), np.int64)
            parts.append((keys, places, axis * same, sign * same))
    columns = list(zip(*parts, strict=True))
    return tuple(np.concatenate(column) for column in columns)
