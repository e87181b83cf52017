"""Planes of any orientation through the volumes of the view, in tiles whose pixels match the levels of the pyramid."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tomostain.geometry.oblique import oblique_axes
from tomostain.geometry.section import interpolate
from tomostain.integers import to_integers
from tomostain.view.browser.pyramid import Bytes, Level, Pyramid

Float64 = NDArray[np.float64]
Axis = Literal["z", "y", "x"]

TILE_PX = 256
"""Side of a tile, px."""
MAX_COST_BYTES = 2**26
"""A tile for which more bytes would have to be read is sampled from a coarser level."""
_SUBTILE_PX = 64
"""An oblique tile is sampled in parts of this side, each from the smallest block that holds it."""
_MIN_SUBTILE_PX = 8
"""Side of the parts where a pixel is many voxels wide, because there is no coarser level."""
_CORNERS = np.ix_((0, -1), (0, -1))
_MAX_MEAN = 4
"""A pixel of a plane across an axis is the mean of at most this many samples along each side."""
_EXACT = 1e-4
"""Positions closer than this to the centre of a voxel, in voxels, take its value."""
_STANDARD = {
    "z": ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "y": ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
    "x": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
}


@dataclass(frozen=True)
class Plane:
    """A plane in the volume.

    Attributes
    ----------
    origin_um : ndarray of float64, shape (3,)
        The point (z, y, x) at (0, 0) of the plane, µm.
    down, right : ndarray of float64, shape (3,)
        Unit vectors (z, y, x) down the rows and along the columns.
    """

    origin_um: Float64
    down: Float64
    right: Float64

    @property
    def is_standard(self) -> bool:
        """Whether the plane is across an axis of the volume."""
        return bool(np.count_nonzero(self.down) == np.count_nonzero(self.right) == 1)


@dataclass(frozen=True)
class Tile:
    """A square of `TILE_PX` pixels of a plane.

    Attributes
    ----------
    level : int
        A pixel is ``2**level`` times as large as a pixel of level 0.
    row, column : int
        Index of the tile. Tile 0 begins half a pixel of level 0 before the origin of the plane.
    """

    level: int
    row: int
    column: int

    def places_um(self, base_um: float) -> tuple[Float64, Float64]:
        """Return the positions of the rows and of the columns on the plane, µm, for pixels of `base_um` at level 0."""
        return self._along(self.row, base_um), self._along(self.column, base_um)

    def _along(self, index: int, base_um: float) -> Float64:
        pixels = np.arange(TILE_PX, dtype=np.float64) + 0.5 + index * TILE_PX
        return (pixels * 2.0**self.level - 0.5) * base_um


def standard_plane(axis: Axis, at_um: float) -> Plane:
    """Return the plane across an axis. Its coordinates are those of the volume; z is down in the planes across y and x.

    Examples
    --------
    >>> plane = standard_plane("y", 30)
    >>> plane.origin_um.tolist(), plane.down.tolist(), plane.right.tolist()
    ([0.0, 30.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0])
    """
    down, right = (np.array(vector) for vector in _STANDARD[axis])
    return Plane(at_um * np.array([float(axis == name) for name in "zyx"]), down, right)


def oblique_plane(tilt_x_deg: float, tilt_y_deg: float, offset_um: float, middle_um: Sequence[float]) -> Plane:
    """Return a tilted plane at a distance from a point, along its normal; see `oblique_axes`."""
    down, right, normal = oblique_axes(tilt_x_deg, tilt_y_deg)
    return Plane(np.asarray(middle_um, np.float64) + offset_um * normal, down, right)


def sample_tile(pyramid: Pyramid, plane: Plane, tile: Tile, base_um: float) -> tuple[Bytes, NDArray[np.bool_]] | None:
    """Sample a tile of a plane from the level of the pyramid that fits its pixels.

    Parameters
    ----------
    pyramid : Pyramid
    plane : Plane
    tile : Tile
    base_um : float
        Pixel size of level 0, µm.

    Returns
    -------
    values : ndarray of uint8, shape (TILE_PX, TILE_PX, channels)
        Trilinear interpolation, or the nearest voxel of labels. 0 outside the volume.
    inside : ndarray of bool, shape (TILE_PX, TILE_PX)
        Pixels inside the volume, whose border is that of the outermost voxels.
    None is returned if the tile is outside of the volume.

    Raises
    ------
    InputError
        If the stored data are damaged.
    """
    pixel_um = base_um * 2.0**tile.level
    rows, columns = tile.places_um(base_um)
    if plane.is_standard:
        return _standard_tile(pyramid, plane, rows, columns, pixel_um)
    points = plane.origin_um + rows[:, None, None] * plane.down + columns[None, :, None] * plane.right
    inside = np.asarray(_inside(pyramid, points, (0, 1, 2)).all(axis=-1))
    if not inside.any():
        return None
    level = _choose_level(pyramid, plane, pixel_um)
    values = np.zeros((TILE_PX, TILE_PX, pyramid.channels), np.uint8)
    for part in _parts(_part_px(pyramid, level, pixel_um)):
        if inside[part].any():
            values[part] = _sample_oblique(pyramid, level, points[part])
    values[~inside] = 0
    return values, inside


def _parts(side: int) -> list[tuple[slice, slice]]:
    """Return the parts of a tile that are sampled at once."""
    return [
        np.s_[row : row + side, column : column + side] for row, column in product(range(0, TILE_PX, side), repeat=2)
    ]


def _part_px(pyramid: Pyramid, level: int, pixel_um: float) -> int:
    """Return the side of the parts, px: less where a pixel is wider than a voxel, so that their blocks stay small."""
    side, share = _SUBTILE_PX, pixel_um / min(pyramid.levels[level].voxel_um)
    while side > _MIN_SUBTILE_PX and share >= 2:
        side, share = side // 2, share / 2
    return side


def _inside(pyramid: Pyramid, points_um: Float64, axes: Sequence[int]) -> NDArray[np.bool_]:
    """Return whether coordinates along some axes are inside the volume."""
    finest, chosen = pyramid.levels[0], list(axes)
    index = (points_um - np.take(finest.origin_um, chosen)) / np.take(finest.voxel_um, chosen)
    return np.asarray((index > -0.5 - _EXACT) & (index < np.take(finest.shape, chosen) - 0.5 + _EXACT))


def _choose_level(pyramid: Pyramid, plane: Plane, pixel_um: float) -> int:
    """Return the coarsest level that resolves the pixels, or a coarser one if too many bytes would have to be read.

    All tiles of a plane have the same level, which is chosen for a tile in the middle of the volume. Of a plane that
    is in one brick or between two, these are always read: a whole slice of a µCT may be larger than the limit.
    """
    parts_um = [points.reshape(-1, 3) for points in _middle_parts(pyramid, plane, pixel_um)]
    fitting = [i for i, level in enumerate(pyramid.levels) if min(level.voxel_um) <= pixel_um * 1.01]
    for index in range(max(fitting, default=0), len(pyramid.levels) - 1):
        level, bricks = pyramid.levels[index], set[tuple[int, ...]]()
        for part in parts_um:
            bricks.update(product(*level.brick_ranges(*_bounds(_positions(level, part)))))
        if len(bricks) <= 2 or len(bricks) * math.prod(level.brick) * pyramid.channels <= MAX_COST_BYTES:
            return index
    return len(pyramid.levels) - 1


def _middle_parts(pyramid: Pyramid, plane: Plane, pixel_um: float) -> list[Float64]:
    """Return the corners, shape (2, 2, 3), of the parts of a tile in the middle of the volume that are read at once."""
    finest = pyramid.levels[0]
    middle = finest.origin_um + np.multiply(np.subtract(finest.shape, 1), finest.voxel_um) / 2
    along = (np.arange(TILE_PX) - (TILE_PX - 1) / 2) * pixel_um
    rows, columns = (along + (middle - plane.origin_um) @ axis for axis in (plane.down, plane.right))
    points = plane.origin_um + rows[:, None, None] * plane.down + columns[None, :, None] * plane.right
    parts = _parts(TILE_PX if plane.is_standard else _SUBTILE_PX)
    return [points[part][_CORNERS] for part in parts]


def _positions(level: Level, points_um: Float64) -> Float64:
    """Return positions in voxels, with those outside moved to the border."""
    return np.clip((points_um - level.origin_um) / level.voxel_um, 0, np.asarray(level.shape) - 1.0)


def _bounds(positions: Float64) -> tuple[list[int], list[int]]:
    """Return first and end of the smallest block that holds the neighbours of positions in voxels."""
    index = positions.reshape(-1, 3)
    first = to_integers(np.floor(index.min(axis=0) + _EXACT), np.int64, "positions")
    end = to_integers(np.ceil(index.max(axis=0) - _EXACT), np.int64, "positions") + 1
    return first.tolist(), np.maximum(end, first + 1).tolist()


def _standard_tile(
    pyramid: Pyramid, plane: Plane, rows: Float64, columns: Float64, pixel_um: float
) -> tuple[Bytes, NDArray[np.bool_]] | None:
    """Sample a plane across an axis: along one axis after the other. Voxels that match the pixels are copied."""
    down, right = int(np.argmax(plane.down)), int(np.argmax(plane.right))
    across = 3 - down - right
    um = {across: plane.origin_um[across : across + 1], down: plane.origin_um[down] + rows}
    um[right] = plane.origin_um[right] + columns
    used = {axis: _inside(pyramid, um[axis][:, None], [axis])[:, 0] for axis in um}
    if not all(each.any() for each in used.values()):
        return None
    um = {axis: um[axis][used[axis]] for axis in um}
    index = _choose_level(pyramid, plane, pixel_um)
    counts = {axis: _samples(pyramid, index, axis, pixel_um) for axis in (down, right)}
    for axis, count in counts.items():
        spread = ((np.arange(count) + 0.5) / count - 0.5) * pixel_um
        um[axis] = (um[axis][:, None] + spread).ravel()
    sampled = _sample_standard(pyramid, index, um, (across, down, right))
    if max(counts.values()) > 1:
        (high, wide), (height, width) = counts.values(), sampled.shape[:2]
        split = (height // high, high, width // wide, wide, pyramid.channels)
        sampled = to_integers(sampled.reshape(split).mean(axis=(1, 3), dtype=np.float32), np.uint8, "plane", clip=True)
    values = np.zeros((TILE_PX, TILE_PX, pyramid.channels), np.uint8)
    values[np.ix_(used[down], used[right])] = sampled
    return values, used[down][:, None] & used[right][None, :]


def _samples(pyramid: Pyramid, index: int, axis: int, pixel_um: float) -> int:
    """Return the number of samples along an axis of which a pixel is the mean: the voxels in it, as far as allowed."""
    share = pixel_um / pyramid.levels[index].voxel_um[axis]
    return 1 if pyramid.nearest else max(1, min(round(share), _MAX_MEAN))


def _sample_standard(
    pyramid: Pyramid, index: int, um: Mapping[int, Float64], axes: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Sample at all combinations of coordinates along the axes of the volume.

    Parameters
    ----------
    pyramid : Pyramid
    index : int
        The level.
    um : mapping of int to ndarray
        Ascending coordinates along each axis, µm.
    axes : tuple of int
        The axis across the plane, with one coordinate; that of the rows; that of the columns.
    """
    level = pyramid.levels[index]
    along = {
        axis: np.clip((um[axis] - level.origin_um[axis]) / level.voxel_um[axis], 0, level.shape[axis] - 1.0)
        for axis in axes
    }
    first, end = _bounds(np.stack([along[axis][[0, -1]] for axis in (0, 1, 2)], axis=-1))
    values: NDArray[np.uint8] | NDArray[np.float32] = pyramid.block(index, first, end)
    for axis in axes:
        values = _along(values, axis, along[axis] - first[axis], nearest=pyramid.nearest)
    _, down, right = axes
    plain = np.moveaxis(values, (down, right), (0, 1)).reshape(len(um[down]), len(um[right]), pyramid.channels)
    return to_integers(plain, np.uint8, "plane", clip=True) if plain.dtype != np.uint8 else plain.astype(np.uint8)


