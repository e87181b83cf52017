"""Compare the global search with brute force and with a known position."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tomostain.geometry.section import Section
from tomostain.register.poses import Poses
from tomostain.register.refine import Freedom, refine
from tomostain.register.resolution import ResolutionLevel
from tomostain.register.search import SearchGrid, frames, half_sphere, search
from tomostain.register.template import Template
from tomostain.register.template_sampling import trilinear


def blobs(seed: int = 0, n: int = 32) -> ResolutionLevel:
    noise = np.random.default_rng(seed).standard_normal((n, n, n))
    values = ndimage.gaussian_filter(noise, 2.5)
    return ResolutionLevel.of((values / values.std() * 0.3 + 0.4).astype(np.float32), np.full(3, 50.0), np.zeros(3))


def template_of(resolution: ResolutionLevel, section: Section, shape: tuple[int, int]) -> Template:
    """Return the image of the volume in a plane, as a template without a screw."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1).reshape(-1, 2) * 50.0
    points = section.to_volume_um(section.slide_to_section_um(index))
    values, _, inside = trilinear(resolution, torch.tensor(points, dtype=torch.float32))
    base, weight = values.numpy().reshape(shape), inside.float().numpy().reshape(shape)
    none, rgb = np.zeros(shape, np.float32), np.zeros((*shape, 3), np.uint8)
    return Template(base, none, weight, rgb, 50.0, 0.0, ("none",))


def oblique(resolution: ResolutionLevel) -> Section:
    frame = Rotation.from_euler("zyx", [33, -25, 70], degrees=True).as_matrix()
    row, column = frame[:, 0], frame[:, 1]
    middle = resolution.middle_um.numpy().astype(float) + 120.0 * frame[:, 2]
    return Section(middle - 11.5 * 50.0 * (row + column), row, column)


def test_normals_are_unit_and_evenly_spread():
    normals = half_sphere(10.0)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0)
    cosines = np.abs(normals @ normals.T) - 2 * np.eye(len(normals))
    nearest = np.degrees(np.arccos(cosines.max(axis=1)))
    assert nearest.min() > 5.0
    assert nearest.max() < 12.0
    rotations = frames(normals)
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0)
    np.testing.assert_allclose(rotations[:, :, 2], normals)


def test_the_score_is_the_normalised_cross_correlation():
    resolution = blobs()
    section = oblique(resolution)
    template = template_of(resolution, section, (24, 24))
    grid = SearchGrid(side=32, step_deg=30.0, peaks=1, normals=section.normal[None])
    poses, scores = search(resolution, template, grid)
    best = poses[scores.argmax()[None]]
    picture = template.picture(50.0)
    v, _, inside = trilinear(resolution, best.points_um(picture.u_um))
    w = picture.weight.numpy() * inside[0].numpy()
    by_hand = np.corrcoef(v[0].numpy()[w > 0], picture.values[0].numpy()[w > 0])[0, 1]
    # The search interpolates the rotated volume and the rotated template. The reference interpolates once.
    assert float(scores.max()) == pytest.approx(by_hand, abs=0.08)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_plane_in_noise_is_found_in_any_orientation(mirrored):
    resolution = blobs(3)
    section = oblique(resolution)
    if mirrored:
        affine = np.array([[1.0, 0.0, 0.0], [0.0, -1.0, 23 * 50.0]])
        section = Section(section.origin_um, section.row, section.column, affine)
    template = template_of(resolution, section, (24, 24))
    poses, scores = search(resolution, template, SearchGrid(side=32, step_deg=18.0))
    top = poses[scores.topk(300).indices]
    refined, after = refine(resolution, template.picture(50.0), top, Freedom(), steps=15)
    truth = Poses.from_section(section, template.middle_um)
    corners = template.corners_um
    apart = (refined.points_um(corners) - truth.points_um(corners)).norm(dim=-1).mean(dim=-1)
    assert float(after.max()) > 0.99
    assert float(apart[after.argmax()]) < 5.0  # µm: a tenth of a voxel
