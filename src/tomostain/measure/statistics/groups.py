"""Comparison of groups of specimens with the animal as the unit.

Several specimens of one animal are not independent. Counting each as one would be pseudo-replication (Hurlbert 1984,
Ecol. Monogr. 54, 187), and would find differences that are none.

The rule, in this order:

1. Fewer than `MIN_ANIMALS` animals in a group: a rank test on the means per animal. Mann–Whitney for two groups,
   Kruskal–Wallis for more. Its p is exact, from all rearrangements of the animals, where there are at most
   `MAX_REARRANGEMENTS`, else from `DRAWS` random ones. If each animal is in two groups, the Wilcoxon signed-rank test.
2. Several specimens of an animal: a mixed model with a random intercept for each animal (statsmodels `MixedLM`, REML),
   and Wald's F of the groups with animals minus groups as degrees of freedom of the denominator. If animals are in
   several groups, the model is fitted to the mean of each animal in each group, and the degrees of freedom are those
   within animals.
3. Else, Welch's one-way test, which allows for different variances (of two groups, Welch's t test). It cannot weight
   a group whose animals all have the same value, such as no degradation layer. With such a group, more than two groups
   are compared by Kruskal–Wallis; Welch's t test then has the variance of the other group only.
"""

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from tomostain.errors import InputError
from tomostain.measure.statistics.rank_tests import Array, rank_test, shift_interval, signed_rank, smallest_p

MIN_ANIMALS = 6
"""With fewer animals in a group, a rank test is used."""
LEVEL = 0.95


@dataclass(frozen=True)
class Observations:
    """Values of one measure.

    Attributes
    ----------
    values : ndarray of float, shape (N,)
        Finite.
    groups, subjects : tuple of str, length N
        The group of each specimen, and its animal.
    """

    values: Array
    groups: tuple[str, ...]
    subjects: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The groups, in the order in which they first occur."""
        return tuple(dict.fromkeys(self.groups))

    def of(self, group: str) -> Array:
        """Return the mean of each animal of a group, in the order in which they first occur."""
        sums: dict[str, list[float]] = {}
        for value, name, subject in zip(self.values, self.groups, self.subjects, strict=True):
            if name == group:
                sums.setdefault(subject, []).append(float(value))
        return np.array([np.mean(each) for each in sums.values()])

    def per_animal_and_group(self) -> "Observations":
        """Return the mean of each animal in each of its groups, as one observation."""
        cells: dict[tuple[str, str], list[float]] = {}
        for value, name, subject in zip(self.values, self.groups, self.subjects, strict=True):
            cells.setdefault((name, subject), []).append(float(value))
        names, subjects = zip(*cells, strict=True)
        return Observations(np.array([np.mean(each) for each in cells.values()]), names, subjects)

    def animals(self, group: str) -> set[str]:
        """Return the animals of a group."""
        return {subject for name, subject in zip(self.groups, self.subjects, strict=True) if name == group}


@dataclass(frozen=True)
class GroupSummary:
    """The means per animal of one group. `sd` is NaN for one animal."""

    group: str
    animals: int
    specimens: int
    mean: float
    sd: float
    median: float


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


@dataclass(frozen=True)
class Comparison:
    """The result of one measure.

    Attributes
    ----------
    test : str
        Name of the test.
    reason : str
        Why it was used, in one or two sentences.
    statistic, p : float
        NaN if no test is possible.
    summaries : tuple of GroupSummary
    pairs : tuple of PairEffect
        All pairs of groups.
    """

    test: str
    reason: str
    statistic: float
    p: float
    summaries: tuple[GroupSummary, ...]
    pairs: tuple[PairEffect, ...]


def compare_groups(values: ArrayLike, groups: Sequence[str], subjects: Sequence[str]) -> Comparison:
    """Compare groups of specimens with the animal as the unit; see the rule at the top of this module.

    Parameters
    ----------
    values : array-like of float, shape (N,)
        One per specimen, finite.
    groups : sequence of str, length N
    subjects : sequence of str, length N
        The animal of each specimen.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        If the lengths differ, a value is not finite, or there is one group only.
    """
    data = Observations(np.asarray(values, dtype=np.float64), tuple(map(str, groups)), tuple(map(str, subjects)))
    if not data.values.shape == (len(data.groups),) == (len(data.subjects),):
        raise InputError(
            f"groups: {data.values.size} values, {len(data.groups)} groups and {len(data.subjects)} animals; give one "
            "of each per specimen"
        )
    if not np.isfinite(data.values).all():
        raise InputError("groups: a value is not finite; leave out specimens without a value")
    if len(data.names) < 2:
        only = f" ('{data.names[0]}')" if data.names else ""
        raise InputError(f"groups: there is one group only{only}; give two or more")
    summaries = tuple(_summary(data, name) for name in data.names)
    test, reason, statistic, p, pairs = _tested(data)
    return Comparison(test, reason, statistic, p, summaries, pairs)


def holm(p: ArrayLike) -> Array:
    """Correct p values for their number (Holm 1979, Scand. J. Stat. 6, 65). NaN stays NaN, and is not counted.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    result = np.full(values.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    result[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors)) if len(order) else []
    return result