def _along(
    values: NDArray[Any], axis: int, index: Float64, *, nearest: bool
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Interpolate linearly along one axis."""
    low = np.floor(index + _EXACT)
    share = np.clip(index - low, 0, 1)
    lower = to_integers(low, np.int64, "positions")
    upper = np.minimum(lower + 1, values.shape[axis] - 1)
    if nearest:
        return values.take(np.where(share < 0.5, lower, upper), axis=axis)
    if (share <= _EXACT).all():
        return values.take(lower, axis=axis)
    weight = share.astype(np.float32).reshape([-1 if each == axis else 1 for each in range(values.ndim)])
    below, above = (values.take(chosen, axis=axis).astype(np.float32) for chosen in (lower, upper))
    return np.asarray(below + (above - below) * weight, np.float32)


def _sample_oblique(pyramid: Pyramid, index: int, points_um: Float64) -> Bytes:
    """Sample points (rows, columns, 3) from the smallest block that holds them."""
    positions = _positions(pyramid.levels[index], points_um)
    first, end = _bounds(positions)
    block, order = pyramid.block(index, first, end), 0 if pyramid.nearest else 1
    sampled = [interpolate(block[..., channel], positions - first, order=order) for channel in range(pyramid.channels)]
    return to_integers(np.stack(sampled, axis=-1), np.uint8, "plane", clip=True)
