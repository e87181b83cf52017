"""Bootstrap intervals: coverage on data whose median is known, clusters, pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomostain.errors import InputError
from tomostain.evaluate.intervals import median_interval, paired_difference


def clustered(seed: int, specimens: int = 12, patches: int = 15) -> tuple[np.ndarray, list[int]]:
    """Patches around the value of their specimen; the median over specimens is 0."""
    rng = np.random.default_rng(seed)
    offsets = rng.normal(0, 1, specimens)
    return (offsets[:, None] + rng.normal(0, 0.2, (specimens, patches))).ravel(), np.repeat(
        range(specimens), patches
    ).tolist()


def test_the_interval_covers_the_truth_as_often_as_its_level():
    hit = [
        interval.low <= 0 <= interval.high
        for interval in (median_interval(*clustered(seed), seed=seed, draws=300) for seed in range(150))
    ]
    # Binomial: 95 % of 150, three standard deviations below; the bootstrap of a median is a little narrow.
    assert np.mean(hit) > 0.88


def test_intervals_of_independent_patches_would_be_too_narrow():
    values, specimens = clustered(0)
    right = median_interval(values, specimens)
    wrong = median_interval(values, range(len(values)))
    assert right.high - right.low > 2 * (wrong.high - wrong.low)


def test_pairs_see_what_the_spread_between_specimens_hides():
    values, specimens = clustered(1)
    better = values + np.random.default_rng(2).normal(0.1, 0.05, len(values))
    one, other = median_interval(better, specimens), median_interval(values, specimens)
    assert one.low < other.high
    difference = paired_difference(better, values, specimens)
    assert difference.excludes_zero
    assert difference.low < 0.1 < difference.high


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30), st.integers(0, 100))
def test_the_interval_holds_the_median_within_the_values_and_the_seed_decides(values, seed):
    specimens = [i % 5 for i in range(len(values))]
    interval = median_interval(values, specimens, seed=seed, draws=50)
    assert interval.median == pytest.approx(np.median(values))
    assert min(values) <= interval.low <= interval.high <= max(values)
    assert interval == median_interval(values, specimens, seed=seed, draws=50)


def test_missing_values_infinities_and_a_single_specimen():
    interval = median_interval([np.nan, 1.0, np.inf, np.inf], ["a", "a", "b", "c"])
    assert (interval.n, interval.specimens, interval.median) == (3, 3, np.inf)
    alone = median_interval([1.0, 2.0], ["a", "a"])
    assert alone.median == 1.5
    assert np.isnan(alone.low)
    assert not alone.excludes_zero
    assert np.isnan(median_interval([np.nan], ["a"]).median)
    assert paired_difference([np.inf, np.inf], [np.inf, 3.0], ["a", "b"]).n == 2


def test_lengths_must_agree():
    with pytest.raises(InputError, match=r"\(2,\) values for 1 specimens"):
        median_interval([1.0, 2.0], ["a"])
    with pytest.raises(InputError, match="give equally many"):
        paired_difference([1.0], [1.0, 2.0], ["a"])
    with pytest.raises(InputError, match="level = 1"):
        median_interval([1.0], ["a"], level=1.0)
