"""Bootstrap intervals of medians over specimens, and paired differences between models.

Patches of one specimen are not independent, nor are several images of one subject; treating them as independent would
make every interval too narrow. So whole groups are drawn with replacement, with all their patches (cluster bootstrap:
Davison & Hinkley 1997, "Bootstrap Methods and their Application", section 3.8).
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomostain.errors import InputError

DRAWS = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A median with its bootstrap interval, over `specimens` groups and `n` values.

    Attributes
    ----------
    median, low, high : float
        NaN if there is no value. With one specimen the spread is unknown: low and high are NaN.
    n, specimens : int
    """

    median: float
    low: float
    high: float
    n: int
    specimens: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval is on one side of 0: for a paired difference, whether the models differ."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.median:.3g} [{self.low:.3g}, {self.high:.3g}]"


def median_interval(
    values: ArrayLike, specimens: Sequence[Hashable], *, seed: int = 0, draws: int = DRAWS, level: float = LEVEL
) -> Interval:
    """Return the median and its bootstrap interval over specimens.

    Parameters
    ----------
    values : array-like of float, shape (N,)
        One per patch; NaN is omitted, infinities count.
    specimens : sequence, length N
        The group of each value: the subject, where several images belong to one.
    seed : int
    draws : int
        Bootstrap samples.
    level : float
        Coverage of the interval, between 0 and 1.

    Returns
    -------
    Interval

    Raises
    ------
    InputError
        If the lengths differ or the level is not between 0 and 1.

    Examples
    --------
    >>> print(median_interval([1.0, 2.0, 3.0, 4.0], ["a", "a", "b", "b"]))
    2.5 [1.5, 3.5]
    """
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (len(specimens),):
        raise InputError(f"bootstrap: {array.shape} values for {len(specimens)} specimens; give one per value")
    if not 0 < level < 1:
        raise InputError(f"bootstrap: level = {level:g}; it must be between 0 and 1")
    groups: dict[Hashable, list[float]] = {}
    for value, specimen in zip(array, specimens, strict=True):
        if not np.isnan(value):
            groups.setdefault(specimen, []).append(float(value))
    parts = [np.array(part) for part in groups.values()]
    if not parts:
        return Interval(np.nan, np.nan, np.nan, 0, 0)
    every = np.concatenate(parts)
    if len(parts) == 1:
        return Interval(_median(every), np.nan, np.nan, len(every), 1)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(parts), size=(draws, len(parts)))
    # Few groups are drawn in few combinations: the median of each is computed once.
    combinations, which = np.unique(np.sort(drawn, axis=1), axis=0, return_inverse=True)
    medians = np.array([_median(np.concatenate([parts[i] for i in row])) for row in combinations])[which.reshape(-1)]
    low, high = np.quantile(medians, [(1 - level) / 2, (1 + level) / 2], method="nearest")
    return Interval(_median(every), float(low), float(high), len(every), len(parts))


def paired_difference(
    a: ArrayLike, b: ArrayLike, specimens: Sequence[Hashable], *, seed: int = 0, draws: int = DRAWS
) -> Interval:
    """Return the median of the differences a − b of the same patches, with its interval over specimens.

    Parameters
    ----------
    a, b : array-like of float, shape (N,)
        A metric of two models on the same patches in the same order.
    specimens : sequence, length N
    seed, draws : int
        As in `median_interval`.

    Raises
    ------
    InputError
        If the lengths differ.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise InputError(f"bootstrap: {first.shape} and {second.shape} values; give equally many")
    with np.errstate(invalid="ignore"):
        # Two infinite PSNR (equal images) do not differ.
        difference = np.where(first == second, 0.0, first - second)
    return median_interval(difference, specimens, seed=seed, draws=draws)


def _median(values: NDArray[np.float64]) -> float:
    """Return the median; with infinities the lower of the two middle values, since their mean may be NaN.

    The value is that of `numpy.quantile`, which takes twenty times as long for a few values.
    """
    ordered = np.sort(values)
    below, above = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    if below == above or not (np.isfinite(ordered[0]) and np.isfinite(ordered[-1])):
        return float(below) + 0.0
    return float(above - (above - below) * 0.5)