_Tested = tuple[str, str, float, float, tuple[PairEffect, ...]]


def _tested(data: Observations) -> _Tested:
    """Choose the test, and return its name, the reason, statistic, p and pairs."""
    sizes = {name: len(data.animals(name)) for name in data.names}
    smallest = min(sizes, key=lambda name: sizes[name])
    is_repeated = max(Counter(data.subjects).values()) > 1
    is_crossed = sum(sizes.values()) > len(set(data.subjects))
    if np.ptp(data.values) == 0:
        return _no_spread(data, "All values are equal.")
    if sizes[smallest] < MIN_ANIMALS:
        number = f"{sizes[smallest]} animal" + ("s" if sizes[smallest] != 1 else "")
        few = f"The group '{smallest}' has {number}, fewer than {MIN_ANIMALS}, so ranks are compared"
        return _small(data, few, is_repeated, is_crossed)
    if not any(has_spread(data.of(name)) for name in data.names):
        return _no_spread(data, "No group has a spread between its animals, so a test is not possible.")
    if is_repeated:
        fitted = _mixed(data, is_crossed)
        if fitted is not None:
            return fitted
        if is_crossed:
            reason = "Animals are in more than one group, and the mixed model did not converge."
            return "none", reason, math.nan, math.nan, _pairs(data, "within")
        reason = "Animals have several specimens, but the mixed model did not converge, so the means per animal are"
        return _welch(data, f"{reason} compared. The variances of the groups may differ.")
    return _welch(
        data, f"Each animal has one specimen, and each group {MIN_ANIMALS} or more. Their variances may differ."
    )


def _summary(data: Observations, group: str) -> GroupSummary:
    means = data.of(group)
    sd = float(means.std(ddof=1)) if len(means) > 1 else math.nan
    return GroupSummary(group, len(means), data.groups.count(group), float(means.mean()), sd, float(np.median(means)))


def _small(data: Observations, few: str, is_repeated: bool, is_crossed: bool) -> _Tested:
    """Compare ranks of the means per animal."""
    if is_crossed:
        return _small_crossed(data, few)
    parts = [data.of(name) for name in data.names]
    means = " of the means per animal" if is_repeated else ""
    p, statistic, how = rank_test(parts)
    name = "Mann–Whitney" if len(parts) == 2 else "Kruskal–Wallis"
    lowest = smallest_p(parts)
    note = f" With so few animals p cannot be below {lowest:.2g}." if lowest > 0.05 else ""
    return name, f"{few}{means}; p is {how}.{note}", statistic, p, _pairs(data, "ranks")


def _small_crossed(data: Observations, few: str) -> _Tested:
    """Compare two groups within animals."""
    reason = f"{few}, within animals, since animals are in more than one group"
    if len(data.names) != 2:
        text = f"{reason}; this needs two groups, and there are {len(data.names)}. Compare two at a time."
        return "none", text, math.nan, math.nan, _pairs(data, "within")
    differences = _within(data, *data.names)
    if len(differences) < 2 or not differences.any():
        text = f"{reason}; {len(differences)} animal(s) are in both groups, which is too few, or no value differs."
        return "none", text, math.nan, math.nan, _pairs(data, "within")
    statistic, p = signed_rank(differences)
    text = f"{reason}; {len(differences)} animals are in both groups, p is exact."
    return "Wilcoxon signed-rank", text, statistic, p, _pairs(data, "within")


