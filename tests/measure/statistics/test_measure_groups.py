"""Comparison of groups with the animal as the unit."""

import math
from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from tomostain.errors import InputError
from tomostain.measure.statistics.groups import (
    compare_groups,
    hedges_g,
    holm,
    welch,
)
from tomostain.measure.statistics.rank_tests import rank_test, smallest_p, u_counts


def simulated(seed, animals, specimens, *, effect=0.0, between=1.0, groups=("a", "b")):
    """Return values, groups and animals: `specimens` of each animal, whose means differ by `between`."""
    rng = np.random.default_rng(seed)
    subject = np.repeat(np.arange(animals * len(groups)), specimens)
    group = np.repeat(np.arange(len(groups)), animals * specimens)
    values = 50 + rng.normal(0, 1, len(subject)) + rng.normal(0, between, animals * len(groups))[subject]
    return values + effect * group, [groups[k] for k in group], [f"rat{k}" for k in subject]


@pytest.mark.parametrize("sizes", [(3, 3), (3, 4), (5, 6), (2, 7)])
def test_exact_p_is_that_of_scipy(sizes):
    rng = np.random.default_rng(sum(sizes))
    for _ in range(10):
        a, b = (rng.normal(size=n) for n in sizes)
        expected = stats.mannwhitneyu(a, b, method="exact")
        p, statistic, how = rank_test([a, b])
        assert p == pytest.approx(expected.pvalue)
        assert statistic == expected.statistic
        assert how == "exact"


def test_exact_kruskal_wallis_of_all_orders():
    parts = [np.array([1.0, 4.0]), np.array([2.0, 2.0]), np.array([5.0, 6.0])]
    pooled = np.concatenate(parts)

    def h(values):
        return stats.kruskal(values[:2], values[2:4], values[4:]).statistic

    every = [h(np.array(order)) for order in permutations(pooled)]
    p, _, how = rank_test(parts)
    assert how == "exact"
    assert p == pytest.approx(np.mean(np.array(every) >= h(pooled) - 1e-9))


def test_random_rearrangements_are_near_the_asymptotic_p():
    rng = np.random.default_rng(5)
    parts = [rng.normal(0.4 * k, 1, 12) for k in range(3)]
    p, h, how = rank_test(parts)
    assert "9999 random" in how
    assert h == pytest.approx(stats.kruskal(*parts).statistic)
    assert p == pytest.approx(stats.kruskal(*parts).pvalue, abs=0.02)


@pytest.mark.parametrize("sizes", [(3, 3), (3, 4), (2, 2, 2), (2, 3, 2)])
def test_smallest_p_is_reached_by_groups_that_do_not_overlap(sizes):
    lowest = smallest_p([np.zeros(n) for n in sizes])
    reached = []
    for order in permutations(range(len(sizes))):
        parts = [np.zeros(0)] * len(sizes)
        first = 0
        for k in order:
            parts[k], first = np.arange(first, first + sizes[k], dtype=float), first + sizes[k]
        reached.append(rank_test(parts)[0])
    assert min(reached) == pytest.approx(lowest)


@pytest.mark.parametrize(("n", "m"), [(3, 3), (4, 7)])
def test_distribution_of_u(n, m):
    counts = u_counts(n, m)
    expected = [stats.mannwhitneyu(range(n), range(n, n + m), method="exact").pvalue / 2 * counts.sum()]
    assert counts[0] == pytest.approx(expected[0])
    assert counts.sum() == math.comb(n + m, n)
    np.testing.assert_array_equal(counts, counts[::-1])


def test_welch_of_two_groups_is_the_t_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 8), rng.normal(1, 3, 11)
    expected = stats.ttest_ind(a, b, equal_var=False)
    statistic, p = welch([a, b])
    assert p == pytest.approx(expected.pvalue)
    assert statistic == pytest.approx(expected.statistic**2)


def test_the_rule_chooses_the_test():
    few = compare_groups(*simulated(0, 5, 1))
    assert few.test == "Mann–Whitney"
    assert "The group 'a' has 5 animals, fewer than 6" in few.reason
    assert compare_groups(*simulated(0, 5, 1, groups=("a", "b", "c"))).test == "Kruskal–Wallis"
    assert compare_groups(*simulated(0, 6, 1)).test == "Welch's t test"
    assert compare_groups(*simulated(0, 6, 1, groups=("a", "b", "c"))).test == "Welch's one-way test"
    repeated = compare_groups(*simulated(0, 6, 2))
    assert repeated.test == "mixed model"
    assert "random intercept for each of the 12 animals" in repeated.reason
    assert "means per animal" in compare_groups(*simulated(0, 5, 2)).reason


def test_three_animals_cannot_be_significant_and_the_reason_says_so():
    values, groups, subjects = simulated(0, 3, 1, effect=100)
    result = compare_groups(values, groups, subjects)
    assert result.p == pytest.approx(0.1)
    assert "p cannot be below 0.1" in result.reason
    assert result.pairs[0].low == -math.inf


