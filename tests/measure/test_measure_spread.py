"""The spread of measures between models and between planes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomostain.measure.measures import Measure
from tomostain.measure.morphometry.contact import BIC_SURFACE, BIC_VOXEL
from tomostain.measure.spread import with_model_spread, with_registration_spread

VALUES = st.lists(st.floats(0, 100), min_size=2, max_size=6)


def listed(values, definition=BIC_SURFACE):
    return [[Measure(definition, value)] for value in values]


@given(VALUES, VALUES)
def test_variances_of_two_ensembles_are_added(first, second):
    result = with_model_spread([Measure(BIC_SURFACE, 1.0)], listed(first), listed(second))[0]
    expected = np.var(first, ddof=1) + np.var(second, ddof=1)
    assert result.sd_model == pytest.approx(math.sqrt(expected))
    assert result.value == 1.0


def test_a_member_without_the_measure_is_left_out():
    members = [*listed([10.0, 20.0]), *listed([99.0], BIC_VOXEL), *listed([math.nan])]
    assert with_model_spread([Measure(BIC_SURFACE, 1.0)], members)[0].sd_model == pytest.approx(math.sqrt(50))


@pytest.mark.parametrize("members", [[], listed([5.0]), listed([5.0, math.nan])])
def test_one_member_has_no_spread(members):
    measure = Measure(BIC_SURFACE, 1.0)
    assert math.isnan(with_model_spread([measure], members)[0].sd_model)
    assert math.isnan(with_registration_spread([measure], members)[0].sd_registration)


@given(VALUES)
def test_the_spread_of_planes_is_their_standard_deviation(values):
    result = with_registration_spread([Measure(BIC_SURFACE, 1.0)], listed(values))[0]
    assert result.sd_registration == pytest.approx(float(np.std(values, ddof=1)))
    assert math.isnan(result.sd_model)
