"""One image and one slide, as files: the pair with its confidence, or labelled candidates."""

import re

import numpy as np
import pytest
import yaml

from tests.register.planar_scenes import PIXEL_UM, SHAPE, classes, ct_of, error_px, slide_of
from tomostain.cli.main import run
from tomostain.dataset.pair import load_pair
from tomostain.dataset.section_position import state_volume
from tomostain.errors import InputError
from tomostain.geometry.section import Section
from tomostain.io import Volume, read_image, write_image
from tomostain.register import register_slide
from tomostain.register.config import RegisterConfig
from tomostain.register.files import register_files
from tomostain.register.hints import Hint
from tomostain.register.planar_location import locate_in_plane
from tomostain.register.planar_pose import PlanarPose
from tomostain.register.single_image import open_slide_or_image, open_volume_or_image

MIDDLE = np.array(SHAPE) / 2 * PIXEL_UM
POSE = PlanarPose(MIDDLE + np.array([20.0, -30.0]), np.radians(130.0), True, np.full(2, 1740.0), np.zeros((2, 2)))
BONE = (60.0, 90.0, 200.0)
COLOURS = ((214, 190, 220), (200, 120, 160), (120, 60, 130))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planar")
    tissue = classes()
    write_image(folder / "ct.png", np.clip(ct_of(tissue, BONE), 0, 255).astype(np.uint8))
    write_image(folder / "slide.png", slide_of(tissue, POSE, COLOURS))
    write_image(folder / "inverted.png", 255 - slide_of(tissue, POSE, COLOURS))
    write_image(folder / "other.png", slide_of(classes(5), POSE, COLOURS))
    return folder


SIZES = ["--voxel-um", str(PIXEL_UM), "--pixel-um", str(PIXEL_UM)]


def test_the_verb_registers_an_image_in_its_plane(files, tmp_path, capsys):
    out = tmp_path / "pair"
    assert run(["-q", "register", str(files / "ct.png"), str(files / "slide.png"), str(out), *SIZES]) == 0
    printed = capsys.readouterr().out
    assert "edges agree in" in printed
    assert "transform:" in printed
    assert re.search(r"^levels:     background \d+(\.\d+)?, bone \d+(\.\d+)?$", printed, re.MULTILINE)
    values = yaml.safe_load((out / "pair.yaml").read_text())
    assert values["registration"]["sure"] is True
    assert values["registration"]["confidence"] > 0.9
    assert values["made_by"] == "register"
    assert values["origin_um"][0] == 0.0
    assert np.median(error_px(Section.from_dict(values), POSE)) < 0.3
    pair = load_pair(out)
    assert pair.mask.any()
    # The stained islands are the bright ones of the µCT.
    dark = pair.histology.mean(axis=2) < 130
    assert pair.ct[dark].mean() > pair.ct[~dark & pair.mask].mean() + 5000
    assert sorted(p.name for p in out.iterdir()) == ["ct.tif", "histology.tif", "mask.tif", "pair.yaml", "qc.png"]


def test_stated_grey_values_take_precedence_over_those_of_the_settings(files, tmp_path, capsys):
    settings, out = tmp_path / "settings.yaml", tmp_path / "pair"
    settings.write_text("ct_background: 20\nct_bone: 100\n")
    words = ["-q", "register", str(files / "ct.png"), str(files / "slide.png"), str(out), *SIZES]
    assert run([*words, "--config", str(settings), "--bone", "150.5"]) == 0
    assert "levels:     background 20, bone 150.5\n" in capsys.readouterr().out
    levels = yaml.safe_load((out / "pair.yaml").read_text())["levels"]["ct"]
    assert (levels["background"], levels["bone"]) == (20, 150.5)


def test_an_inverted_slide_is_the_same_slide(files):
    slide = open_slide_or_image(files / "inverted.png", PIXEL_UM, inverted=True)
    np.testing.assert_array_equal(slide.read()[0], read_image(files / "slide.png"))


