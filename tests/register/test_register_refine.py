"""Interpolation against SciPy and finite differences, and refinement against a known pose."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tomostain.geometry.section import Section
from tomostain.register.poses import Poses
from tomostain.register.refine import Freedom, refine, score_poses
from tomostain.register.resolution import ResolutionLevel
from tomostain.register.template_sampling import TemplatePicture, sample_slab, trilinear


@pytest.fixture(scope="module")
def resolution() -> ResolutionLevel:
    noise = np.random.default_rng(0).standard_normal((48, 50, 52))
    values = ndimage.gaussian_filter(noise, 3.0)
    return ResolutionLevel.of((values / values.std()).astype(np.float32), np.full(3, 10.0), np.array([5.0, 0.0, -5.0]))


def known(resolution: ResolutionLevel, strain: float = 0.0) -> tuple[Poses, TemplatePicture]:
    """Return a pose and the image in its plane."""
    frame = Rotation.from_euler("zyx", [20, 35, -50], degrees=True).as_matrix()
    affine = np.array([[1 + strain, strain / 2, 0.0], [strain / 2, 1 - strain, 0.0]])
    section = Section(resolution.middle_um.numpy().astype(float), frame[:, 0], frame[:, 1], affine)
    pose = Poses.from_section(section, np.zeros(2))
    u = torch.cartesian_prod(torch.arange(-150.0, 151.0, 10.0), torch.arange(-150.0, 151.0, 10.0))
    values, _, inside = trilinear(resolution, pose.points_um(u))
    return pose, TemplatePicture(u, values, inside[0].float())


def test_interpolation_is_scipys_and_the_gradient_that_of_finite_differences(resolution):
    points = torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) * 400 + 20
    values, gradient, inside = trilinear(resolution, points)
    index = ((points - resolution.origin_um) / resolution.voxel_um).numpy().T
    np.testing.assert_allclose(values, ndimage.map_coordinates(resolution.values.numpy(), index, order=1), atol=2e-5)
    assert inside.all()
    step = torch.tensor([0.0, 0.02, 0.0])
    slope = (trilinear(resolution, points + step)[0] - trilinear(resolution, points - step)[0]) / 0.04
    assert float((slope - gradient[:, 1]).abs().median()) < 2e-3


def test_a_slab_is_the_mean_of_its_planes(resolution):
    pose, picture = known(resolution)
    points, normal = pose.points_um(picture.u_um), pose.rotation[:, :, 2]
    mean = sum(trilinear(resolution, points + d * normal[:, None])[0] for d in (-10.0, 0.0, 10.0)) / 3
    torch.testing.assert_close(sample_slab(resolution, points, normal, 30.0)[0], mean)


def test_a_pose_that_was_moved_is_found_again(resolution):
    pose, picture = known(resolution)
    step = torch.zeros(1, 9)
    step[0, :6] = torch.tensor([12.0, -9.0, 10.0, 0.05, -0.04, 0.06])
    refined, score = refine(resolution, picture, pose.moved(step), Freedom(), steps=30)
    apart = (refined.points_um(picture.u_um) - pose.points_um(picture.u_um)).norm(dim=-1)
    assert float(score[0]) > 0.999
    assert float(apart.max()) < 0.5  # µm: a twentieth of a voxel


def test_strain_is_found_where_it_may_be(resolution):
    pose, picture = known(resolution, strain=0.04)
    start = Poses(pose.centre_um, pose.rotation, torch.zeros_like(pose.strain), pose.hypothesis)
    refined, score = refine(resolution, picture, start, Freedom(strain=1.0), steps=40)
    np.testing.assert_allclose(refined.strain[0], pose.strain[0], atol=4e-3)
    rigid, worse = refine(resolution, picture, start, Freedom(), steps=30)
    assert not rigid.strain.any()
    assert worse[0] < score[0]


def test_in_plane_nothing_leaves_the_plane(resolution):
    pose, picture = known(resolution)
    step = torch.zeros(1, 9)
    step[0, :3] = 12.0 * pose.rotation[0, :, 0]
    step[0, 3:6] = 0.05 * pose.rotation[0, :, 2]
    refined, score = refine(resolution, picture, pose.moved(step), Freedom(in_plane=True), steps=30)
    assert float(score[0]) > 0.999
    torch.testing.assert_close(refined.rotation[0, :, 2], pose.rotation[0, :, 2], atol=1e-4, rtol=0)


def test_a_pose_outside_the_volume_scores_nothing(resolution):
    pose, picture = known(resolution)
    step = torch.zeros(1, 9)
    step[0, 0] = 1e5
    assert float(score_poses(resolution, picture, pose.moved(step))[0]) == 0.0
    assert float(score_poses(resolution, picture, pose)[0]) == pytest.approx(1.0, abs=1e-4)
