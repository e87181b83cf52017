"""Differences of pairs of groups, with intervals and effect sizes."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from tomostain.measure.statistics.observations import Observations
from tomostain.measure.statistics.rank_tests import Array, rank_test, shift_interval, signed_rank

LEVEL = 0.95
"""Probability of the intervals."""


@dataclass(frozen=True)
class PairEffect:
    """The difference of two groups.

    Attributes
    ----------
    first, second : str
        Groups.
    difference, low, high : float
        First minus second with its 95 % interval, in the unit of the measure: of the means, or with a rank test the
        Hodges–Lehmann shift. An interval that would need more animals is infinite. NaN if no test is possible. Groups
        that share animals are compared within the animals that are in both.
    effect, effect_low, effect_high : float
        Hedges' g of the means per animal with its 95 % interval; NaN if neither group has a spread.
    p : float
        Of this pair, not corrected.
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    effect: float
    effect_low: float
    effect_high: float
    p: float


def pair_effects(data: Observations, kind: str) -> tuple[PairEffect, ...]:
    """Return the effects of all pairs of groups: by "welch", "ranks", or "within" animals."""
    result = []
    for first, second in combinations(data.names, 2):
        a, b = data.of(first), data.of(second)
        if kind == "ranks":
            p, interval = rank_test([a, b])[0], shift_interval(a, b)
        elif kind == "within":
            p, interval = _within_pair(data, first, second)
        else:
            p, interval = _welch_pair(a, b)
        result.append(pair_effect(data, first, second, interval, p))
    return tuple(result)


def pair_effect(
    data: Observations, first: str, second: str, interval: tuple[float, float, float], p: float
) -> PairEffect:
    """Return the effect of a pair whose difference, interval and p are known."""
    return PairEffect(first, second, *interval, *hedges_g(data.of(first), data.of(second)), p)


def differences_within(data: Observations, first: str, second: str) -> Array:
    """Return the difference of the means of two groups, for each animal that is in both."""
    means: dict[str, dict[str, float]] = {}
    for name in (first, second):
        for subject in sorted(data.animals(first) & data.animals(second)):
            chosen = [
                value
                for value, group, animal in zip(data.values, data.groups, data.subjects, strict=True)
                if group == name and animal == subject
            ]
            means.setdefault(subject, {})[name] = float(np.mean(chosen))
    return np.array([each[first] - each[second] for each in means.values()])


def has_spread(values: Array) -> bool:
    """Return whether values differ by more than the rounding of their means."""
    return bool(np.ptp(values) > 1e-12 * np.abs(values).max())


def welch(parts: Sequence[Array]) -> tuple[float, float]:
    """Return F and p of Welch's one-way test of independent samples.

    Of two samples, one may have no spread: F is then the square of the t of the other sample. NaN if both have none, if
    one of more than two has none, or if one has a single value.
    """
    spread = [len(part) > 1 and has_spread(part) for part in parts]
    if len(parts) == 2 and any(spread) and min(map(len, parts)) > 1:
        t, p, _, _ = _t_test(*parts)
        return t**2, p
    if not all(spread):
        return math.nan, math.nan
    from statsmodels.stats.oneway import anova_oneway

    result = anova_oneway(list(parts), use_var="unequal", welch_correction=True)
    return float(result.statistic), float(result.pvalue)


def _t_test(a: Array, b: Array) -> tuple[float, float, float, float]:
    """Return t, p and the interval of Welch's t test of two samples, of which one may have no spread."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # SciPy warns of a sample without spread
        test = stats.ttest_ind(a, b, equal_var=False)
    interval = test.confidence_interval(LEVEL)
    return float(test.statistic), float(test.pvalue), float(interval.low), float(interval.high)


def hedges_g(a: Array, b: Array) -> tuple[float, float, float]:
    """Return Hedges' g of two samples with its 95 % interval.

    Hedges & Olkin 1985, "Statistical Methods for Meta-Analysis", chapter 5: the difference of the means in units of
    the pooled standard deviation, corrected for small samples, and the variance of large samples.
    """
    n, m = len(a), len(b)
    freedom = n + m - 2
    squares = float(((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum())
    if freedom < 1 or squares == 0:
        return math.nan, math.nan, math.nan
    g = float(a.mean() - b.mean()) / math.sqrt(squares / freedom) * (1 - 3 / (4 * freedom - 1))
    half = float(stats.norm.ppf((1 + LEVEL) / 2)) * math.sqrt((n + m) / (n * m) + g**2 / (2 * (n + m)))
    return g, g - half, g + half


def _welch_pair(a: Array, b: Array) -> tuple[float, tuple[float, float, float]]:
    difference = float(a.mean() - b.mean())
    if len(a) < 2 or len(b) < 2 or not (has_spread(a) or has_spread(b)):
        return math.nan, (difference, math.nan, math.nan)
    _, p, low, high = _t_test(a, b)
    return p, (difference, low, high)


def _within_pair(data: Observations, first: str, second: str) -> tuple[float, tuple[float, float, float]]:
    """Compare two groups within the animals that are in both; NaN if these are too few, or do not differ."""
    differences = differences_within(data, first, second)
    if len(differences) < 2 or not differences.any():
        means = differences if len(differences) else data.of(first).mean() - data.of(second).mean()
        return math.nan, (float(np.mean(means)), math.nan, math.nan)
    return signed_rank(differences)[1], _mean_interval(differences)


def _mean_interval(values: Array) -> tuple[float, float, float]:
    mean, n = float(values.mean()), len(values)
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * values.std(ddof=1) / math.sqrt(n))
    return mean, mean - half, mean + half
