"""Bias, limits of agreement and concordance."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomostain.errors import InputError
from tomostain.measure.statistics.agreement import agreement, concordance

# Bland & Altman 1986, Table 1: peak expiratory flow of 17 subjects, L/min, first readings of two meters.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]

values = st.lists(
    st.tuples(st.floats(-1e6, 1e6, allow_subnormal=False), st.floats(-1e6, 1e6, allow_subnormal=False)),
    min_size=3,
    max_size=12,
)


def test_example_of_bland_and_altman():
    result = agreement(WRIGHT, MINI, multiple=2)  # the paper rounds 1.96 to 2
    assert result.n == 17
    assert round(result.bias.value, 1) == -2.1
    assert round(result.sd, 1) == 38.8
    for value, stated in (
        (result.lower.value, -79.7),
        (result.upper.value, 75.5),
        (result.bias.low, -22.0),
        (result.bias.high, 17.8),
        (result.lower.low, -114.3),
        (result.lower.high, -45.1),
        (result.upper.low, 40.9),
        (result.upper.high, 110.1),
    ):
        assert abs(value - stated) < 0.2  # the paper computes with rounded numbers


def test_concordance_of_a_shift_and_a_scale():
    x = np.arange(1, 6, dtype=float)  # variance (1/n) 2
    assert concordance(x, x + 1).value == pytest.approx(2 * 2 / (2 + 2 + 1))
    assert concordance(x, 2 * x).value == pytest.approx(2 * 4 / (2 + 8 + 9))
    assert concordance(x, -x + 6).value == pytest.approx(-1)
    assert agreement(x, 2 * x).correlation == pytest.approx(1)


@given(values)
@settings(max_examples=60, deadline=None)
def test_concordance_is_symmetric_and_bounded(pairs):
    a, b = np.array(pairs).T
    first, second = concordance(a, b), concordance(b, a)
    assert math.isnan(first.value) == math.isnan(second.value)
    if not math.isnan(first.value):
        assert first.value == pytest.approx(second.value, abs=1e-9)
        assert -1 <= first.low <= first.value <= first.high <= 1


@given(values)
@settings(max_examples=60, deadline=None)
def test_concordance_is_one_only_for_equal_values(pairs):
    a, b = np.round(np.array(pairs).T)
    if np.ptp(a) > 0:
        assert concordance(a, a).value == 1
    if (a != b).any():
        assert concordance(a, b).value < 1


@given(values, st.floats(-1e3, 1e3))
@settings(max_examples=40, deadline=None)
def test_exchange_of_the_methods_mirrors_the_limits(pairs, shift):
    a, b = np.round(np.array(pairs).T, 3) + round(shift, 3)
    first, second = agreement(a, b), agreement(b, a)
    assert first.bias.value == pytest.approx(-second.bias.value, abs=1e-6)
    assert first.lower.value == pytest.approx(-second.upper.value, abs=1e-6)
    assert first.lower.high == pytest.approx(-second.upper.low, abs=1e-6)


def test_intervals_cover_the_truth():
    rng = np.random.default_rng(0)
    runs, n = 800, 25
    truth = rng.normal(50, 10, (runs, n))
    measured = truth * 0.95 + 4 + rng.normal(0, 4, (runs, n))
    bias, spread = 4 - 0.05 * 50, math.sqrt(0.05**2 * 100 + 16)
    rho_c = 2 * 0.95 * 100 / (100 + 0.95**2 * 100 + 16 + bias**2)
    upper = bias + 1.96 * spread
    results = [agreement(a, b) for a, b in zip(measured, truth, strict=True)]
    for truth_value, estimates in (
        (bias, [r.bias for r in results]),
        (upper, [r.upper for r in results]),
        (rho_c, [r.concordance for r in results]),
    ):
        coverage = np.mean([e.low <= truth_value <= e.high for e in estimates])
        assert 0.925 < coverage < 0.975


def test_missing_pairs_are_omitted():
    result = agreement([1, 2, math.nan, 4], [1, 2, 3, math.nan])
    assert result.n == 2
    assert result.bias.value == 0
    assert math.isnan(result.bias.low)
    assert agreement([], []).n == 0
    assert math.isnan(agreement([1.0], [2.0]).sd)


def test_no_spread_has_no_concordance():
    assert math.isnan(concordance([3, 3, 3], [3, 3, 3]).value)
    assert concordance([3, 3, 3], [4, 4, 4]).value == 0


@pytest.mark.parametrize(
    ("first", "second", "level", "message"),
    [
        ([1, 2], [1, 2, 3], 0.95, r"shapes \(2,\) and \(3,\)"),
        ([1, math.inf], [1, 2], 0.95, "infinite"),
        ([1, 2], [1, 2], 95, "`level` is 95"),
    ],
)
def test_wrong_values_are_refused(first, second, level, message):
    with pytest.raises(InputError, match=message):
        agreement(first, second, level=level)
