"""Planar poses: mapping, composition, and conversion to sections."""

import numpy as np
import pytest

from tomostain.register.planar_pose import PlanarPose

POINTS = np.random.default_rng(0).uniform(0, 3000, (20, 2))
STRAIN = np.array([[0.02, 0.004], [0.004, -0.01]])


@pytest.fixture(params=[False, True])
def pose(request):
    return PlanarPose(np.array([700.0, 900.0]), 0.7, request.param, np.array([500.0, 400.0]), STRAIN)


def test_the_section_maps_points_as_the_pose(pose):
    section = pose.to_section()
    mapped = section.to_volume_um(section.slide_to_section_um(POINTS))
    np.testing.assert_allclose(mapped[:, 0], 0, atol=1e-9)
    np.testing.assert_allclose(mapped[:, 1:], pose.points_um(POINTS), atol=1e-6)


def test_a_section_becomes_the_same_pose(pose):
    again = PlanarPose.from_section(pose.to_section(), pose.middle_um)
    assert again.mirrored == pose.mirrored
    np.testing.assert_allclose(again.strain, pose.strain, atol=1e-9)
    np.testing.assert_allclose(again.points_um(POINTS), pose.points_um(POINTS), atol=1e-6)


def test_a_map_of_the_slide_takes_precedence_over_the_pose(pose):
    linear, shift = np.array([[1.01, 0.02], [-0.01, 0.99]]), np.array([12.0, -7.0])
    first = pose.middle_um + (POINTS - pose.middle_um) @ linear.T + shift
    np.testing.assert_allclose(pose.after(linear, shift).points_um(POINTS), pose.points_um(first), atol=1e-6)
    assert pose.after(linear, shift).mirrored == pose.mirrored


def test_as_given_leaves_points_where_they_are():
    np.testing.assert_allclose(PlanarPose.as_given([100.0, 200.0]).points_um(POINTS), POINTS)