def test_mixed_model_of_a_balanced_study_is_the_test_of_the_means():
    """With equally many specimens per animal, Wald's F is that of the means per animal with equal variances."""
    values, groups, subjects = simulated(3, 8, 3, effect=1.5, between=2.0)
    result = compare_groups(values, groups, subjects)
    means = values.reshape(16, 3).mean(axis=1)
    expected = stats.ttest_ind(means[:8], means[8:])
    assert result.test == "mixed model"
    assert result.p == pytest.approx(expected.pvalue, rel=0.02)
    pair = result.pairs[0]
    assert pair.difference == pytest.approx(means[:8].mean() - means[8:].mean(), rel=1e-3)
    interval = expected.confidence_interval()
    assert (pair.low, pair.high) == pytest.approx((interval.low, interval.high), rel=0.02)


def test_specimens_of_one_animal_are_not_counted_as_animals():
    """Without an effect, p is below 0.05 in 5 % of studies. Specimens as units would exceed it many times."""
    runs, wrong, as_units = 50, 0, 0
    for seed in range(runs):
        values, groups, subjects = simulated(seed, 6, 4, between=2.0)
        wrong += compare_groups(values, groups, subjects).p < 0.05
        as_units += compare_groups(values, groups, [str(k) for k in range(len(values))]).p < 0.05
    assert wrong <= stats.binom.ppf(0.999, runs, 0.05)
    assert as_units > 0.25 * runs


@pytest.mark.parametrize(("animals", "groups"), [(4, ("a", "b")), (9, ("a", "b")), (7, ("a", "b", "c"))])
def test_error_of_the_first_kind_is_nominal(animals, groups):
    runs = 200
    wrong = sum(compare_groups(*simulated(seed, animals, 1, groups=groups)).p < 0.05 for seed in range(runs))
    assert wrong <= stats.binom.ppf(0.999, runs, 0.05)


def test_intervals_cover_the_difference():
    runs, covered, covered_g = 200, 0, 0
    for seed in range(runs):
        pair = compare_groups(*simulated(seed, 10, 1, effect=2.0)).pairs[0]
        covered += pair.low <= -2 <= pair.high
        covered_g += pair.effect_low <= -2 / math.sqrt(2) <= pair.effect_high
    assert covered >= stats.binom.ppf(0.001, runs, 0.95)
    assert covered_g >= stats.binom.ppf(0.001, runs, 0.95)


def test_interval_of_the_shift_covers_the_difference():
    covered = sum(
        pair.low <= -2 <= pair.high
        for pair in (compare_groups(*simulated(seed, 5, 1, effect=2.0)).pairs[0] for seed in range(200))
    )
    assert covered >= stats.binom.ppf(0.001, 200, 0.95)


def test_animals_in_both_groups_are_compared_within():
    rng = np.random.default_rng(2)
    animals = rng.normal(0, 10, 5)
    values = np.concatenate([animals, animals + 1 + 0.1 * rng.random(5)])
    result = compare_groups(values, ["left"] * 5 + ["right"] * 5, [str(k) for k in range(5)] * 2)
    assert result.test == "Wilcoxon signed-rank"
    assert result.p == pytest.approx(2 / 2**5)
    assert result.pairs[0].difference == pytest.approx(-1.05, abs=0.05)
    many = compare_groups(
        np.concatenate([np.arange(8) * 5.0, np.arange(8) * 5.0 + 1 + rng.normal(0, 0.3, 8)]),
        ["left"] * 8 + ["right"] * 8,
        [str(k) for k in range(8)] * 2,
    )
    assert many.test == "mixed model"
    assert many.p < 0.001
    assert "(7 degrees of freedom)" in many.reason


def test_specimens_of_one_side_are_not_counted_as_sides():
    """Animals are in both groups, with three specimens of each side; sides of an animal differ by chance."""
    runs, wrong = 40, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        side = rng.normal(0, 2, (7, 2, 1)) + rng.normal(0, 1, (7, 1, 1))
        values = (side + rng.normal(0, 0.5, (7, 2, 3))).ravel()
        groups = np.tile(np.repeat(["left", "right"], 3), 7).tolist()
        wrong += compare_groups(values, groups, np.repeat([f"rat{k}" for k in range(7)], 6).tolist()).p < 0.05
    assert wrong <= stats.binom.ppf(0.999, runs, 0.05)


def test_one_animal_in_two_groups_leaves_degrees_of_freedom():
    rng = np.random.default_rng(0)
    subjects = [f"rat{k}" for k in range(13)]
    result = compare_groups(rng.normal(size=14), ["a"] * 7 + ["b"] * 7, [*subjects, "rat0"])
    assert result.test == "mixed model"
    assert "(11 degrees of freedom)" in result.reason


def test_crossed_groups_that_cannot_be_tested_say_why():
    values = np.arange(9, dtype=float)
    result = compare_groups(values, ["a", "b", "c"] * 3, ["1"] * 3 + ["2"] * 3 + ["3"] * 3)
    assert result.test == "none"
    assert math.isnan(result.p)
    assert "Compare two at a time" in result.reason


