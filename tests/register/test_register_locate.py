"""Registration from files to a section, against the truth of the phantom, and the cases in which it must refuse."""

import csv
import dataclasses
import io
import logging
import re
import shutil

import numpy as np
import pytest
import torch
import yaml

from tests.register.conftest import SMALL
from tomostain.cli.main import run
from tomostain.dataset.pair import load_pair
from tomostain.errors import InputError, RegistrationUncertainError
from tomostain.geometry.section import Section
from tomostain.imaging.intensity import IntensityReference
from tomostain.io import open_slide, open_volume, read_image, write_image, write_stack
from tomostain.register import register_slide
from tomostain.register.config import RegisterConfig
from tomostain.register.files import register_files, use_location
from tomostain.register.hints import COLUMNS, Hint, read_section
from tomostain.register.locate import SectionLocation, locate_section
from tomostain.register.pose_confidence import Evidence
from tomostain.register.preparation import check_sizes, shows_metal
from tomostain.register.registration import describe
from tomostain.register.resolution import ResolutionLevel
from tomostain.register.template import Template

QUICK = RegisterConfig(thorough=False, candidates=300, step_deg=16.0, side=20)
# No registration is sure.
STRICT = QUICK.model_copy(update={"threshold": 1.0})


def target_error_voxels(section: Section, specimen) -> float:
    """Return the median distance between estimated and true positions of slide points, in voxels."""
    truth = read_section(specimen / "truth" / "section.yaml")
    slide = open_slide(specimen / "slide.ome.tif")
    points = np.random.default_rng(0).uniform(0.25, 0.75, (200, 2)) * np.array(slide.shape) * slide.pixel_um
    places = [s.to_volume_um(s.slide_to_section_um(points)) for s in (section, truth)]
    return float(np.median(np.linalg.norm(places[0] - places[1], axis=1))) / SMALL["voxel_um"]


@pytest.fixture(scope="module")
def pair(specimen, tmp_path_factory):
    out = tmp_path_factory.mktemp("pair") / "pair"
    settings = out.parent / "quick.yaml"
    settings.write_text(QUICK.to_yaml())
    words = ["register", specimen / "volume", specimen / "slide.ome.tif", out, "--config", settings]
    assert run(["-q", *map(str, words)]) == 0
    return out


@pytest.fixture(scope="module")
def truth(specimen):
    return read_section(specimen / "truth" / "section.yaml")


@pytest.fixture(scope="module")
def near_truth(truth):
    """Return a start pose 170 µm from the truth."""
    return Section(truth.origin_um + 100.0, truth.row, truth.column, truth.slide_to_section)


@pytest.fixture(scope="module")
def location_and_log(specimen, near_truth):
    """Return the result of one search around a hint, for all tests that need any result, and what was logged."""
    volume, slide = open_volume(specimen / "volume"), open_slide(specimen / "slide.ome.tif")
    log, handler = logging.getLogger("tomostain.register"), logging.StreamHandler(io.StringIO())
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        location = locate_section(volume, slide, QUICK, hint=Hint(near_truth), device="cpu")
    finally:
        log.setLevel(level)
        log.removeHandler(handler)
    return location, handler.stream.getvalue()


@pytest.fixture(scope="module")
def location(location_and_log):
    return location_and_log[0]


@pytest.fixture
def stubbed(location, monkeypatch):
    """Let `register_files` and `register_slide` use `location` immediately; return the keywords of the searches."""
    requests = []

    def stub(volume, slide, config, **hints):
        requests.append(hints)
        return dataclasses.replace(
            location, evidence=dataclasses.replace(location.evidence, threshold=config.threshold)
        )

    monkeypatch.setattr("tomostain.register.files.locate_section", stub)
    return requests


def test_a_turned_and_mirrored_slide_is_found_from_nothing(pair, specimen):
    values = yaml.safe_load((pair / "pair.yaml").read_text())
    assert values["registration"]["sure"]
    assert values["registration"]["implant_taken_for"] == "dense"
    assert values["registration"]["options"]["seed"] == 0
    assert target_error_voxels(Section.from_dict(values), specimen) < 1.0


def test_the_pair_is_on_one_grid_with_pictures(pair):
    loaded = load_pair(pair)
    assert loaded.voxel_um == SMALL["voxel_um"]
    assert loaded.mask.mean() > 0.2
    for name in ("qc.png", "volume.png"):
        picture = read_image(pair / name)
        assert picture.shape[0] > 400
        assert np.ptp(picture) > 200
    values = yaml.safe_load((pair / "pair.yaml").read_text())
    assert values["similarity"]["mutual_information_bits"] > 0.3