def test_another_slide_leaves_large_labelled_candidates(files, tmp_path, capsys):
    out = tmp_path / "pair"
    words = ["-q", "register", str(files / "ct.png"), str(files / "other.png"), str(out), *SIZES]
    assert run(words) == 3
    message = capsys.readouterr().err
    assert "not sure where the section lies" in message
    assert "--axis" not in message
    picture = read_image(out / "candidate-1.png")
    assert picture.shape[1] > 1500
    assert picture.shape[0] > 600
    assert not (out / "pair.yaml").exists()
    # The candidate can be accepted with the command that its figure shows.
    again = ["-q", *words[1:], "--init", str(out / "candidate-1.yaml"), "--accept"]
    assert run(again) == 0
    values = yaml.safe_load((out / "pair.yaml").read_text())
    assert values["registration"]["sure"] is False
    assert values["hinted"] is True
    assert "not sure, accepted" in capsys.readouterr().out


def test_the_dry_run_states_that_it_is_planar(files, tmp_path, capsys):
    words = ["register", str(files / "ct.png"), str(files / "slide.png"), str(tmp_path / "p"), *SIZES, "--dry-run"]
    assert run(words) == 0
    assert "registered in its plane" in capsys.readouterr().out


def test_pixels_need_not_be_square(files):
    image = read_image(files / "ct.png")[::2]
    volume = Volume.from_array(image[None], (10.0, 2 * PIXEL_UM, PIXEL_UM))
    location = locate_in_plane(volume, open_slide_or_image(files / "slide.png", PIXEL_UM), RegisterConfig())
    assert np.median(error_px(location.section, POSE)) < 0.6


def test_arrays_are_registered_too(files):
    ct, rgb = read_image(files / "ct.png"), read_image(files / "slide.png")
    start = Hint(POSE.moved([15.0, 10.0], 0.01).to_section())
    result = register_slide((ct[None], PIXEL_UM), (rgb, PIXEL_UM), hint=start)
    assert result.evidence.sure
    assert result.confidence == result.evidence.confidence
    assert result.warnings == []


def test_options_that_a_single_image_cannot_have_are_refused(files, tmp_path):
    ct, slide = files / "ct.png", files / "slide.png"
    with pytest.raises(InputError, match="the pixel size of an image is unknown") as caught:
        register_files(ct, slide, tmp_path / "pair")
    assert caught.value.parameter == "voxel_um"
    volume, opened = open_volume_or_image(ct, PIXEL_UM), open_slide_or_image(slide, PIXEL_UM)
    with pytest.raises(InputError, match="no axis to search"):
        locate_in_plane(volume, opened, RegisterConfig(), Hint(axis=np.array([1.0, 0.0, 0.0])))
    tilted = Section(np.zeros(3), np.array([0.6, 0.8, 0.0]), np.array([0.0, 0.0, 1.0]))
    with pytest.raises(InputError, match="leaves the plane"):
        locate_in_plane(volume, opened, RegisterConfig(), Hint(tilted))
    with pytest.raises(InputError, match="one of the sizes must be wrong"):
        locate_in_plane(volume, open_slide_or_image(slide, 20 * PIXEL_UM), RegisterConfig())


def test_a_start_pose_of_the_whole_image_is_used_in_a_region(files):
    whole = Volume.from_array(read_image(files / "ct.png")[None], PIXEL_UM)
    region = whole.region((0, 40, 60), whole.shape)
    start = state_volume(POSE.moved([15.0, 10.0], 0.01).to_section(), whole)
    slide = open_slide_or_image(files / "slide.png", PIXEL_UM)
    location = locate_in_plane(region, slide, RegisterConfig(), Hint(start))
    # The pose is known; the first pixel of the region is 400 and 600 µm from that of the image.
    in_region = PlanarPose(
        POSE.centre_um - np.array([400.0, 600.0]), POSE.angle, POSE.mirrored, POSE.middle_um, POSE.strain
    )
    points_um = np.random.default_rng(0).uniform(1400, 2200, (100, 2))
    found_um = location.section.to_volume_um(location.section.slide_to_section_um(points_um))[:, 1:]
    assert np.median(np.linalg.norm(found_um - in_region.points_um(points_um), axis=1)) < 0.4 * PIXEL_UM