def _within(data: Observations, first: str, second: str) -> Array:
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


def _welch(data: Observations, reason: str) -> _Tested:
    parts = [data.of(name) for name in data.names]
    constant = [f"'{name}'" for name, part in zip(data.names, parts, strict=True) if not has_spread(part)]
    which = f"All animals of {' and of '.join(constant)} have the same value"
    if constant and len(parts) > 2:
        p, statistic, how = rank_test(parts)
        text = f"{which}, which Welch's one-way test does not allow, so ranks of the animals are compared; p is {how}."
        return "Kruskal–Wallis", text, statistic, p, _pairs(data, "ranks")
    statistic, p = welch(parts)
    name = "Welch's t test" if len(parts) == 2 else "Welch's one-way test"
    note = f" {which}, so the variance is that of the other group." if constant else ""
    return name, reason + note, statistic, p, _pairs(data, "welch")


def _no_spread(data: Observations, reason: str) -> _Tested:
    return "none", reason, math.nan, math.nan, _pairs(data, "welch")


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


def _mixed(data: Observations, is_crossed: bool) -> _Tested | None:
    """Fit value ~ group + (1 | animal); None if it does not converge."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    if is_crossed:
        data = data.per_animal_and_group()
    names = data.names
    codes = np.array([names.index(group) for group in data.groups])
    design = np.column_stack([np.ones(len(codes)), *[codes == k for k in range(1, len(names))]]).astype(float)
    scale = float(data.values.std())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a variance of 0 between animals is a valid result
            fit = MixedLM(data.values / scale, design, groups=np.array(data.subjects)).fit(
                reml=True, method=["bfgs", "powell"]
            )
    except (np.linalg.LinAlgError, ValueError):
        return None
    mean, covariance = np.asarray(fit.fe_params), np.asarray(fit.cov_params())[: len(names), : len(names)]
    if not fit.converged or not np.isfinite(covariance).all():
        return None
    animals, k = len(set(data.subjects)), len(names)
    freedom = max(len(codes) - animals - (k - 1), animals - k) if is_crossed else animals - k
    effects = mean[1:]
    f = float(effects @ np.linalg.solve(covariance[1:, 1:], effects)) / (k - 1)
    pairs = []
    for i, j in combinations(range(k), 2):
        contrast = np.zeros(k)
        contrast[i], contrast[j] = float(i > 0), -float(j > 0)
        difference, error = float(contrast @ mean) * scale, math.sqrt(contrast @ covariance @ contrast) * scale
        p = float(2 * stats.t.sf(abs(difference) / error, freedom)) if error > 0 else math.nan
        half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
        pairs.append(_effect(data, names[i], names[j], (difference, difference - half, difference + half), p))
    several = "are in several groups, so their means per group are compared, with" if is_crossed else "have several"
    verb = "" if is_crossed else " specimens, so the model has"
    reason = (
        f"Animals {several}{verb} a random intercept for each of the {animals} animals ({freedom} degrees of freedom)."
    )
    return "mixed model", reason, f, float(stats.f.sf(f, k - 1, freedom)), tuple(pairs)


def _pairs(data: Observations, kind: str) -> tuple[PairEffect, ...]:
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
        result.append(_effect(data, first, second, interval, p))
    return tuple(result)


def _effect(data: Observations, first: str, second: str, interval: tuple[float, float, float], p: float) -> PairEffect:
    return PairEffect(first, second, *interval, *hedges_g(data.of(first), data.of(second)), p)


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
    differences = _within(data, first, second)
    if len(differences) < 2 or not differences.any():
        means = differences if len(differences) else data.of(first).mean() - data.of(second).mean()
        return math.nan, (float(np.mean(means)), math.nan, math.nan)
    return signed_rank(differences)[1], _mean_interval(differences)


def _mean_interval(values: Array) -> tuple[float, float, float]:
    mean, n = float(values.mean()), len(values)
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * values.std(ddof=1) / math.sqrt(n))
    return mean, mean - half, mean + half