def test_nothing_is_overwritten_unasked(pair, specimen):
    with pytest.raises(InputError, match="exists already"):
        register_files(specimen / "volume", specimen / "slide.ome.tif", pair)


def test_overwriting_preserves_files_of_the_user(specimen, tmp_path):
    volume, slide = specimen / "volume", specimen / "slide.ome.tif"
    with pytest.raises(InputError, match=r"lies in .* which would be replaced"):
        register_files(volume, slide, specimen, overwrite=True)
    other = tmp_path / "pair"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes.txt: is not a file of a pair"):
        register_files(volume, slide, other, overwrite=True)
    assert (other / "notes.txt").read_text() == "mine"


def test_an_uncertain_registration_preserves_the_pair_and_its_exclusion(pair, specimen, stubbed, tmp_path):
    good = tmp_path / "good"
    shutil.copytree(pair, good)
    (good / "exclude.tif").write_bytes(b"drawn manually")
    with pytest.raises(RegistrationUncertainError, match="good-candidates"):
        register_files(specimen / "volume", specimen / "slide.ome.tif", good, STRICT, overwrite=True)
    assert (good / "pair.yaml").read_bytes() == (pair / "pair.yaml").read_bytes()
    accepted = Hint(accept=True)
    register_files(specimen / "volume", specimen / "slide.ome.tif", good, STRICT, hint=accepted, overwrite=True)
    assert (good / "pair.yaml").read_bytes() != (pair / "pair.yaml").read_bytes()
    assert (good / "exclude.tif").read_bytes() == b"drawn manually"


def test_another_specimens_slide_is_not_sure_and_leaves_candidates(specimen, other_slide, tmp_path, capsys):
    out = tmp_path / "pair"
    settings = tmp_path / "quick.yaml"
    settings.write_text(QUICK.to_yaml())
    words = ["register", specimen / "volume", other_slide, out, "--config", settings]
    assert run(["-q", *map(str, words)]) == 3
    printed = capsys.readouterr()
    assert "not sure where the section lies" in printed.err
    assert "device: cpu\n" in printed.out
    assert sorted(p.name for p in out.iterdir()) == [f"candidate-{i}.{e}" for i in (1, 2, 3) for e in ("png", "yaml")]


def test_a_hint_is_enough_and_decisions_are_logged(specimen, location_and_log):
    location, log = location_and_log
    assert target_error_voxels(location.section, specimen) < 1.0
    assert location.evidence.sure
    for words in ("device of the search: cpu", "intensity reference: background", "searched at", "confidence"):
        assert words in log


def test_landmarks_are_enough_and_the_intensity_and_the_seed_of_the_file_are_used(specimen, truth, tmp_path):
    points = np.array([[500.0, 700.0], [3000.0, 900.0], [1500.0, 3500.0]])
    lines = np.hstack([points, truth.to_volume_um(truth.slide_to_section_um(points))])
    table = tmp_path / "points.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *lines.tolist()])
    settings = tmp_path / "levels.yaml"
    options = QUICK.model_dump(exclude_unset=True) | {"ct_background": 9000.0, "ct_bone": 31000.0, "seed": 7}
    settings.write_text(yaml.safe_dump(options))
    words = ["register", specimen / "volume", specimen / "slide.ome.tif", tmp_path / "p", "--landmarks", table]
    assert run(["-q", *map(str, words), "--config", str(settings)]) == 0
    values = yaml.safe_load((tmp_path / "p" / "pair.yaml").read_text())
    assert target_error_voxels(Section.from_dict(values), specimen) < 1.0
    assert values["levels"]["ct"]["bone"] == 31000.0
    assert values["registration"]["options"]["seed"] == 7
    assert values["hinted"] is True
    assert values["inputs"]["volume"]["shape"] == [96, 96, 96]


def test_a_start_pose_of_the_command_line_is_the_hint_of_the_search(specimen, truth, stubbed, tmp_path):
    init = specimen / "truth" / "section.yaml"
    words = ["register", specimen / "volume", specimen / "slide.ome.tif", tmp_path / "p", "--init", init]
    assert run(["-q", *map(str, words)]) == 0
    assert stubbed[0]["hint"].start.to_dict() == truth.to_dict()
    assert stubbed[0]["hint"].refine
    assert yaml.safe_load((tmp_path / "p" / "pair.yaml").read_text())["hinted"] is True


