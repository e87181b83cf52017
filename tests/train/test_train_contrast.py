"""The correlation of the grey values of a pair."""

import math

import pytest

from tests.support.training import toy_pair
from tomostain.train.contrast import contrast


@pytest.mark.parametrize("change", ["constant ct", "constant histology", "one pixel"])
def test_it_is_not_defined_without_variation(change):
    pair = toy_pair("a", 0)
    if change == "constant ct":
        pair.ct[...] = 20000
    elif change == "constant histology":
        pair.histology[...] = 128
    else:
        pair.mask[...] = False
        pair.mask[3, 4] = True
    assert math.isnan(contrast([pair]))


def test_values_above_the_window_are_clipped():
    pair = toy_pair("a", 0)
    assert contrast([pair]) == pytest.approx(-1)
    assert math.isnan(contrast([pair], (0, 10000)))
