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
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tomostain.errors import InputError
from tomostain.measure.statistics.mixed_model import TestResult, mixed_model
from tomostain.measure.statistics.observations import Observations
from tomostain.measure.statistics.pair_effects import (
    LEVEL,
    PairEffect,
    differences_within,
    has_spread,
    hedges_g,
    pair_effects,
    welch,
)
from tomostain.measure.statistics.rank_tests import Array, rank_test, signed_rank, smallest_p

__all__ = [
    "LEVEL",
    "MIN_ANIMALS",
    "Comparison",
    "GroupSummary",
    "Observations",
    "PairEffect",
    "compare_groups",
    "has_spread",
    "hedges_g",
    "holm",
    "welch",
]

MIN_ANIMALS = 6
"""With fewer animals in a group, a rank test is used."""


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


def _tested(data: Observations) -> TestResult:
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
        fitted = mixed_model(data, is_crossed)
        if fitted is not None:
            return fitted
        if is_crossed:
            reason = "Animals are in more than one group, and the mixed model did not converge."
            return "none", reason, math.nan, math.nan, pair_effects(data, "within")
        reason = "Animals have several specimens, but the mixed model did not converge, so the means per animal are"
        return _welch(data, f"{reason} compared. The variances of the groups may differ.")
    return _welch(
        data, f"Each animal has one specimen, and each group {MIN_ANIMALS} or more. Their variances may differ."
    )


def _summary(data: Observations, group: str) -> GroupSummary:
    means = data.of(group)
    sd = float(means.std(ddof=1)) if len(means) > 1 else math.nan
    return GroupSummary(group, len(means), data.groups.count(group), float(means.mean()), sd, float(np.median(means)))


def _small(data: Observations, few: str, is_repeated: bool, is_crossed: bool) -> TestResult:
    """Compare ranks of the means per animal."""
    if is_crossed:
        return _small_crossed(data, few)
    parts = [data.of(name) for name in data.names]
    means = " of the means per animal" if is_repeated else ""
    p, statistic, how = rank_test(parts)
    name = "Mann–Whitney" if len(parts) == 2 else "Kruskal–Wallis"
    lowest = smallest_p(parts)
    note = f" With so few animals p cannot be below {lowest:.2g}." if lowest > 0.05 else ""
    return name, f"{few}{means}; p is {how}.{note}", statistic, p, pair_effects(data, "ranks")


def _small_crossed(data: Observations, few: str) -> TestResult:
    """Compare two groups within animals."""
    reason = f"{few}, within animals, since animals are in more than one group"
    if len(data.names) != 2:
        text = f"{reason}; this needs two groups, and there are {len(data.names)}. Compare two at a time."
        return "none", text, math.nan, math.nan, pair_effects(data, "within")
    differences = differences_within(data, *data.names)
    if len(differences) < 2 or not differences.any():
        text = f"{reason}; {len(differences)} animal(s) are in both groups, which is too few, or no value differs."
        return "none", text, math.nan, math.nan, pair_effects(data, "within")
    statistic, p = signed_rank(differences)
    text = f"{reason}; {len(differences)} animals are in both groups, p is exact."
    return "Wilcoxon signed-rank", text, statistic, p, pair_effects(data, "within")


def _welch(data: Observations, reason: str) -> TestResult:
    parts = [data.of(name) for name in data.names]
    constant = [f"'{name}'" for name, part in zip(data.names, parts, strict=True) if not has_spread(part)]
    which = f"All animals of {' and of '.join(constant)} have the same value"
    if constant and len(parts) > 2:
        p, statistic, how = rank_test(parts)
        text = f"{which}, which Welch's one-way test does not allow, so ranks of the animals are compared; p is {how}."
        return "Kruskal–Wallis", text, statistic, p, pair_effects(data, "ranks")
    statistic, p = welch(parts)
    name = "Welch's t test" if len(parts) == 2 else "Welch's one-way test"
    note = f" {which}, so the variance is that of the other group." if constant else ""
    return name, reason + note, statistic, p, pair_effects(data, "welch")


def _no_spread(data: Observations, reason: str) -> TestResult:
    return "none", reason, math.nan, math.nan, pair_effects(data, "welch")
