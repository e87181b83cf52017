"""The largest sphere that lies in a phase and contains a voxel, for all voxels of a block.

The local thickness at a point is the diameter of the largest sphere that lies in the phase and contains the point
(Hildebrand & Rüegsegger 1997, doi:10.1046/j.1365-2818.1997.1340694.x). A voxel at position c with the distance r(c) to
the nearest voxel outside of the phase is the centre of a sphere that contains every x with ``|x - c| < r(c)``.

The spheres are painted by classes of radius, from large to small. The union of the spheres of a class is where
``min over c of |x - c|² - r(c)²`` is negative. This minimum separates into one minimum per axis (van den Boomgaard et
al. 1996, Morphological structuring functions; as for distance transforms: Felzenszwalb & Huttenlocher 2012,
doi:10.4086/toc.2012.v008a019), which NumPy computes for a whole block at once.
"""

import functools
import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomostain.deprecation import renamed
from tomostain.measure.morphometry.squared_distances import Metric, Squared, lower_envelope

EXACT_UNTIL = 64
"""Squared radii up to this, in squared voxels, are separate classes."""
RELATIVE_WIDTH = 0.03
"""Relative width of the classes of larger radii."""
_COARSE_FROM = 64
_ROUNDING = 1e-6
"""Relative error of a squared distance in float32 is smaller than this."""


@dataclass(frozen=True)
class RadiusClass:
    """Spheres of similar radius.

    Attributes
    ----------
    low, high : float
        Squared radius, squared units: ``low <= r² < high``.
    radius : float
        The radius that stands for the class, units.
    stride : int
        The spheres are painted on every `stride`-th voxel. 1 up to a radius of 64 units.
    """

    low: float
    high: float
    radius: float
    stride: int


def radius_classes(largest: float, metric: Metric) -> tuple[RadiusClass, ...]:
    """Return classes for squared radii up to `largest`, squared units, from large to small.

    For cubic voxels every radius up to 8 voxels has a separate class, so that the result is exact there. For other
    voxels a class up to there contains the lengths between voxels that are at most 3 % and 1 squared unit apart. Larger
    radii are in classes 3 % wide. The middle of the class is reported: the error is at most 1.5 %.

    Examples
    --------
    >>> [round(each.radius**2) for each in radius_classes(3, Metric.of((10.0, 10.0, 10.0)))]
    [3, 2, 1]
    >>> [round(each.radius**2) for each in radius_classes(6, Metric.of((20.0, 10.0, 10.0)))]
    [6, 5, 4, 2, 1]
    """
    classes = _exact_classes(largest) if metric.cubic else _lattice_classes(largest, metric.steps)
    low = classes[-1].high if classes else 1.0
    while low <= largest:
        high = low * (1 + RELATIVE_WIDTH) ** 2
        radius = (math.sqrt(low) + math.sqrt(high)) / 2
        stride = 1 if radius < _COARSE_FROM else 2 ** int(math.log2(radius / (_COARSE_FROM / 2)))
        classes.append(RadiusClass(low, high, radius, stride))
        low = high
    return tuple(reversed(classes))


def _exact_classes(largest: float) -> list[RadiusClass]:
    """Return classes that contain one integer each, from small to large."""
    integers = range(1, min(math.floor(largest), EXACT_UNTIL) + 1)
    return [RadiusClass(float(n), float(n + 1), math.sqrt(n), 1) for n in integers]


