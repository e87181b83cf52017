"""Compare poses that a person sets with rotations, directions and points that are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomostain.errors import InputError
from tomostain.geometry.plane_pose import PlanePose
from tomostain.geometry.section import Section

SLIDE, VOLUME = np.array([900.0, 700.0]), np.array([1000.0, 1200.0, 1400.0])
DIRECTIONS = {"z": ([0, 1, 0], [0, 0, 1]), "y": ([0, 0, 1], [1, 0, 0]), "x": ([1, 0, 0], [0, 1, 0])}
POSES = st.builds(
    PlanePose,
    base=st.sampled_from("zyx"),
    tilt_row_deg=st.floats(-59, 59),
    tilt_column_deg=st.floats(-59, 59),
    turn_deg=st.floats(-179, 179),
    face_down=st.booleans(),
    offset_um=st.floats(-500, 500),
    shift_row_um=st.floats(-500, 500),
    shift_column_um=st.floats(-500, 500),
    strain=st.tuples(*[st.floats(-0.05, 0.05)] * 3),
)


@pytest.mark.parametrize("base", "zyx")
def test_a_base_plane_is_a_slice_of_the_volume(base):
    section = PlanePose(base).to_section(SLIDE, VOLUME)
    np.testing.assert_allclose([section.row, section.column], DIRECTIONS[base])
    np.testing.assert_allclose(section.normal, [float(axis == base) for axis in "zyx"])
    np.testing.assert_allclose(section.to_volume_um(section.slide_to_section_um(SLIDE)), VOLUME)


@given(POSES)
@settings(max_examples=60, deadline=None)
def test_a_section_and_back_is_the_same_pose(pose):
    section = pose.to_section(SLIDE, VOLUME)
    again = PlanePose.from_section(section, SLIDE, VOLUME, base=pose.base).to_section(SLIDE, VOLUME)
    points = np.array([[0.0, 0.0], [1800.0, 0.0], [0.0, 1400.0]])
    places = [s.to_volume_um(s.slide_to_section_um(points)) for s in (section, again)]
    np.testing.assert_allclose(places[0], places[1], atol=1e-6)


@given(POSES)
@settings(max_examples=60, deadline=None)
def test_the_angles_of_a_pose_come_back_where_the_base_is_near(pose):
    back = PlanePose.from_section(pose.to_section(SLIDE, VOLUME), SLIDE, VOLUME, base=pose.base)
    if back.base == pose.base:
        numbers = ("tilt_row_deg", "tilt_column_deg", "turn_deg", "offset_um", "shift_row_um", "shift_column_um")
        np.testing.assert_allclose([getattr(back, n) for n in numbers], [getattr(pose, n) for n in numbers], atol=1e-6)
        np.testing.assert_allclose(back.strain, pose.strain, atol=1e-9)
        assert back.face_down == pose.face_down
    assert np.degrees(np.arccos(np.clip(abs(back.normal @ PlanePose(back.base).normal), 0, 1))) < 60.001


@given(POSES, st.floats(-59, 59))
@settings(max_examples=30, deadline=None)
def test_a_rotation_leaves_the_middle_of_the_slide_where_it_is(pose, angle):
    rotated = pose.rotated(VOLUME, tilt_row_deg=angle, turn_deg=angle)
    np.testing.assert_allclose(rotated.centre_um(VOLUME), pose.centre_um(VOLUME), atol=1e-9)
    assert rotated.tilt_row_deg == angle


@pytest.mark.parametrize("face_down", [False, True])
def test_shift_and_turn_move_the_picture_as_they_say(face_down):
    still = PlanePose(face_down=face_down)
    place = VOLUME + 100 * still.rotation[:, 1]  # seen 100 µm to the right of the middle

    def seen(pose):
        section = pose.to_section(SLIDE, VOLUME)
        return section.section_to_slide_um(section.from_volume_um(place)) - SLIDE

    np.testing.assert_allclose(seen(still), [0, 100], atol=1e-9)
    np.testing.assert_allclose(seen(PlanePose(face_down=face_down, shift_row_um=30, shift_column_um=5)), [30, 105])
    # A quarter turn clockwise moves points from the right to below.
    np.testing.assert_allclose(seen(PlanePose(face_down=face_down, turn_deg=90)), [100, 0], atol=1e-9)


def test_a_slide_that_lies_face_down_is_mirrored():
    up, down = PlanePose(), PlanePose(face_down=True)
    np.testing.assert_allclose(up.rotation[:, 0], down.rotation[:, 0])
    np.testing.assert_allclose(up.rotation[:, 1], -down.rotation[:, 1])
    np.testing.assert_allclose(up.normal, down.normal)
    assert np.linalg.det(down.rotation) == pytest.approx(1)


def test_the_affine_of_a_section_may_mirror():
    mirrored = Section(VOLUME, np.array([0.0, 1, 0]), np.array([0.0, 0, 1]), np.array([[1.0, 0, 0], [0, -1, 0]]))
    assert PlanePose.from_section(mirrored, SLIDE, VOLUME).face_down


def test_wrong_values_are_refused():
    with pytest.raises(InputError, match="give z, y or x"):
        PlanePose("w")
    with pytest.raises(InputError, match="finite"):
        PlanePose(turn_deg=float("nan"))
