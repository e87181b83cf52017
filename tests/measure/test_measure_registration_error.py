"""Planes within the error of a registration."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tomostain.errors import InputError
from tomostain.geometry.section import Section
from tomostain.measure.registration_error import planes_within_error


def oblique(seed: int) -> Section:
    rotation = Rotation.random(None, np.random.default_rng(seed)).as_matrix()
    return Section(np.array([100.0, 200.0, 300.0]), rotation[0], rotation[1])


def test_the_spread_is_the_stated_one():
    section = oblique(1)
    centre = section.to_volume_um((500.0, 700.0))
    planes = planes_within_error(section, (500.0, 700.0), position_sd_um=8.0, tilt_sd_deg=0.5, number=2000, seed=3)
    moved = np.array([plane.to_volume_um((500.0, 700.0)) - centre for plane in planes])
    along = moved @ section.normal
    assert along.std() == pytest.approx(8.0, rel=0.06)
    np.testing.assert_allclose(moved, along[:, None] * section.normal, atol=1e-9)
    tilts = np.degrees([[plane.normal @ section.row, plane.normal @ section.column] for plane in planes])
    np.testing.assert_allclose(tilts.std(axis=0), 0.5, rtol=0.06)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0, 100), st.floats(0, 20))
def test_planes_are_orthonormal_and_repeatable(seed, position, tilt):
    section = oblique(seed)
    options = {"position_sd_um": position, "tilt_sd_deg": tilt, "number": 3, "seed": seed}
    first, second = (planes_within_error(section, (10.0, 20.0), **options) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert a.row @ a.column == pytest.approx(0, abs=1e-9)
        np.testing.assert_array_equal(a.origin_um, b.origin_um)
    if position == tilt == 0:
        np.testing.assert_allclose(first[0].origin_um, section.origin_um, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"position_sd_um": -1.0}, "`position_sd_um` is -1.0"),
        ({"position_sd_um": 1.0, "tilt_sd_deg": float("nan")}, "`tilt_sd_deg` is nan"),
        ({"position_sd_um": 1.0, "number": 1}, "`planes` is 1; a spread needs at least 2"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        planes_within_error(oblique(0), (0.0, 0.0), **options)
