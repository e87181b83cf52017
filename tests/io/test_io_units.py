"""Units of length, and voxel sizes that mean the same."""

import math
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tomostain.errors import InputError
from tomostain.io.metadata.units import nearly_equal, square_pixel_um, to_um, unit_um


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("nm", 1e-3),
        ("um", 1.0),
        ("µm", 1.0),
        ("μm", 1.0),
        ("micron", 1.0),
        ("micrometre", 1.0),
        ("mm", 1e3),
        ("millimeter", 1e3),
        ("cm", 1e4),
        ("centimetre", 1e4),
        ("m", 1e6),
        ("meter", 1e6),
        ("metre", 1e6),
    ],
)
def test_a_length_in_any_unit_is_in_micrometres(unit, factor):
    assert to_um(2.5, unit) == pytest.approx(2.5 * factor, rel=1e-12)


@pytest.mark.parametrize(
    ("value", "unit"),
    [(None, "mm"), (5.0, None), (5.0, "parsec"), (0.0, "mm"), (-1.0, "mm"), (math.nan, "mm"), (math.inf, "mm")],
)
def test_texts_that_are_not_lengths_give_none(value, unit):
    assert to_um(value, unit) is None


LENGTHS = st.floats(1e-3, 1e6)


@given(LENGTHS, st.floats(0.5, 2.0), st.sampled_from([1e-3, 0.5, 8.0, 1e4]))
def test_lengths_are_nearly_equal_within_one_per_cent_of_the_larger_one(length, ratio, scale):
    other = length * ratio
    difference = 1 - min(ratio, 1 / ratio)
    assume(abs(difference - 0.01) > 1e-9)
    expected = difference < 0.01
    assert nearly_equal(length, other) == nearly_equal(other, length) == expected
    assert nearly_equal(length * scale, other * scale) == expected


@given(LENGTHS, st.floats(0.98, 1.02))
def test_near_the_limit_lengths_are_nearly_equal_within_one_per_cent(length, ratio):
    difference = 1 - min(ratio, 1 / ratio)
    assume(abs(difference - 0.01) > 1e-9)
    assert nearly_equal(length, length * ratio) == (difference < 0.01)


def test_a_difference_of_exactly_one_per_cent_counts_as_equal():
    assert nearly_equal(100.0, 99.0)
    assert nearly_equal(0.0, 0.0)
    assert not nearly_equal(5.0, -5.0)


@pytest.mark.parametrize(
    ("name", "size_um"),
    [("Nanometers", 1e-3), ("microns", 1.0), ("micrometres", 1.0), ("millimeters", 1e3), ("metres", 1e6)],
)
def test_a_plural_has_the_length_of_its_unit(name, size_um):
    assert unit_um(name) == size_um
    assert unit_um(name[:-1]) == size_um


def test_an_abbreviation_has_no_plural():
    assert unit_um("ms") is None
    assert unit_um("mms") is None


def test_pixels_are_square_within_one_per_cent():
    path = Path("slide.tif")
    assert square_pixel_um(path, 2.0, 2.004) == pytest.approx(2.002)
    with pytest.raises(InputError, match=r"slide\.tif: pixels of 2 × 2\.1 µm are not square; resample the image"):
        square_pixel_um(path, 2.0, 2.1)