def test_a_pixel_size_ten_times_off_is_noticed(specimen):
    volume = open_volume(specimen / "volume")
    guesses = {0.1: "by a factor of 10", 10.0: "by a factor of 10", 0.001: "in mm instead of µm", 1000.0: "in mm"}
    for factor, guess in guesses.items():
        slide = open_slide(specimen / "slide.ome.tif", pixel_um=SMALL["pixel_um"] * factor)
        with pytest.raises(InputError, match=rf"measures .* mm .* {guess}"):
            locate_section(volume, slide, QUICK)


def test_objects_that_cannot_be_registered_are_named(specimen, tmp_path):
    white = tmp_path / "white.png"
    write_image(white, np.full((400, 400, 3), 240, np.uint8))
    volume, slide = specimen / "volume", specimen / "slide.ome.tif"
    with pytest.raises(InputError, match=r"white.png: no"):
        register_files(volume, white, tmp_path / "a", QUICK, pixel_um=10.0)
    air = np.random.default_rng(0).normal(10000, 300, (40, 40, 40)).astype(np.uint16)
    write_stack(tmp_path / "air", air, voxel_um=(46.0,) * 3)
    with pytest.raises(InputError, match=r"air: no bone is brighter than the"):
        register_files(tmp_path / "air", slide, tmp_path / "b", QUICK)
    broken = tmp_path / "broken.ome.tif"
    broken.write_bytes(slide.read_bytes()[:20000])
    with pytest.raises(InputError, match=r"broken.ome.tif: "):
        register_files(volume, broken, tmp_path / "c", QUICK)
    holes = open_volume(volume).read(0, 96).astype(np.float32)
    holes[50, 40, 40] = np.nan
    write_stack(tmp_path / "nan", holes, voxel_um=(46.0,) * 3)
    with pytest.raises(InputError, match=r"NaN or infinite values in slice"):
        register_files(tmp_path / "nan", slide, tmp_path / "d", QUICK)


def test_accept_writes_a_pair_that_is_not_sure(specimen, truth, stubbed, tmp_path):
    with pytest.raises(RegistrationUncertainError):
        register_files(specimen / "volume", specimen / "slide.ome.tif", tmp_path / "p", STRICT, hint=Hint(truth))
    accepted = Hint(truth, accept=True)
    register_files(specimen / "volume", specimen / "slide.ome.tif", tmp_path / "p", STRICT, hint=accepted)
    assert yaml.safe_load((tmp_path / "p" / "pair.yaml").read_text())["registration"]["sure"] is False


def disc_template(radius_px: int) -> Template:
    rows, columns = np.indices((120, 120)) - 60
    disc = (np.hypot(rows, columns) < radius_px).astype(np.float32)
    return Template(disc, disc, np.ones_like(disc), np.zeros((120, 120, 3), np.uint8), 20.0, 0.0, ("dense", "light"))


@pytest.mark.parametrize(
    ("body", "radius_px", "metal"),
    [
        (1.2, 30, True),
        # As bright as bone, or as dark as a polymer: both remain possible.
        (1.0, 30, False),
        (0.2, 30, False),
        # Brighter than bone, but much thinner or much thicker than the screw of the slide.
        (1.2, 55, False),
        (1.2, 8, False),
    ],
)
def test_metal_shows_in_the_volume(body, radius_px, metal):
    z, y, x = np.indices((64, 64, 64)) - 32
    values = np.where(np.hypot(y, x) < 15, body, 0.2) + 0.0 * z
    resolution = ResolutionLevel.of(values.astype(np.float32), np.full(3, 40.0), np.zeros(3))
    assert shows_metal(resolution, disc_template(radius_px)) is metal


def test_metal_is_not_required_without_a_screw():
    template = disc_template(30)
    resolution = ResolutionLevel.of(np.full((32, 32, 32), 1.2, np.float32), np.full(3, 40.0), np.zeros(3))
    assert not shows_metal(resolution, template.of_material("light"))
    assert not shows_metal(resolution, disc_template(0))


def test_a_section_across_a_long_specimen_is_not_a_wrong_size(specimen):
    slide = open_slide(specimen / "slide.ome.tif")
    long = ResolutionLevel.of(np.zeros((2, 2, 2), np.float32), np.array([15e3, 2.3e3, 2.3e3]), np.zeros(3))
    check_sizes(2300.0, long, slide, "it")
    with pytest.raises(InputError, match=r"measures 0.23 mm"):
        check_sizes(230.0, long, slide, "it")


def test_the_pose_is_saved_if_the_pair_cannot_be_cut(specimen, truth, stubbed, tmp_path, monkeypatch):
    def fail(*_):
        raise InputError("no glass")

    monkeypatch.setattr("tomostain.register.registration.cut_pair", fail)
    with pytest.raises(InputError, match=r"no glass. The section was found; .* set `init` to .*candidate-1.yaml"):
        register_files(specimen / "volume", specimen / "slide.ome.tif", tmp_path / "p", QUICK, hint=Hint(truth))
    assert target_error_voxels(read_section(tmp_path / "p" / "candidate-1.yaml"), specimen) < 1.0