def test_pairs_of_crossed_groups_are_compared_within_animals():
    """Animals differ by tens and the groups by 1: only a comparison within animals sees it."""
    animals = np.array([10.0, 40.0, -20.0, 70.0])
    values = np.concatenate([animals, animals + np.array([0.9, 1.0, 1.1, 1.2]), animals + 2])
    result = compare_groups(values, ["a"] * 4 + ["b"] * 4 + ["c"] * 4, list("1234") * 3)
    assert result.test == "none"
    pair = result.pairs[0]
    expected = stats.ttest_1samp([-0.9, -1.0, -1.1, -1.2], 0).confidence_interval()
    assert (pair.low, pair.high) == pytest.approx((expected.low, expected.high))
    assert pair.difference == pytest.approx(-1.05)
    assert pair.p == pytest.approx(2 / 2**4)
    assert result.pairs[1].difference == pytest.approx(-2)


def test_one_shared_animal_has_no_p_and_no_interval():
    values = [1.0, 2.0, 3.0, 7.0, 9.0]
    pair = compare_groups(values, ["a", "a", "a", "b", "b"], ["1", "2", "3", "3", "4"]).pairs[0]
    assert math.isnan(pair.p)
    assert math.isnan(pair.low)
    assert pair.difference == -4  # of the animal that is in both


def test_a_group_without_spread_is_compared():
    """No animal with titanium has a degradation layer."""
    layer = np.array([0.11, 0.15, 0.12, 0.18, 0.13, 0.16])
    subjects = [f"rat{k}" for k in range(12)]
    result = compare_groups([*np.zeros(6), *layer], ["Ti"] * 6 + ["Mg"] * 6, subjects)
    expected = stats.ttest_1samp(layer, 0)
    assert result.test == "Welch's t test"
    assert result.p == result.pairs[0].p == pytest.approx(expected.pvalue)
    assert result.statistic == pytest.approx(expected.statistic**2)
    interval = expected.confidence_interval()
    assert (result.pairs[0].low, result.pairs[0].high) == pytest.approx((-interval.high, -interval.low))
    assert "All animals of 'Ti' have the same value, so the variance is that of the other group." in result.reason


def test_one_of_three_groups_without_spread_is_compared_by_ranks():
    rng = np.random.default_rng(1)
    values = np.concatenate([np.full(6, 0.1), rng.normal(1, 0.1, 6), rng.normal(2, 0.1, 6)])
    groups = ["Ti"] * 6 + ["Mg-5Gd"] * 6 + ["Mg-10Gd"] * 6
    result = compare_groups(values, groups, [f"rat{k}" for k in range(18)])
    assert result.test == "Kruskal–Wallis"
    assert result.p == pytest.approx(1 / 10_000)  # the smallest p of 9999 random rearrangements
    assert "All animals of 'Ti' have the same value, which Welch's one-way test does not allow" in result.reason
    first = stats.mannwhitneyu(values[:6], values[6:12], method="exact").pvalue
    assert result.pairs[0].p == pytest.approx(first)


def test_no_group_with_a_spread_is_no_test():
    result = compare_groups([0.0] * 6 + [1.0] * 6, ["Ti"] * 6 + ["Mg"] * 6, [f"rat{k}" for k in range(12)])
    assert result.test == "none"
    assert math.isnan(result.p)
    assert math.isnan(result.pairs[0].p)
    assert result.pairs[0].difference == -1
    assert "No group has a spread" in result.reason


def test_equal_values_are_no_test():
    result = compare_groups([5.0] * 12, ["a"] * 6 + ["b"] * 6, [str(k) for k in range(12)])
    assert result.test == "none"
    assert math.isnan(result.p)
    assert result.pairs[0].difference == 0


def test_summaries_are_of_animals():
    result = compare_groups([1, 3, 5, 7, 9], ["a", "a", "a", "b", "b"], ["1", "1", "2", "3", "4"])
    first = result.summaries[0]
    assert (first.animals, first.specimens, first.mean, first.median) == (2, 3, 3.5, 3.5)
    assert first.sd == pytest.approx(math.sqrt(4.5))


def test_holm_and_effect():
    assert holm([0.01, math.nan, 0.5]).tolist()[0] == 0.02
    assert np.isnan(holm([math.nan])).all()
    assert holm([]).tolist() == []
    from statsmodels.stats.multitest import multipletests

    p = np.random.default_rng(0).random(9) * 0.1
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])
    g, low, high = hedges_g(np.array([1.0, 2, 3]), np.array([2.0, 3, 4]))
    assert g == pytest.approx(-1 * (1 - 3 / 15))
    assert low < g < high


@pytest.mark.parametrize(
    ("values", "groups", "message"),
    [
        ([1, 2], ["a", "a"], r"one group only \('a'\)"),
        ([], [], "one group only"),
        ([1, math.nan], ["a", "b"], "not finite"),
        ([1, 2, 3], ["a", "b"], "3 values, 2 groups and 2 animals"),
    ],
)
def test_wrong_input_is_refused(values, groups, message):
    with pytest.raises(InputError, match=message):
        compare_groups(values, groups, [str(k) for k in range(len(groups))])
