"""Detail: high only at the correct position, and independent of coarse structure."""

import numpy as np
import pytest
import torch

from tests.register.test_register_search import blobs, oblique, template_of
from tomostain.geometry.section import Section
from tomostain.register.config import RegisterConfig
from tomostain.register.find import PoseCandidates
from tomostain.register.full_resolution import accept_if_not_worse
from tomostain.register.locate import collect_evidence
from tomostain.register.pose_confidence import Evidence, compare_detail, returning_restarts
from tomostain.register.poses import Poses
from tomostain.register.refine import Freedom
from tomostain.register.task import SearchTask


def test_detail_is_one_at_the_right_pose_and_small_at_others():
    resolution = blobs(5)
    section = oblique(resolution)
    template = template_of(resolution, section, (24, 24))
    right = Poses.from_section(section, template.middle_um)
    step = torch.zeros(1, 9)
    step[0, :3] = torch.tensor([400.0, 0.0, 0.0])
    comparison = compare_detail(resolution, template, Poses.stack([right, right.moved(step)]))
    assert float(comparison.correlation[0]) > 0.99
    assert float(comparison.correlation[1]) < 0.5
    assert torch.nan_to_num(comparison.regions[0], 1.0).min() > 0.95


def test_detail_does_not_see_a_coarse_gradient():
    resolution = blobs(6)
    section = oblique(resolution)
    template = template_of(resolution, section, (24, 24))
    ramp = np.linspace(-1, 1, 24, dtype=np.float32)[:, None] * np.ones((1, 24), np.float32)
    only_ramp = type(template)(ramp, template.screw, template.weight, template.rgb, 50.0, 0.0, ("none",))
    comparison = compare_detail(resolution, only_ramp, Poses.from_section(section, template.middle_um))
    assert abs(float(comparison.correlation[0])) < 0.3


def test_restarts_near_the_right_pose_come_back_and_the_seed_decides():
    resolution = blobs(7)
    section = oblique(resolution)
    template = template_of(resolution, section, (24, 24))
    pose = Poses.from_section(section, template.middle_um)
    first = returning_restarts(SearchTask(resolution, template, Freedom()), pose, seed=1)
    assert first == returning_restarts(SearchTask(resolution, template, Freedom()), pose, seed=1)
    assert first >= 0.75


def test_confidence_grows_with_each_piece_of_evidence():
    def confidence(detail_: float, margin: float, back: float) -> float:
        return Evidence(detail_, margin, back, 1, np.full((3, 3), np.nan)).confidence

    assert confidence(0.8, 0.2, 1.0) > 0.95
    assert confidence(0.45, 0.01, 0.5) < 0.1
    for more in ((0.7, 0.1, 0.5), (0.6, 0.15, 0.5), (0.6, 0.1, 1.0)):
        assert confidence(*more) > confidence(0.6, 0.1, 0.5)


def test_it_is_written_as_plain_numbers():
    values = Evidence(0.5, 0.1, 1.0, 3, np.full((3, 3), np.nan), threshold=0.99).to_dict()
    assert values["regions"] == [[None] * 3] * 3
    assert values["sure"] is False
    assert values["support"] == 3
    assert values["detail"] == pytest.approx(0.5)


@pytest.mark.parametrize(("hinted", "most"), [(False, 0.5), (True, 0.1)])
def test_a_lone_candidate_is_ahead_of_nothing_and_a_margin_is_capped(hinted, most):
    resolution = blobs(7)
    section = oblique(resolution)
    template = template_of(resolution, section, (24, 24))
    pose = Poses.from_section(section, template.middle_um)
    config = RegisterConfig(restarts=2)
    task = SearchTask(resolution, template, Freedom())
    alone = collect_evidence(task, PoseCandidates(pose, torch.tensor([1.9]), 1), config, hinted=hinted)
    assert alone.margin == 0.0
    two = PoseCandidates(Poses.stack([pose, pose]), torch.tensor([1.9, 0.2]), 1)
    assert collect_evidence(task, two, config, hinted=hinted).margin == pytest.approx(most)


def test_a_refinement_that_diverges_is_undone_and_the_confidence_is_that_of_the_result():
    resolution = blobs(7)
    section = oblique(resolution)
    template = template_of(resolution, section, (24, 24))
    pose = Poses.from_section(section, template.middle_um)
    task = SearchTask(resolution, template, Freedom())
    away = Section(section.origin_um + 300.0, section.row, section.column, section.slide_to_section)
    accepted, fit = accept_if_not_worse(task, pose, away)
    np.testing.assert_allclose(accepted.to_volume_um([0.0, 0.0]), section.to_volume_um([0.0, 0.0]), atol=0.1)
    assert fit > 0.99
    # The refined pose is used where it is better.
    accepted, fit = accept_if_not_worse(task, Poses.from_section(away, template.middle_um), section)
    assert accepted is section
    assert fit > 0.99
