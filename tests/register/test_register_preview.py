"""Pictures and scores of poses, compared with the functions of the search; and pairs of poses that a person set."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from tests.register.conftest import SMALL
from tomostain.dataset.pair import load_pair
from tomostain.errors import InputError
from tomostain.geometry.section import Section, grid_um, interpolate
from tomostain.io import open_slide, open_volume
from tomostain.prepare import prepare_specimens
from tomostain.register.config import RegisterConfig
from tomostain.register.files import register_files
from tomostain.register.hints import Hint, read_section
from tomostain.register.pose_confidence import compare_detail
from tomostain.register.poses import Poses
from tomostain.register.preview import PixelGrid, PosePreview, plane_on_slide, seen_in_volume_um, seen_on_slide_um
from tomostain.register.refine import score_poses
from tomostain.register.resolution import ResolutionLevel


@pytest.fixture(scope="module")
def preview(specimen):
    return PosePreview.open(open_volume(specimen / "volume"), open_slide(specimen / "slide.ome.tif"))


@pytest.fixture(scope="module")
def truth(specimen):
    return read_section(specimen / "truth" / "section.yaml")


def test_the_plane_is_the_volume_at_the_points_of_the_slide():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(9, 11, 13)).astype(np.float32)
    voxel, origin = np.array([4.0, 5.0, 6.0]), np.array([1.0, 2.0, 3.0])
    frame = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    affine = np.array([[1.02, 0.01, 2.0], [0.01, 0.97, -3.0]])
    section = Section(np.array([15.0, 20.0, 30.0]) - 20 * frame[:, 0], frame[:, 0], frame[:, 1], affine)
    grid = PixelGrid((20, 25), 2.3, 0.4)
    plane = plane_on_slide(ResolutionLevel.of(values, voxel, origin), section, grid)
    points = section.to_volume_um(section.slide_to_section_um(grid_um(grid.shape, 2.3) + 0.4))
    index = (points - origin) / voxel
    outside = ((index < -0.5) | (index > np.array(values.shape) - 0.5)).any(axis=-1)
    np.testing.assert_array_equal(np.isnan(plane), outside)
    assert 0.1 < outside.mean() < 0.9
    np.testing.assert_allclose(plane[~outside], interpolate(values, index)[~outside], atol=2e-4)


def test_a_coarser_grid_covers_the_same_area():
    grid = PixelGrid((400, 300), 2.0, 0.5)
    coarse = grid.coarser(100)
    assert coarse.shape == (100, 75)
    # The first edges agree, and the last ones.
    assert coarse.first_um - coarse.pixel_um / 2 == pytest.approx(grid.first_um - grid.pixel_um / 2)
    assert coarse.shape[0] * coarse.pixel_um == pytest.approx(grid.shape[0] * grid.pixel_um)
    assert grid.coarser(400) is grid


def test_the_score_is_that_of_the_search(preview, truth):
    score = preview.score(truth)
    task = preview.task
    poses = Poses.from_section(truth, task.template.middle_um)
    assert score.correlation == pytest.approx(float(score_poses(task.resolution, task.picture, poses)[0]), abs=1e-5)
    detail = compare_detail(task.resolution, task.template, poses).correlation
    assert score.detail == pytest.approx(float(detail[0]), abs=1e-5)
    assert 0.8 < score.overlap <= 1
    assert score.total > 1.4


def test_every_material_of_the_screw_is_scored(preview, truth):
    template = replace(preview.task.template, hypotheses=("dense", "light"))
    both = replace(preview, task=replace(preview.task, template=template))
    assert both.score(truth).correlation == pytest.approx(preview.score(truth).correlation)


def test_a_snap_finds_the_plane_from_nearby(preview, truth):
    pose = preview.to_pose(truth)
    off = replace(pose, tilt_row_deg=pose.tilt_row_deg + 4, turn_deg=pose.turn_deg - 4, offset_um=pose.offset_um + 60)
    start = preview.to_section(off)
    assert preview.score(start).total < 0.8 * preview.score(truth).total
    snapped = preview.snap(start)
    points = np.random.default_rng(1).uniform(500, 3000, (50, 2))
    distance = np.linalg.norm(seen_in_volume_um(snapped, points) - seen_in_volume_um(truth, points), axis=1)
    assert np.median(distance) < 0.5 * SMALL["voxel_um"]


def test_points_are_projected_on_the_plane(preview, truth):
    slide = np.array([[300.0, 400.0], [900.0, 100.0]])
    places = seen_in_volume_um(truth, slide)
    back, distance = seen_on_slide_um(truth, places + 25 * truth.normal)
    np.testing.assert_allclose(back, slide, atol=1e-6)
    np.testing.assert_allclose(distance, 25)
    assert seen_on_slide_um(truth, np.zeros((0, 3)))[0].shape == (0, 2)
    assert preview.reach_um == pytest.approx(np.sqrt(3) * 95 * SMALL["voxel_um"] / 2)


def test_a_manual_pose_is_saved_as_it_is_and_prepare_takes_it(specimen, truth, tmp_path):
    start = Section(truth.origin_um + 20 * truth.normal, truth.row, truth.column, truth.slide_to_section)
    hint = Hint(start, accept=True, refine=False, source="manual")
    out = tmp_path / "pair"
    registration = register_files(specimen / "volume", specimen / "slide.ome.tif", out, hint=hint)
    values = yaml.safe_load((out / "pair.yaml").read_text())
    assert values["pose"] == {"from": "manual", "refined": False}
    assert values["hinted"] is True
    assert values["made_by"] == "register"
    assert sorted(p.name for p in out.iterdir()) == [
        *("ct.tif", "histology.tif", "mask.tif", "pair.yaml", "qc.png", "volume.png")
    ]
    points = np.array([[500.0, 700.0], [2500.0, 900.0]])
    for section in (registration.section, read_section(out / "pair.yaml")):
        # `pair.yaml` counts from the first pixel of the pair, and the affine is part of it.
        np.testing.assert_allclose(seen_in_volume_um(section, points), seen_in_volume_um(start, points), atol=1e-6)
    assert registration.evidence.detail == pytest.approx(values["registration"]["detail"], abs=1e-3)
    table = tmp_path / "specimens.csv"
    table.write_text(f"specimen,volume,slide,section\nA,{specimen}/volume,{specimen}/slide.ome.tif,pair/pair.yaml\n")
    dataset = prepare_specimens(table, tmp_path / "dataset")
    again, saved = load_pair(dataset.path / "pairs" / "A"), load_pair(out)
    np.testing.assert_array_equal(again.ct, saved.ct)
    np.testing.assert_array_equal(again.mask, saved.mask)


def test_only_a_start_pose_can_be_left_as_it_is(specimen, truth):
    with pytest.raises(InputError, match="a start pose is needed"):
        Hint(refine=False)
    image = (np.asarray(open_volume(specimen / "volume")[:1]), SMALL["voxel_um"])
    from tomostain.register import register_slide

    flat = Section(np.zeros(3), np.array([0.0, 1, 0]), np.array([0.0, 0, 1]))
    with pytest.raises(InputError, match="always refined"):
        register_slide(image, specimen / "slide.ome.tif", hint=Hint(flat, refine=False))


def test_hints_without_an_origin_state_nothing_new(truth):
    assert Hint(truth, accept=True).record() == {}
    assert Hint(truth, source="landmarks").record() == {"pose": {"from": "landmarks", "refined": True}}
    assert Hint(truth, refine=False).record() == {"pose": {"from": "start", "refined": False}}


def test_the_intensity_may_be_given(specimen):
    config = RegisterConfig(ct_background=10000, ct_bone=30000, material="dense")
    preview = PosePreview.open(open_volume(specimen / "volume"), open_slide(specimen / "slide.ome.tif"), config)
    assert (preview.intensity.background, preview.intensity.bone) == (10000, 30000)
    assert isinstance(preview.task.resolution.values, torch.Tensor)
