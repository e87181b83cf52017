"""The coarser levels of a multiscale volume: their shapes, and the 2 × 2 × 2 means or voxels of which they consist."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tomostain.io.metadata.placement import Placement
from tomostain.io.parallel import in_parallel

LARGEST_SIDE = 256
"""The pyramid ends at the first level whose sides are all at most this long."""

Shape = tuple[int, int, int]
Reduction = Literal["mean", "nearest", "mean_nonzero"]
"""How eight voxels become one of a coarser level: their mean; one of them, for labels; the mean of those that are not
0, for maps in which 0 means that there is no value."""


def pyramid_shapes(shape: Shape) -> list[Shape]:
    """Return the shapes (z, y, x) of all levels, the volume itself first; each halves every side, rounded up.

    Examples
    --------
    >>> pyramid_shapes((9, 1000, 600))
    [(9, 1000, 600), (5, 500, 300), (3, 250, 150)]
    """
    shapes = [shape]
    while max(shapes[-1]) > LARGEST_SIDE:
        z, y, x = ((n + 1) // 2 for n in shapes[-1])
        shapes.append((z, y, x))
    return shapes


def level_scales(
    shapes: list[Shape],
    voxel_um: tuple[float, float, float],
    placement: Placement = Placement(),
    reduction: Reduction = "mean",
) -> list[tuple[list[float], list[float]]]:
    """Return the voxel size and the centre of the first voxel (both z, y, x, µm) of each level.

    A side of one voxel is not halved. The centre moves because a coarse voxel is in the middle of the two, four or
    eight voxels that it replaces, along the axes of the volume. With the reduction "nearest" it does not move: a coarse
    voxel lies where the voxel lies that was taken, the first of the eight. Edges are then displaced by at most half a
    voxel of the coarse level, and not at all on average.
    """
    scales = [list(voxel_um)]
    for finer in shapes[:-1]:
        scales.append([step * (2.0 if n > 1 else 1.0) for step, n in zip(scales[-1], finer, strict=True)])
    share = 0.0 if reduction == "nearest" else 0.5
    offsets = [[share * (s - s0) for s, s0 in zip(scale, voxel_um, strict=True)] for scale in scales]
    return [(scale, list(placement.moved(offset).origin_um)) for scale, offset in zip(scales, offsets, strict=True)]


def halve(volume: NDArray[Any]) -> NDArray[Any]:
    """Average 2 × 2 × 2 voxels; an odd last plane, row or column counts twice.

    Parameters
    ----------
    volume : ndarray of uint8, uint16 or float32, shape (C, Z, Y, X)
        Channels first.

    Returns
    -------
    ndarray, shape (C, ceil(Z / 2), ceil(Y / 2), ceil(X / 2))
        Of the same type; integers are rounded to the nearest, halves upwards. Its memory has the same order of axes as
        that of `volume`.

    Examples
    --------
    >>> halve(np.array([0, 1, 2, 5, 9], dtype=np.uint8).reshape(1, 1, 1, 5)).ravel().tolist()
    [1, 4, 9]
    """
    starts = range(0, volume.shape[1], 2)
    # Two slices at a time: the sums stay in the cache of a core.
    halves = in_parallel(lambda start: _halve_slices(volume[:, start : start + 2]), starts)
    return _stack(volume, halves)


def halve_nonzero(volume: NDArray[Any]) -> NDArray[Any]:
    """Average those of 2 × 2 × 2 voxels that are not 0; the result is 0 where all are 0.

    Parameters
    ----------
    volume : ndarray of uint8, uint16 or float32, shape (C, Z, Y, X)
        Channels first.

    Returns
    -------
    ndarray, shape (C, ceil(Z / 2), ceil(Y / 2), ceil(X / 2))
        As of `halve`.

    Examples
    --------
    >>> halve_nonzero(np.array([0, 6, 2, 4, 0, 0, 5], dtype=np.uint8).reshape(1, 1, 1, 7)).ravel().tolist()
    [6, 3, 0, 5]
    """
    starts = range(0, volume.shape[1], 2)
    return _stack(volume, in_parallel(lambda start: _halve_nonzero_slices(volume[:, start : start + 2]), starts))


def _stack(volume: NDArray[Any], halves: list[NDArray[Any]]) -> NDArray[Any]:
    """Return the slices of the coarser level as one array."""
    result = np.empty_like(volume, shape=(volume.shape[0], len(halves), *halves[0].shape[2:]))
    for index, half in enumerate(halves):
        result[:, index] = half[:, 0]
    return result


def reduce(volume: NDArray[Any], reduction: Reduction) -> NDArray[Any]:
    """Return the next coarser level.

    Parameters
    ----------
    volume : ndarray, shape (C, Z, Y, X)
    reduction : {"mean", "nearest", "mean_nonzero"}
        The mean of 2 × 2 × 2 voxels (`halve`); the first of them, so that no new values appear; or the mean of those
        that are not 0 (`halve_nonzero`).

    Returns
    -------
    ndarray, shape (C, ceil(Z / 2), ceil(Y / 2), ceil(X / 2))

    Examples
    --------
    >>> reduce(np.array([2, 255, 5, 0, 3], dtype=np.uint8).reshape(1, 1, 1, 5), "nearest").ravel().tolist()
    [2, 5, 3]
    """
    if reduction == "nearest":
        return np.ascontiguousarray(volume[:, ::2, ::2, ::2])
    return halve_nonzero(volume) if reduction == "mean_nonzero" else halve(volume)


def _halve_slices(total: NDArray[Any]) -> NDArray[Any]:
    """Return `halve` of one or two slices (C, 1 or 2, Y, X)."""
    dtype = total.dtype
    sums = {"uint8": np.uint16, "uint16": np.uint32}.get(dtype.name, np.float32)
    for axis in (1, 2, 3):
        even, odd = _half(total, axis, 0), _half(total, axis, 1)
        if even.shape[axis] > odd.shape[axis]:
            odd = np.concatenate([odd, total.take([-1], axis=axis)], axis=axis)
        total = np.add(even, odd, dtype=sums)
    return np.asarray(((total + 4) // 8 if dtype.kind == "u" else total / 8), dtype=dtype)


def _halve_nonzero_slices(values: NDArray[Any]) -> NDArray[Any]:
    """Return `halve_nonzero` of one or two slices (C, 1 or 2, Y, X)."""
    dtype = values.dtype
    total = values.astype(np.uint32 if dtype.kind == "u" else np.float32)
    count = (values != 0).astype(total.dtype)
    for axis in (1, 2, 3):  # an odd last row has no neighbour, which does not change its mean
        total, count = (np.add.reduceat(each, range(0, each.shape[axis], 2), axis=axis) for each in (total, count))
    count = np.maximum(count, 1)
    return np.asarray((total + count // 2) // count if dtype.kind == "u" else total / count, dtype=dtype)


def _half(values: NDArray[Any], axis: int, first: int) -> NDArray[Any]:
    """Return every second plane along an axis."""
    index = [slice(None)] * values.ndim
    index[axis] = slice(first, None, 2)
    return values[tuple(index)]