def _lattice_classes(largest: float, steps: tuple[float, ...]) -> list[RadiusClass]:
    """Return classes of the lengths between the voxels of a grid that are not cubic, from small to large.

    A class begins at its shortest length. So the smallest radii, which are far apart, are exact.
    """
    end = min(largest, EXACT_UNTIL)
    squares = [(np.arange(2 + math.sqrt(EXACT_UNTIL) / step) * step) ** 2 for step in steps]
    lengths = np.unique(functools.reduce(np.add.outer, squares))
    classes, first = [], 1
    while lengths[first] <= end * (1 + _ROUNDING):
        low = float(lengths[first])
        after = int(np.searchsorted(lengths, min(low * (1 + RELATIVE_WIDTH) ** 2, low + 1) * (1 - _ROUNDING)))
        edges = (low * (1 - _ROUNDING), float(lengths[after]) * (1 - _ROUNDING))
        classes.append(RadiusClass(*edges, (math.sqrt(low) + math.sqrt(lengths[after - 1])) / 2, 1))
        first = after
    return classes


def largest_spheres(
    squared: Squared,
    metric: Metric,
    classes: tuple[RadiusClass, ...],
    *,
    inner: slice,
    first: int = 0,
    threads: int = 2,
) -> NDArray[np.float32]:
    """Return the radius of the largest sphere that contains each voxel, block by block.

    Parameters
    ----------
    squared : ndarray, of two or three dimensions
        Squared distances inside the phase, 0 outside. All axes but the first are complete.
    metric : Metric
    classes : tuple of RadiusClass
        From large to small; the first contains the largest radius of the whole volume.
    inner : slice
        Which indices of the first axis are wanted. The others are context, which must extend `context_slices` beyond
        them, or to the ends of the volume.
    first : int
        Position of ``squared[0]`` in the volume.
    threads : int
        Blocks that are computed at once.

    Returns
    -------
    ndarray of float32
        Radii in units, for the indices `inner` of the first axis. 0 outside of the phase.
    """
    result = np.zeros((inner.stop - inner.start, *squared.shape[1:]), np.float32)
    if not classes:
        return result
    stride = max(each.stride for each in classes)
    halo = tuple(-(-(metric.reach(axis, classes[0].high) + stride) // stride) * stride for axis in range(squared.ndim))
    side = -(-min(max(4 * max(halo), 64), 128) // stride) * stride
    starts = [range((first + inner.start) // stride * stride - first, inner.stop, side)]
    starts += [range(0, length, side) for length in squared.shape[1:]]

    def compute(corner: tuple[int, ...]) -> None:
        ends = [inner.stop, *squared.shape[1:]]
        sides = [min(side, -(-(end - start) // stride) * stride) for start, end in zip(corner, ends, strict=True)]
        lows = [start - width for start, width in zip(corner, halo, strict=True)]
        highs = [start + length + width for start, length, width in zip(corner, sides, halo, strict=True)]
        radii = paint_spheres(_block(squared, lows, highs), halo, metric, classes)
        cut = max(inner.start - corner[0], 0)
        place = (slice(corner[0] + cut - inner.start, corner[0] + sides[0] - inner.start),)
        place += tuple(slice(start, start + length) for start, length in zip(corner[1:], sides[1:], strict=True))
        target = result[place]
        target[...] = radii[(slice(cut, cut + len(target)), *(slice(0, n) for n in target.shape[1:]))]

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(compute, itertools.product(*starts)):
            pass
    return result


def context_slices(metric: Metric, classes: tuple[RadiusClass, ...]) -> int:
    """Return how many slices around the inner ones `largest_spheres` needs."""
    if not classes:
        return 0
    return metric.reach(0, classes[0].high) + 2 * max(each.stride for each in classes)


def _block(array: Squared, lows: list[int], highs: list[int]) -> Squared:
    """Return a part of an array, with zeros where it reaches beyond the array."""
    inside = tuple(
        slice(max(low, 0), max(min(high, side), 0)) for low, high, side in zip(lows, highs, array.shape, strict=True)
    )
    block: Squared = np.zeros([high - low for low, high in zip(lows, highs, strict=True)], array.dtype)
    place = tuple(slice(part.start - low, part.stop - low) for part, low in zip(inside, lows, strict=True))
    block[place] = array[inside]
    return block


def paint_spheres(
    squared: Squared, halo: tuple[int, ...], metric: Metric, classes: tuple[RadiusClass, ...]
) -> NDArray[np.float32]:
    """Return the radius of the largest sphere that contains each voxel of a block.

    Parameters
    ----------
    squared : ndarray, of two or three dimensions
        Squared distances of the block with its halo. 0 beyond the volume.
    halo : tuple of int
        Voxels around the block on each side: at least the reach of the largest class. Halo, sides and the position of
        the block in the volume are multiples of the largest stride, so that all blocks use the same coarse grid.
    metric : Metric
    classes : tuple of RadiusClass
        From large to small.

    Returns
    -------
    ndarray of float32
        Radii in units, without the halo. 0 outside of the phase.
    """
    core = tuple(slice(width, side - width) for width, side in zip(halo, squared.shape, strict=True))
    missing = squared[core] > 0
    result = np.zeros(missing.shape, np.float32)
    highest = float(squared.max(initial=0))
    for each in classes:
        if each.low > highest:
            continue
        if not missing.any():
            break
        union = _union(squared, halo, metric, each)
        if union is not None:
            region, covered = union
            covered &= missing[region]
            result[region][covered] = each.radius
            missing[region] &= ~covered
    return result


Region = tuple[slice, ...]


def _union(
    squared: Squared, halo: tuple[int, ...], metric: Metric, each: RadiusClass
) -> tuple[Region, NDArray[np.bool_]] | None:
    """Return where the spheres of a class are in the block, or None if there are none.

    Returns
    -------
    region : tuple of slice
        The part of the block, without its halo, in which spheres are.
    covered : ndarray of bool
        Whether a sphere contains each voxel of the region.
    """
    stride = each.stride
    reaches = [metric.reach(axis, each.high / stride**2) for axis in range(squared.ndim)]
    window = tuple(
        slice(width - stride * reach, side - width + stride * reach, stride)
        for side, width, reach in zip(squared.shape, halo, reaches, strict=True)
    )
    part = squared[window]
    member = part >= each.low
    member &= part < each.high
    region = _reached(member, reaches)
    if region is None:
        return None
    needed = tuple(slice(side.start, side.stop + 2 * reach) for side, reach in zip(region, reaches, strict=True))
    part, member = part[needed], member[needed]
    dtype = squared.dtype.type
    far = dtype(16000) if squared.dtype == np.int16 else dtype(1 << 29)
    values: Squared = np.where(member, -(part // stride**2) if stride > 1 else -part, far)
    for axis, reach in enumerate(reaches):
        values = lower_envelope(values, axis, reach, metric.steps[axis], valid=True)
    tie = _ROUNDING * each.high if squared.dtype == np.float32 else 0  # A voxel at the distance r is not contained.
    covered: NDArray[np.bool_] = values < -tie
    if stride > 1:
        for axis in range(covered.ndim):
            covered = covered.repeat(stride, axis)
    return tuple(slice(side.start * stride, side.stop * stride) for side in region), covered


def _reached(member: NDArray[np.bool_], reaches: list[int]) -> Region | None:
    """Return the part of the inner region in which spheres of the members can be, or None if it is empty.

    The array extends beyond the inner region by the reach on each side, so that a member at m reaches the positions
    ``m - 2 reach`` to ``m`` of the inner region.
    """
    region = []
    for axis, reach in enumerate(reaches):
        others = tuple(each for each in range(member.ndim) if each != axis)
        positions = np.flatnonzero(member.any(axis=others))
        if not len(positions):
            return None
        low, high = max(int(positions[0]) - 2 * reach, 0), min(int(positions[-1]) + 1, member.shape[axis] - 2 * reach)
        if low >= high:
            return None
        region.append(slice(low, high))
    return tuple(region)


__getattr__ = renamed(
    __name__,
    {
        "squared_distances": "tomostain.measure.morphometry.squared_distances:squared_distances",
    },
)
