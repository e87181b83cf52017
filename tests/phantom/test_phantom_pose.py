"""Compare the pose of a specimen in its volume, and the saw cut, with plain geometry."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomostain.errors import InputError
from tomostain.phantom.config import PhantomConfig
from tomostain.phantom.pose import draw_pose, section_through_screw


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    orientation=st.sampled_from(["random", "upright", "lying"]),
    point=st.tuples(*[st.floats(-5000, 5000)] * 3),
)
def test_volume_and_specimen_are_one_rigid_motion_apart(seed, orientation, point):
    pose = draw_pose(PhantomConfig(seed=seed, orientation=orientation))
    assert pose.to_specimen(pose.to_volume(np.array(point))) == pytest.approx(np.array(point), abs=1e-6)
    assert np.linalg.det(pose.rotation) == pytest.approx(1)
    assert pose.rotation @ pose.rotation.T == pytest.approx(np.eye(3), abs=1e-9)


@pytest.mark.parametrize(("orientation", "axis"), [("upright", [1, 0, 0]), ("lying", [0, 1, 0])])
def test_the_screw_stands_as_asked(orientation, axis):
    assert draw_pose(PhantomConfig(orientation=orientation)).rotation[:, 0].tolist() == axis


def test_random_poses_point_everywhere():
    axes = np.array([draw_pose(PhantomConfig(seed=seed)).rotation[:, 0] for seed in range(200)])
    # Each component of a uniform direction has mean 0 and variance 1/3.
    assert axes.mean(axis=0) == pytest.approx(np.zeros(3), abs=0.15)
    assert (axes**2).mean(axis=0) == pytest.approx(np.full(3, 1 / 3), abs=0.08)


def test_an_exact_cut_holds_the_whole_axis_and_follows_it():
    config = PhantomConfig(seed=5, section_tilt_deg=0, section_offset_um=0)
    pose = draw_pose(config)
    section, shape = section_through_screw(config, pose)
    axis = pose.to_volume(np.stack([np.linspace(-2000, 2000, 9), np.zeros(9), np.zeros(9)], axis=1))
    assert (axis - section.origin_um) @ section.normal == pytest.approx(np.zeros(9), abs=1e-6)
    assert section.row == pytest.approx(pose.rotation[:, 0])
    assert shape == (512, 512)
    assert section.from_volume_um(pose.translation_um) == pytest.approx(np.full(2, 511 * 5.0))


@pytest.mark.parametrize(("tilt", "offset"), [(3.0, 100.0), (-2.0, -150.0)])
def test_tilt_and_offset_are_as_asked(tilt, offset):
    config = PhantomConfig(seed=5, section_tilt_deg=tilt, section_offset_um=offset)
    pose = draw_pose(config)
    section, _ = section_through_screw(config, pose)
    assert np.degrees(np.arcsin(-section.normal @ pose.rotation[:, 0])) == pytest.approx(tilt)
    distance = (section.origin_um - pose.translation_um) @ section.normal
    assert distance == pytest.approx(offset * np.cos(np.radians(tilt)))


def test_the_section_through_a_flat_volume_is_inside_it():
    config = PhantomConfig(seed=2, orientation="lying", shape=(64, 256, 256))
    section, shape = section_through_screw(config, draw_pose(config))
    assert shape == (512, 512)
    # The short side of the volume is z. A cut with a large area in the volume has its normal near z.
    assert abs(section.normal[0]) > 0.95


def test_drawn_tilt_and_offset_stay_small_and_follow_the_seed():
    for seed in range(20):
        config = PhantomConfig(seed=seed)
        pose = draw_pose(config)
        section, _ = section_through_screw(config, pose)
        assert abs(np.degrees(np.arcsin(section.normal @ pose.rotation[:, 0]))) <= 3
        assert abs((section.origin_um - pose.translation_um) @ section.normal) <= 150
        again, _ = section_through_screw(config, draw_pose(config))
        assert np.array_equal(again.origin_um, section.origin_um)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"material": "Mg-10Gb"}, "material = 'Mg-10Gb'.*'Mg-10Gd'"),
        ({"materal": "Ti"}, "unknown key 'materal'; did you mean 'material'"),
        ({"voxel_um": 0}, "voxel_um = 0: .*greater than or equal to 0.2"),
        ({"pixel_um": -5}, "pixel_um = -5"),
        ({"shape": [4, 64, 64]}, r"shape\.0 = 4: .*greater than or equal to 8"),
        ({"shape": [4000, 4000, 4000]}, "64.0 billion voxels; a phantom is made in memory"),
        ({"weeks": 6}, "weeks = 6: .*4, 8 or 12"),
        ({"seed": -1}, "seed = -1"),
        ({"orientation": "sideways"}, "orientation = 'sideways'.*'random', 'upright' or 'lying'"),
    ],
)
def test_wrong_settings_are_named(values, message):
    with pytest.raises(InputError, match=message) as caught:
        PhantomConfig.from_dict(values)
    assert "\n" not in str(caught.value)


def test_settings_survive_yaml(tmp_path):
    config = PhantomConfig(seed=3, material="PEEK", weeks=12, shape=(16, 32, 64))
    (tmp_path / "phantom.yaml").write_text(config.to_yaml())
    assert PhantomConfig.from_yaml(tmp_path / "phantom.yaml") == config
    assert config.field_um == (300.0, 620.0, 1260.0)
