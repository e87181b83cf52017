"""Rank tests of few values, with exact p from all rearrangements."""

import math
from collections.abc import Sequence
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

MAX_REARRANGEMENTS = 20_000
"""With more rearrangements of the values, p is from random ones."""
DRAWS = 9_999
LEVEL = 0.95
_MAX_GROUPS = 7

Array = NDArray[np.float64]


def rank_test(parts: Sequence[Array]) -> tuple[float, float, str]:
    """Compare independent samples by their ranks: Mann–Whitney for two, Kruskal–Wallis for more.

    Parameters
    ----------
    parts : sequence of ndarray of float
        One per group. Equal values have their mean rank, and p allows for them.

    Returns
    -------
    p, statistic : float
        Two-sided. The statistic is Mann–Whitney's U of the first sample, or Kruskal–Wallis' H without the correction
        for ties.
    how : str
        ``exact``, or ``from 9999 random rearrangements``.
    """
    sizes = [len(part) for part in parts]
    n = sum(sizes)
    ranks = stats.rankdata(np.concatenate(parts))
    ends = np.cumsum(sizes)
    count = _arrangements(sizes)

    def statistic_of(arranged: Array) -> Array:
        """Return Σ R² / n of each row, which orders arrangements as H does."""
        sums = [arranged[:, end - size : end].sum(axis=1) for end, size in zip(ends, sizes, strict=True)]
        return np.sum([total**2 / size for total, size in zip(sums, sizes, strict=True)], axis=0)

    observed = float(statistic_of(ranks[None])[0])
    u = float(ranks[: sizes[0]].sum() - sizes[0] * (sizes[0] + 1) / 2)
    h = 12 / (n * (n + 1)) * observed - 3 * (n + 1)
    statistic = u if len(parts) == 2 else h
    tolerance = 1e-9 * observed
    if count <= MAX_REARRANGEMENTS:
        every = statistic_of(ranks[_all_arrangements(tuple(sizes))])
        return float(np.mean(every >= observed - tolerance)), statistic, "exact"
    rng = np.random.default_rng(0)
    drawn = statistic_of(rng.permuted(np.broadcast_to(ranks, (DRAWS, n)), axis=1))
    p = (1 + int(np.sum(drawn >= observed - tolerance))) / (DRAWS + 1)
    return float(p), statistic, f"from {DRAWS} random rearrangements of the animals"


def smallest_p(parts: Sequence[Array]) -> float:
    """Return the smallest p that `rank_test` can report for these numbers of animals.

    Examples
    --------
    >>> smallest_p([np.zeros(3), np.zeros(3)])
    0.1
    """
    sizes = [len(part) for part in parts]
    if len(sizes) > _MAX_GROUPS:
        return 0.0
    spread = []  # Σ R² / n of groups that do not overlap, for each order of the groups
    for order in permutations(range(len(sizes))):
        ends = np.cumsum([sizes[k] for k in order])
        spread.append(sum(sizes[k] * (end - (sizes[k] - 1) / 2) ** 2 for k, end in zip(order, ends, strict=True)))
    largest = max(spread)
    return float(sum(value >= largest * (1 - 1e-12) for value in spread) / _arrangements(sizes))


def _arrangements(sizes: Sequence[int]) -> int:
    """Return in how many ways animals can be divided into groups of these sizes."""
    return math.factorial(sum(sizes)) // math.prod(math.factorial(size) for size in sizes)


def _all_arrangements(sizes: tuple[int, ...]) -> NDArray[np.intp]:
    """Return all divisions of 0 … n - 1 into groups of these sizes, one per row, the groups one after the other."""

    def divide(rest: tuple[int, ...], left: tuple[int, ...]) -> list[tuple[int, ...]]:
        if len(left) == 1:
            return [rest]
        return [
            (*chosen, *others)
            for chosen in combinations(rest, left[0])
            for others in divide(tuple(each for each in rest if each not in chosen), left[1:])
        ]

    return np.array(divide(tuple(range(sum(sizes))), sizes))


def signed_rank(differences: Array) -> tuple[float, float]:
    """Return the sum of the ranks of positive differences, and the exact two-sided p over all changes of sign."""
    ranks = stats.rankdata(np.abs(differences))
    signs = np.sign(differences)
    statistic = float(ranks[signs > 0].sum())
    n = len(ranks)
    if n > 14:
        return statistic, float(stats.wilcoxon(differences, method="approx").pvalue)
    all_signs = 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1) - 1
    totals = np.abs((all_signs * ranks * (signs != 0)).sum(axis=1))
    observed = abs(float((ranks * signs).sum()))
    return statistic, float(np.mean(totals >= observed - 1e-9))


def shift_interval(a: Array, b: Array) -> tuple[float, float, float]:
    """Return the Hodges–Lehmann shift with its interval (Bauer 1972, J. Am. Stat. Assoc. 67, 687).

    The interval is between the k-th smallest and the k-th largest difference. k is the largest number for which the
    Mann–Whitney distribution gives the level; without one, the interval is infinite.
    """
    differences = np.sort((a[:, None] - b[None, :]).ravel())
    n, m = len(a), len(b)
    counts = u_counts(n, m)
    below = np.cumsum(counts) / counts.sum()
    k = int(np.sum(below <= (1 - LEVEL) / 2))
    middle = float(np.median(differences))
    if k == 0:
        return middle, -math.inf, math.inf
    return middle, float(differences[k - 1]), float(differences[-k])


def u_counts(n: int, m: int) -> Array:
    """Return how many arrangements have each value 0 … n m of Mann–Whitney's U: the Gaussian binomial coefficient."""
    if n * m > 4000:  # the normal approximation
        edges = stats.norm.cdf((np.arange(n * m + 2) - 0.5 - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12))
        return np.asarray(np.diff(edges))
    counts = np.zeros(n * m + 1)
    counts[0] = 1
    for i in range(1, n + 1):
        for power in range(n * m, m + i - 1, -1):
            counts[power] -= counts[power - m - i]
        for power in range(i, n * m + 1):
            counts[power] += counts[power - i]
    return counts
