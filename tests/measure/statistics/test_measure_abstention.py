"""Risk-coverage curves from histograms, refused voxels, and thresholds."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomostain.errors import InputError
from tomostain.measure.classes import TissueClass
from tomostain.measure.statistics.abstention import AbstentionCounter, refuse


def curve_of(uncertainty, error, **options):
    counter = AbstentionCounter(**options)
    counter.add(np.asarray(uncertainty), np.asarray(error))
    return counter.curve()


def test_curve_of_few_voxels():
    curve = curve_of(np.array([0, 51, 102, 255], np.uint8), [False, False, True, True])
    assert curve.at(0.2) == (0.5, 0.0)
    assert curve.at(0.4) == (0.75, pytest.approx(1 / 3))
    assert curve.at(1.0) == (1.0, 0.5)
    assert curve.area == pytest.approx(curve.area_oracle)
    assert curve.gain == pytest.approx(1)
    assert math.isnan(curve_of(np.array([255], np.uint8), [True]).at(0.5)[1])


def test_area_where_half_is_wrong_and_the_order_is_perfect():
    n = 200_000
    uncertainty = np.repeat(np.array([0, 255], np.uint8), n // 2)
    curve = curve_of(uncertainty, uncertainty > 0)
    # ∫ (c - 1/2) / c dc from 1/2 to 1 = 1/2 - ln(2) / 2.
    assert curve.area == pytest.approx(0.5 - math.log(2) / 2, abs=1e-4)
    assert curve.area_random == 0.5


def test_area_where_the_error_rises_linearly():
    """The mean error of the accepted share c is c / 2, so the area is 1/4."""
    uncertainty = (np.arange(100_000) + 0.5) / 100_000
    curve = curve_of(uncertainty, uncertainty)
    assert curve.area == pytest.approx(0.25, abs=2e-3)
    assert curve.area_oracle == pytest.approx(0.25, abs=2e-3)
    assert curve_of(1 - uncertainty, uncertainty).area == pytest.approx(0.75, abs=2e-3)
    assert curve_of(1 - uncertainty, uncertainty).gain == pytest.approx(-1, abs=0.02)


def test_uncertainty_without_information_is_random():
    rng = np.random.default_rng(1)
    curve = curve_of(rng.random(200_000), rng.random(200_000) < 0.3)
    assert curve.area == pytest.approx(curve.area_random, abs=5e-3)
    assert abs(curve.gain) < 0.05
    constant = curve_of(np.full(1000, 0.5), np.arange(1000) < 300)
    assert constant.area == pytest.approx(0.3)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_blocks_give_the_curve_of_the_whole(seed, parts):
    rng = np.random.default_rng(seed)
    uncertainty, error = rng.integers(0, 256, 300).astype(np.uint8), rng.random(300) < 0.4
    counter = AbstentionCounter()
    for part in np.array_split(np.arange(300), parts):
        counter.add(uncertainty[part], error[part])
    whole, blocks = curve_of(uncertainty, error), counter.curve()
    np.testing.assert_allclose(blocks.error, whole.error)
    assert blocks.area == pytest.approx(whole.area)
    assert whole.area_oracle <= whole.area + 1e-9
    assert (np.diff(whole.kept) >= 0).all()


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_refused_voxels_are_those_of_the_curve(seed, threshold):
    rng = np.random.default_rng(seed)
    error = rng.random(400) < 0.4
    step = math.floor(threshold * 255) / 255
    for uncertainty in (rng.integers(0, 256, 400).astype(np.uint8), rng.random(400, dtype=np.float32)):
        labels = refuse(np.full(400, TissueClass.BONE, np.uint8), uncertainty, step)
        kept = labels == TissueClass.BONE
        share, mean = curve_of(uncertainty, error).at(step)
        assert share == pytest.approx(kept.mean(), abs=1 / 400)
        if kept.sum() > 20:
            assert mean == pytest.approx(error[kept].mean(), abs=0.06)


def test_thresholds_for_a_share_and_an_error():
    uncertainty = np.arange(256).astype(np.uint8)
    curve = curve_of(uncertainty, uncertainty >= 128)
    assert curve.threshold_for_share(0.5) == pytest.approx(127 / 255)
    assert curve.threshold_for_share(0) == 0
    assert curve.threshold_for_share(1) == 1
    assert curve.threshold_for_error(0.0) == pytest.approx(127 / 255)
    share, error = curve.at(curve.threshold_for_error(0.25))
    assert error <= 0.25
    assert share == pytest.approx(128 / 0.75 / 256, abs=0.01)
    with pytest.raises(InputError, match="`share` is"):
        curve.threshold_for_share(1.2)
    with pytest.raises(InputError, match=r"the lowest is 0\.5"):
        curve_of(np.zeros(4), [0.5] * 4).threshold_for_error(0.4)


def test_mask_and_missing_uncertainty():
    counter = AbstentionCounter()
    counter.add(np.array([0.0, math.nan, 0.0]), np.array([0, 1, 1]), np.array([True, True, False]))
    curve = counter.curve()
    assert curve.at(0.0) == (0.5, 0.0)
    assert curve.at(1.0) == (1.0, 0.5)
    labels = np.array([2, 2, 2], np.uint8)
    refused = refuse(labels, np.array([0.0, math.nan, 1.0]), 0.9)
    assert refused.tolist() == [2, TissueClass.NOT_MEASURED, TissueClass.NOT_MEASURED]
    assert labels.tolist() == [2, 2, 2]


def test_wrong_input_is_refused():
    counter = AbstentionCounter()
    with pytest.raises(InputError, match="no voxel was counted"):
        counter.curve()
    with pytest.raises(InputError, match="differ in shape"):
        counter.add(np.zeros(3), np.zeros(4))
    with pytest.raises(InputError, match="not between 0 and 1"):
        counter.add(np.zeros(3), np.array([0, 1, 2.0]))
    with pytest.raises(InputError, match="`max_error` is 0"):
        AbstentionCounter(0)
    with pytest.raises(InputError, match="`max_uncertainty` is 2"):
        refuse(np.zeros(3, np.uint8), np.zeros(3), 2)
    with pytest.raises(InputError, match="differ in shape"):
        refuse(np.zeros(3, np.uint8), np.zeros(4), 0.5)
