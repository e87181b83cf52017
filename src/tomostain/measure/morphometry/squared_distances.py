"""Squared Euclidean distances in a grid whose voxels may be longer along one axis, as integers."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Squared = NDArray[np.int16] | NDArray[np.int32] | NDArray[np.float32]
"""Squared lengths in squared units, or their negative."""


CUBIC_TOLERANCE = 1e-3
"""Voxels whose sides differ by less than this count as cubic: files store rounded sizes (ImageJ 1e-6 pixels per µm)."""
_LARGEST_INT16 = 10_000
_CHUNK = 1 << 17


@dataclass(frozen=True)
class Metric:
    """The unit of length of a grid, and the squares of the steps along its axes.

    Attributes
    ----------
    unit_um : float
        The smallest voxel size, µm; the geometric mean of the sizes for cubic voxels.
    steps : tuple of float
        Voxel size (z, y, x) divided by the unit, all 1 for cubic voxels.
    """

    unit_um: float
    steps: tuple[float, ...]

    @classmethod
    def of(cls, voxel_um: tuple[float, ...]) -> "Metric":
        """Return the metric of a voxel size (z, y, x) or a pixel size (y, x), µm.

        Sizes that differ by less than `CUBIC_TOLERANCE` count as equal.
        """
        unit = min(voxel_um)
        if max(voxel_um) <= unit * (1 + CUBIC_TOLERANCE):
            equal = max(voxel_um) == unit
            return cls(unit if equal else math.prod(voxel_um) ** (1 / len(voxel_um)), (1.0,) * len(voxel_um))
        steps = tuple(1.0 if math.isclose(size, unit, rel_tol=1e-6) else size / unit for size in voxel_um)
        return cls(unit, steps)

    @property
    def cubic(self) -> bool:
        """Whether all steps are equal. Squared distances are integers then."""
        return all(step == 1 for step in self.steps)

    def dtype(self, squared: float) -> type[np.int16] | type[np.int32] | type[np.float32]:
        """Return the type for squared distances up to `squared`, squared units."""
        if not self.cubic:
            return np.float32
        return np.int16 if squared <= _LARGEST_INT16 else np.int32

    def reach(self, axis: int, squared: float) -> int:
        """Return the largest number of steps along an axis that is shorter than a length given by its square."""
        return max(math.ceil(math.sqrt(squared) / self.steps[axis]) - 1, 0)


def lower_envelope(values: Squared, axis: int, reach: int, step: float, *, valid: bool = False) -> Squared:
    """Return ``min over k of values(x + k) + (k step)²`` along one axis, for ``|k| <= reach``.

    Parameters
    ----------
    values : ndarray
        Integers must not overflow when ``(reach step)²`` is added.
    axis : int
    reach : int
    step : float
    valid : bool
        Return only the positions whose whole window lies in the array: `reach` less on both sides.

    Returns
    -------
    ndarray
    """
    n = values.shape[axis]
    first, last = (reach, n - reach) if valid else (0, n)
    before: list[slice] = [slice(None)] * values.ndim

    def along(start: int, stop: int) -> tuple[slice, ...]:
        return (*before[:axis], slice(start, stop))

    result = values[along(first, last)].copy()
    raised = np.empty_like(values)
    for k in range(1, reach + 1):
        np.add(values, values.dtype.type((k * step) ** 2), out=raised)
        low, high = max(first, k), min(last, n - k)
        if low < last:
            part = result[along(low - first, last - first)]
            np.minimum(part, raised[along(low - k, last - k)], out=part)
        if high > first:
            part = result[along(0, high - first)]
            np.minimum(part, raised[along(first + k, high + k)], out=part)
    return result


def squared_distances(inside: NDArray[np.bool_], metric: Metric, limit: float) -> Squared:
    """Return the squared distance to the nearest voxel outside of the phase, 0 outside.

    What lies beyond the array counts neither as inside nor as outside. The result is exact up to the limit.

    Parameters
    ----------
    inside : ndarray of bool, of two or three dimensions
    metric : Metric
    limit : float
        Larger squared distances are reported as this one, squared units.

    Returns
    -------
    ndarray of int16, int32 or float32
        Squared units.
    """
    result = _squared_along_first_axis(inside, metric.dtype(limit)(limit), metric.steps[0])
    for axis in range(1, inside.ndim):
        step = metric.steps[axis]
        rows = max(1, _CHUNK // max(result[0].size, 1))
        for start in range(0, len(result), rows):
            part = result[start : start + rows]
            largest = float(part.max(initial=0))
            if largest > 0:
                result[start : start + rows] = lower_envelope(part, axis, metric.reach(axis, largest), step)
    return result


def _squared_along_first_axis(inside: NDArray[np.bool_], limit: np.generic, step: float) -> Squared:
    far = int(math.sqrt(float(limit)) / step) + 1
    count = np.empty(inside.shape, np.int32 if far > 30000 else np.int16)
    run = np.full(inside.shape[1:], far, count.dtype)
    for order in (range(len(inside)), range(len(inside) - 1, -1, -1)):
        run[...] = far
        for index in order:
            np.minimum(run + 1, far, out=run)
            run *= inside[index]
            if order.step == 1:
                count[index] = run
            else:
                np.minimum(count[index], run, out=count[index])
    squares = np.minimum((np.arange(far + 1) * step) ** 2, float(limit)).astype(limit.dtype)
    result: Squared = squares[count]
    return result
