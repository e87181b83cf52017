"""Candidates for each hypothesis, and the final selection, in a noise volume whose section is known."""

import numpy as np
import pytest
import torch

from tomostain.geometry.section import Section, sample_volume
from tomostain.register.find import refine_with_restarts, shortlist
from tomostain.register.poses import Poses, distance_um
from tomostain.register.refine import Freedom, random_steps
from tomostain.register.resolution import ResolutionLevel
from tomostain.register.task import SearchTask
from tomostain.register.template import STRAIN_SOFT, Template

SIDE, VOXEL_UM = 72, 20.0


def many_poses(number: int, hypothesis: list[int]) -> Poses:
    frame = torch.eye(3)[:, [1, 2, 0]].expand(number, 3, 3)
    centre = torch.arange(number, dtype=torch.float32)[:, None] * 100.0 * torch.ones(3)
    return Poses(centre, frame, torch.zeros(number, 2, 2), torch.tensor(hypothesis))


CORNERS = torch.tensor([[-50.0, -50.0], [50.0, 50.0]])


def test_each_hypothesis_has_its_own_candidates():
    # The second hypothesis has lower scores everywhere. Without its own share it would have no candidates.
    poses = many_poses(40, [0] * 20 + [1] * 20)
    scores = torch.cat([torch.linspace(0.9, 0.8, 20), torch.linspace(0.5, 0.4, 20)])
    selected = shortlist(poses, scores, CORNERS, 10.0, 10)
    counts = torch.bincount(poses.hypothesis[selected])
    assert counts[0] == counts[1] == round(10 / 2**0.75)
    # The best candidate of each hypothesis.
    assert {0, 20} <= set(selected.tolist())


def test_neighbours_share_a_seat():
    poses = many_poses(10, [0] * 10)
    selected = shortlist(poses, torch.linspace(1, 0, 10), CORNERS, 500.0, 10)
    assert selected.tolist() == [0, 3, 6, 9]


@pytest.fixture(scope="module")
def noise():
    """Return a volume of smooth noise, the template of a tilted section through it, and its pose."""
    from scipy import ndimage

    values = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(SIDE,) * 3), 1.5)
    values = ((values - values.min()) / np.ptp(values)).astype(np.float32)
    resolution = ResolutionLevel.of(values, np.full(3, VOXEL_UM), np.zeros(3))
    tilt = np.radians(20.0)
    row = np.array([np.sin(tilt), np.cos(tilt), 0.0])
    section = Section(np.array([400.0, 250.0, 250.0]), row, np.array([0.0, 0.0, 1.0]))
    shape = (48, 48)
    image = sample_volume(values, (VOXEL_UM,) * 3, section, shape, VOXEL_UM)
    empty = np.zeros(shape, np.float32)
    template = Template(image, empty, np.ones_like(image), np.zeros((*shape, 3), np.uint8), VOXEL_UM, 0.0, ("none",))
    return resolution, template, Poses.from_section(section, template.middle_um)


def test_displaced_poses_are_moved_to_the_optimum(noise):
    resolution, template, right = noise
    displaced = right.moved(random_steps(right, 15.0, 2.0, Freedom(0.01), torch.Generator().manual_seed(3)))
    assert float(distance_um(displaced, right, template.corners_um)) > 0.7 * VOXEL_UM
    settled = refine_with_restarts(SearchTask(resolution, template, Freedom(0.01)), displaced)
    assert float(distance_um(settled, right, template.corners_um)) < 0.1 * VOXEL_UM
    again = refine_with_restarts(SearchTask(resolution, template, Freedom(0.01)), displaced)
    assert torch.equal(settled.centre_um, again.centre_um)


def test_a_black_template_says_nothing_of_the_stain(noise):
    assert noise[1].strain == STRAIN_SOFT
