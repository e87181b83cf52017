"""Units of length, and voxel sizes that mean the same."""

import math

import pytest

from tomostain.io.metadata.units import to_um


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
