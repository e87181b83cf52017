"""Compare poses with `Section`, whose geometry has its own tests."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tomostain.geometry.section import Section
from tomostain.register.poses import Poses, distance_um, select_distinct

MIDDLE = np.array([900.0, 1300.0])


def section(seed: int, strain: float = 0.03) -> Section:
    rng = np.random.default_rng(seed)
    frame = Rotation.random(rng=rng).as_matrix()
    turn = np.array([[np.cos(seed), -np.sin(seed)], [np.sin(seed), np.cos(seed)]]) * [1, (-1) ** seed]
    linear = turn @ (np.eye(2) + rng.uniform(-strain, strain, (2, 2)))
    affine = np.hstack([linear, rng.uniform(-500, 500, (2, 1))])
    return Section(rng.uniform(0, 3000, 3), frame[:, 0], frame[:, 1], affine)


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_a_section_turned_and_mirrored_comes_back_as_the_same_map(seed):
    rng = np.random.default_rng(seed)
    true = section(seed)
    slide = rng.uniform(0, 3000, (20, 2))
    back = Poses.from_section(true, MIDDLE).to_section(0, MIDDLE)
    right = true.to_volume_um(true.slide_to_section_um(slide))
    np.testing.assert_allclose(back.to_volume_um(back.slide_to_section_um(slide)), right, atol=0.02)


def test_points_are_those_of_the_section():
    true = section(3)
    poses = Poses.from_section(true, MIDDLE)
    u = torch.tensor([[0.0, 0.0], [100.0, -50.0]])
    right = true.to_volume_um(true.slide_to_section_um(u.numpy() + MIDDLE))
    np.testing.assert_allclose(poses.points_um(u)[0].numpy(), right, atol=0.02)


def test_a_step_moves_turns_and_stretches():
    poses = Poses.from_section(section(0, strain=0.0), MIDDLE)
    step = torch.zeros(1, 9)
    step[0, 0], step[0, 6] = 10.0, 0.01
    step[0, 3:6] = 0.1 * poses.rotation[0, :, 2]
    moved = poses.moved(step)
    assert moved.centre_um[0, 0] - poses.centre_um[0, 0] == pytest.approx(10.0, abs=1e-3)
    assert float(moved.strain[0, 0, 0]) == pytest.approx(0.01, abs=1e-6)
    # A rotation about the normal does not change the normal. It rotates the row by the angle.
    torch.testing.assert_close(moved.rotation[0, :, 2], poses.rotation[0, :, 2], atol=1e-5, rtol=0)
    cosine = float(moved.rotation[0, :, 0] @ poses.rotation[0, :, 0])
    assert cosine == pytest.approx(np.cos(0.1), abs=1e-5)


def test_distinct_keeps_the_best_of_those_that_are_near():
    pose = Poses.from_section(section(1), MIDDLE)
    step = torch.zeros(4, 9)
    step[:, 1] = torch.tensor([0.0, 5.0, 100.0, 104.0])
    poses = Poses.stack([pose] * 4).moved(step)
    corners = torch.tensor([[-50.0, -50.0], [50.0, 50.0]])
    selected = select_distinct(poses, torch.tensor([0.1, 0.9, 0.5, 0.4]), corners, 20.0, 10)
    assert selected.tolist() == [1, 2]
    assert select_distinct(poses, torch.tensor([0.1, 0.9, 0.5, 0.4]), corners, 20.0, 1).tolist() == [1]
    torch.testing.assert_close(distance_um(poses, pose, corners)[:, 0], step[:, 1], atol=1e-3, rtol=0)


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_a_bounded_strain_is_within_its_bounds_and_one_that_was_is_as_it_was(seed):
    poses = Poses.from_section(section(seed, strain=0.2), MIDDLE)
    bounded = poses.bounded(0.03, 0.05).strain[0].double().numpy()
    low, high = np.linalg.eigvalsh(bounded)
    # Independent of the axes: half the difference and the mean of the principal strains.
    assert (high - low) / 2 <= 0.03 + 1e-6
    assert abs(high + low) / 2 <= 0.05 + 1e-6
    free = poses.strain[0].double().numpy()
    # Moved back along its own axes.
    np.testing.assert_allclose(bounded @ free, free @ bounded, atol=1e-6)
    np.testing.assert_allclose(poses.bounded(1.0, 1.0).strain, poses.strain, atol=1e-6)
