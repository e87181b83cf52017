"""Compare the screw and its degradation layer with the thread standard (ISO 68-1, ISO 724) and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomostain.phantom.screw import LENGTH_UM, ScrewLayer, screw_distance

PITCH, MAJOR, MINOR = 400.0, 1000.0, 754.6  # ISO 724, M2 × 0.4: major diameter 2.000, d3 = 1.509 mm


def points(z, rho, phi):
    z, rho, phi = np.broadcast_arrays(z, rho, phi)
    return np.stack([z, rho * np.sin(phi), rho * np.cos(phi)], axis=-1).astype(np.float32).reshape(-1, 3)


def test_the_pitch_is_0_4_mm():
    z = np.arange(-1400.0, 1400.0, 5.0)
    inside = screw_distance(points(z, 880.0, 0.3)) < 0
    spectrum = np.abs(np.fft.rfft(inside - inside.mean()))
    assert 1 / np.fft.rfftfreq(len(z), 5.0)[spectrum.argmax()] == pytest.approx(PITCH, rel=1e-6)


def test_major_and_minor_diameter_are_those_of_m2():
    rho = np.arange(700.0, 1100.0, 1.0)
    z = np.arange(-400.0, 400.0, 4.0)
    inside = (screw_distance(points(z[:, None], rho[None], 1.0)) < 0).reshape(len(z), -1)
    surface = rho[0] + inside.sum(axis=1) - 0.5
    assert surface.max() == pytest.approx(MAJOR, abs=1.5)
    assert surface.min() == pytest.approx(MINOR, abs=1.5)


def test_the_volume_is_that_of_the_solid_of_the_profile():
    # One pitch: crest P/8 at R, root at r, and two flanks at 60° to each other (frustums of cones).
    flank = (MAJOR - MINOR) * np.tan(np.radians(30))
    root = PITCH - PITCH / 8 - 2 * flank
    frustum = (MAJOR**2 + MAJOR * MINOR + MINOR**2) / 3
    area = np.pi * (PITCH / 8 * MAJOR**2 + root * MINOR**2 + 2 * flank * frustum) / PITCH
    step = 10.0
    side = np.arange(-1050.0, 1050.0, step)
    z = np.arange(-800.0, 800.0, 20.0)
    grid = np.stack(np.meshgrid(z, side, side, indexing="ij"), axis=-1).astype(np.float32).reshape(-1, 3)
    measured = (screw_distance(grid) < 0).mean() * (len(side) * step) ** 2
    assert measured == pytest.approx(area, rel=0.005)


def test_the_screw_is_4_mm_long_and_slotted_at_its_head():
    z = np.arange(-2200.0, 2200.0, 1.0)
    inside = z[screw_distance(points(z, 400.0, 0.3)) < 0]
    assert inside.max() - inside.min() == pytest.approx(LENGTH_UM, abs=3)
    head = np.array([[-1900.0, 0.0, 0.0]], dtype=np.float32)
    assert screw_distance(head)[0] > 0
    assert screw_distance(head, slotted=False)[0] < 0


coordinate = st.floats(-1500, 1500)


@settings(max_examples=25, deadline=None)
@given(z=st.floats(-1000, 1000), rho=st.floats(700, 1500), phi=st.floats(-3, 3), turn=st.floats(-3, 3))
def test_turning_the_screw_drives_it_along_its_axis(z, rho, phi, turn):
    distance = screw_distance(points(z, rho, phi))
    driven = screw_distance(points(z + turn * PITCH / (2 * np.pi), rho, phi + turn))
    assert driven == pytest.approx(distance, abs=0.01)


@settings(max_examples=25, deadline=None)
@given(st.tuples(coordinate, coordinate, coordinate), st.tuples(coordinate, coordinate, coordinate))
def test_the_distance_has_a_gradient_of_at_most_one(a, b):
    both = np.array([a, b], dtype=np.float32)
    both[:, 1] += 1600  # next to the core of the screw, where a turn changes the angle slowly
    distance = screw_distance(both)
    assert abs(distance[0] - distance[1]) <= 1.01 * np.linalg.norm(both[0] - both[1]) + 0.01


def layer_um(material, weeks):
    layer = ScrewLayer.grow(np.random.default_rng(3), material, weeks)
    rng = np.random.default_rng(4)
    where = rng.uniform(-1000, 1000, (20000, 3)).astype(np.float32)
    inward, outward = layer.depths(where, *rng.standard_normal((2, 20000)).astype(np.float32))
    return inward + outward


def test_the_layer_grows_with_the_weeks_and_is_uneven():
    means = [layer_um("Mg-10Gd", weeks).mean() for weeks in (4, 8, 12)]
    assert means == sorted(means)
    assert 40 < means[0] < 90
    assert 110 < means[2] < 200
    assert layer_um("Mg-10Gd", 8).std() > 15
    assert layer_um("Mg-5Gd", 8).mean() < means[1]


@pytest.mark.parametrize("material", ["Ti", "PEEK"])
def test_titanium_and_peek_do_not_degrade(material):
    assert not layer_um(material, 12).any()


def test_pits_are_hemispheres_that_reach_deep():
    layer = ScrewLayer.grow(np.random.default_rng(3), "Mg-10Gd", 8)
    where = np.random.default_rng(5).uniform(-3000, 3000, (20000, 3)).astype(np.float32)
    still = np.zeros(len(where), dtype=np.float32)
    inward, outward = layer.depths(where, still, still)
    assert np.allclose(outward, 0.3 * 95)
    pit = inward - 0.7 * 95
    assert 0.02 < (pit > 1).mean() < 0.2
    assert 100 < pit.max() <= 150