def test_hints_that_exclude_each_other_are_refused(specimen, tmp_path, capsys):
    init = specimen / "truth" / "section.yaml"
    words = ["register", specimen / "volume", specimen / "slide.ome.tif", tmp_path / "p", "--init", init]
    assert run(["-q", *map(str, words), "--axis", "0,1,0"]) == 2
    assert "--axis: cannot be combined" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("strain", "words"),
    [
        ([[0.01, 0.0], [0.0, 0.012]], None),
        ([[0.05, 0.0], [0.0, -0.05]], "strained by 5.0%; with this stain it is rarely more than 2.4%"),
        ([[0.05, 0.0], [0.0, 0.05]], r"deviates by \+5.0%"),
        ([[0.0, 0.04], [0.04, 0.0]], "strained by 4.0%"),
    ],
)
def test_more_strain_than_the_stain_explains_is_warned_of(strain, words):
    affine = np.hstack([np.eye(2) + strain, np.zeros((2, 1))])
    section = Section(np.zeros(3), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), affine)
    evidence = Evidence(0.9, 0.3, 1.0, 3, np.full((3, 3), np.nan))
    # Blue tissue means toluidine blue.
    template = dataclasses.replace(disc_template(0), rgb=np.full((120, 120, 3), (60, 80, 200), np.uint8))
    located = SectionLocation(section, (section,), evidence, "dense", IntensityReference(0.0, 1.0), None, template)
    warnings = describe(located, RegisterConfig())["registration"]["warnings"]
    assert (len(warnings) == 1 and re.search(words, warnings[0])) if words else warnings == []


@pytest.mark.parametrize("made_by", ["person", "study"])
def test_an_axis_is_a_hint_and_is_noted(specimen, tmp_path, stubbed, made_by):
    hint = Hint(axis=np.array([0.0, 1.0, 0.0])) if made_by == "person" else Hint()
    out = tmp_path / "p"
    register_files(specimen / "volume", specimen / "slide.ome.tif", out, QUICK, hint=hint, made_by=made_by)
    assert stubbed[0]["hint"] is hint
    values = yaml.safe_load((out / "pair.yaml").read_text())
    assert values["hinted"] is (made_by == "person")
    assert values["made_by"] == made_by


def test_candidates_preserve_the_exclusion_and_files_of_the_user(specimen, tmp_path, stubbed, monkeypatch):
    def fail(*_):
        raise InputError("no glass")

    monkeypatch.setattr("tomostain.register.registration.cut_pair", fail)
    out = tmp_path / "p"
    out.mkdir()
    (out / "exclude.tif").write_bytes(b"drawn manually")
    inputs = (specimen / "volume", specimen / "slide.ome.tif", out, QUICK)
    with pytest.raises(InputError, match=r"set `init` to .*p/candidate-1.yaml"):
        register_files(*inputs, overwrite=True)
    assert (out / "exclude.tif").read_bytes() == b"drawn manually"
    # Next to an existing pair, in a folder that contains a user's notes.
    (out / "pair.yaml").write_text("{}")
    candidates = tmp_path / "p-candidates"
    candidates.mkdir()
    (candidates / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes.txt: is not a file of a pair"):
        register_files(*inputs, overwrite=True)
    assert (candidates / "notes.txt").read_text() == "mine"


def test_arrays_are_registered_without_writing_and_the_same_seed_gives_the_same_bits(specimen, near_truth, location):
    volume, slide = open_volume(specimen / "volume"), open_slide(specimen / "slide.ome.tif")
    arrays = (np.asarray(volume), volume.voxel_um), (slide.read()[0], slide.pixel_um)
    result = register_slide(*arrays, QUICK, hint=Hint(near_truth), device="cpu")
    assert target_error_voxels(result.section, specimen) < 1.0
    assert result.confidence == result.evidence.confidence > 0.5
    assert result.pair.ct.shape == result.pair.mask.shape == result.pair.histology.shape[:2]
    assert result.warnings == []
    # The search of the opened files, with the same seed.
    assert result.section.to_dict() == location.section.to_dict()
    assert result.evidence.to_dict() == location.evidence.to_dict()
    opened = use_location(volume, slide, location, QUICK)
    assert np.array_equal(opened.pair.ct, result.pair.ct)
    assert np.array_equal(opened.pair.histology, result.pair.histology)


def test_an_array_is_written_as_a_pair_with_a_digest_of_its_pixels(specimen, stubbed, tmp_path):
    slide = (open_slide(specimen / "slide.ome.tif").read()[0], SMALL["pixel_um"])
    result = register_slide(specimen / "volume", slide, QUICK, pair_out=tmp_path / "p")
    written = load_pair(tmp_path / "p")
    assert np.array_equal(written.ct, result.pair.ct)
    values = yaml.safe_load((tmp_path / "p" / "pair.yaml").read_text())
    assert len(values["inputs"]["slide"]["digest"]) == 64


def test_an_array_without_a_size_is_refused():
    with pytest.raises(InputError, match=r"the voxel size of an array is unknown; give \(array, voxel_um\)"):
        register_slide(np.zeros((8, 8, 8)), (np.zeros((8, 8, 3), np.uint8), 1.0))
    with pytest.raises(InputError, match=r"the pixel size of an array is unknown; give \(array, pixel_um\)"):
        register_slide((np.zeros((8, 8, 8)), 5.0), np.zeros((8, 8, 3), np.uint8))


def test_an_uncertain_result_has_its_candidates(specimen, stubbed):
    with pytest.raises(RegistrationUncertainError, match="not sure where the section lies") as caught:
        register_slide(specimen / "volume", specimen / "slide.ome.tif", STRICT)
    assert target_error_voxels(caught.value.candidates[0], specimen) < 1.0


def test_the_threshold_decides_whether_a_pose_is_sure(specimen, truth):
    """The search is left out: the evidence is that of the start pose."""
    volume, slide = open_volume(specimen / "volume"), open_slide(specimen / "slide.ome.tif")
    strict = locate_section(volume, slide, STRICT, hint=Hint(truth, refine=False))
    assert strict.section is truth
    assert strict.evidence.threshold == 1.0
    assert 0.0 < strict.evidence.confidence < 1.0
    assert not strict.evidence.sure


def test_the_device_is_passed_to_the_search(specimen, truth, monkeypatch):
    with pytest.raises(InputError, match="device"):
        register_slide(specimen / "volume", specimen / "slide.ome.tif", QUICK, device="nonsense")
    monkeypatch.setattr("tomostain.register.locate.choose_device", lambda device: torch.device("meta"))
    with pytest.raises(Exception, match="meta"):
        register_slide(specimen / "volume", specimen / "slide.ome.tif", QUICK, hint=Hint(truth))


def test_the_older_names_work_with_a_warning(specimen, truth, location, monkeypatch):
    from tomostain.register import locate

    calls = []
    monkeypatch.setattr(locate, "locate_section", lambda *words, **options: calls.append((words, options)) or location)
    volume, slide = open_volume(specimen / "volume"), open_slide(specimen / "slide.ome.tif")
    with pytest.warns(DeprecationWarning, match="now locate_section"):
        assert locate.locate(volume, slide, QUICK, start=truth, levels=location.intensity) is location
    ((words, options),) = calls
    assert words == (volume, slide, QUICK)
    assert (options["hint"].start, options["intensity"]) == (truth, location.intensity)
    with pytest.warns(DeprecationWarning, match="now SectionLocation"):
        assert isinstance(location, locate.Located)
    with pytest.warns(DeprecationWarning, match="most_voxels is now max_voxels"):
        config = RegisterConfig.from_dict({"most_voxels": 100})
    assert config.max_voxels == 100
    assert {"most_strain", "side", "step_deg", "candidates", "most_voxels"} <= set(config.to_pair())
    assert RegisterConfig.from_pair(config.to_pair()) == config


def test_the_device_is_an_option_of_the_command_line(specimen, tmp_path, capsys):
    words = ["register", specimen / "volume", specimen / "slide.ome.tif", tmp_path / "p", "--device", "nonsense"]
    assert run(["-q", *map(str, words)]) == 2
    assert "--device nonsense: not a device" in capsys.readouterr().err


def test_an_uncertain_result_names_the_options_of_the_command_line(specimen, stubbed, tmp_path, capsys):
    settings = tmp_path / "strict.yaml"
    settings.write_text(STRICT.to_yaml())
    init = specimen / "truth" / "section.yaml"
    words = ["register", specimen / "volume", specimen / "slide.ome.tif", tmp_path / "p", "--init", init]
    assert run(["-q", *map(str, words), "--config", str(settings)]) == 3
    message = capsys.readouterr().err
    assert f"repeat with --init set to {tmp_path / 'p'}/candidate-1.yaml and with --accept" in message
    assert "give --landmarks or --axis" in message
