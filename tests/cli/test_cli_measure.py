"""The verb `measure`: its three forms, what is refused, and what is printed."""

import json

import numpy as np
import pytest
import tifffile

from tomostain.cli.main import run
from tomostain.dataset.pair import Pair, save_pair
from tomostain.io import create_stained, open_volume
from tomostain.measure.classes import TissueClass
from tomostain.measure.label_files import write_labels
from tomostain.measure.label_source import LabelArray
from tomostain.measure.labelling import MeasureSources, open_inputs
from tomostain.measure.measures import Definition, Measure
from tomostain.measure.result_files import read_rows
from tomostain.measure.results import MeasureResult, SectionImage, SectionResult
from tomostain.measure.rows import measure_rows

TRIAL = Definition("trial_measure", "T", "trial measure", "%", 3, "trial-1", "")


@pytest.fixture
def stained(tmp_path):
    writer = create_stained(tmp_path / "stained.ome.zarr", (8, 40, 40), 20.0, provenance={})
    writer.write(0, np.full((8, 40, 40, 3), 180, np.uint8))
    writer.finish()
    return writer.path


@pytest.fixture
def labels(tmp_path):
    values = np.full((8, 40, 40), TissueClass.BONE, np.uint8)
    values[2:6, 15:25, 15:25] = TissueClass.METAL
    return write_labels(tmp_path / "labels.ome.zarr", LabelArray(values, 20.0))


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    rows = ["specimen,subject,implant,weeks,BIC (%)"]
    rows += [f"s{k},rat{k},{'Ti' if k < 7 else 'Mg'},8,{50 + 9 * (k < 7) + rng.normal():.2f}" for k in range(14)]
    path = tmp_path / "study.csv"
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def test_a_study(tmp_path, table, capsys):
    out = tmp_path / "out"
    assert run(["-q", "measure", str(out), "--study", str(table)]) == 0
    printed = capsys.readouterr().out
    assert "groups: Ti, Mg (implant)" in printed
    assert "Welch's t test" in printed
    assert str(out / "groups.csv") in printed
    assert sorted(file.name for file in out.iterdir()) == ["groups.csv", "report.html", "study.yaml", "values.csv"]


def test_a_study_as_json(tmp_path, table, capsys):
    assert run(["-q", "measure", str(tmp_path / "out"), "--study", str(table), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["by"] == ["implant"]
    assert content["groups"][0]["p"] < 1e-4
    assert content["groups"][0]["difference"] is None
    assert content["groups"][1]["difference"] == pytest.approx(9, abs=2)


def test_a_study_is_replaced_only_on_request(tmp_path, table, fails):
    out = tmp_path / "out"
    assert run(["-q", "measure", str(out), "--study", str(table)]) == 0
    assert "--overwrite" in fails("measure", out, "--study", table)
    assert run(["-q", "measure", str(out), "--study", str(table), "--overwrite"]) == 0


def test_dry_runs_write_nothing(tmp_path, table, stained, labels, capsys):
    out = tmp_path / "out"
    assert run(["measure", str(out), "--study", str(table), "--dry-run"]) == 0
    assert "14 specimens" in capsys.readouterr().out
    assert run(["measure", str(stained), str(out), "--labels", str(labels), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "8 x 40 x 40 voxels of 20 x 20 x 20 µm" in printed
    assert f"classes:  from {labels}" in printed
    assert run(["measure", str(stained), str(out), "--dry-run", "--no-maps"]) == 0
    printed = capsys.readouterr().out
    assert "from the stain" in printed
    assert "maps" not in printed
    assert not out.exists()


def test_dry_run_names_the_option_for_an_unknown_stain(tmp_path, fails, capsys):
    writer = create_stained(tmp_path / "own.ome.zarr", (2, 8, 8), 20.0, provenance={"model": {"stain": "unknown"}})
    writer.write(0, np.full((2, 8, 8, 3), 180, np.uint8))
    writer.finish()
    words = ["measure", str(writer.path), str(tmp_path / "out"), "--dry-run"]
    assert "the stain is not known; set --stain to toluidine-blue or h&e" in fails(*words)
    assert run(["-q", *words, "--stain", "HE"]) == 0


def test_dry_run_compares_the_grids(tmp_path, stained, fails):
    other = write_labels(tmp_path / "other.ome.zarr", LabelArray(np.zeros((8, 40, 41), np.uint8), 20.0))
    assert "has 8 x 40 x 41 voxels" in fails("measure", stained, tmp_path / "out", "--labels", other, "--dry-run")
    wrong = write_labels(tmp_path / "wrong.ome.zarr", LabelArray(np.zeros((8, 40, 40), np.uint8), 10.0))
    assert "voxels of 10 x 10 x 10 µm" in fails("measure", stained, tmp_path / "out", "--labels", wrong, "--dry-run")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["OUT"], "or --ct or --labels instead of the stained volume"),
        (["STAINED", "OUT", "more"], "not 3 paths"),
        (["missing.zarr", "OUT"], "missing.zarr: no such stained volume"),
        (["STAINED", "OUT", "--ct", "missing"], "missing: no such volume"),
        (["STAINED", "OUT", "--labels", "missing"], "missing: no such label volume"),
        (["STAINED", "OUT", "--model", "m"], "--model: is for --section; leave it out"),
        (["STAINED", "OUT", "--by", "implant"], "--by: is for --study; leave it out"),
        (["STAINED", "OUT", "--device", "cpu"], "--device: is for --section; leave it out"),
        (["STAINED", "OUT", "--planes", "5"], "--planes: is for --section; leave it out"),
        (["STAINED", "OUT", "--max-uncertainty", "4"], "max_uncertainty = 4"),
        (["STAINED", "OUT", "--shell-um", "0,many"], "--shell-um 0,many: give distances"),
        (["STAINED", "OUT", "--shell-um", "100,0"], "two or more rising distances"),
        (["STAINED", "OUT", "--weeks", "0"], "weeks = 0"),
        (["STAINED", "OUT", "--gap-um", "-1"], "gap_um = -1"),
        (["STAINED", "OUT", "--initial", "missing"], "missing: no such label volume"),
        (["STAINED", "OUT", "--initial-surface-mm2", "4"], "needs --initial-volume-mm3"),
        (["STAINED", "OUT", "--classifier", "missing"], "missing: no such classifier"),
        (["STAINED", "OUT", "--classes-from", "colour"], "classes_from = 'colour'"),
        (["STAINED", "OUT", "--section", "x"], "with --section, give one folder"),
        (["OUT", "--section", "missing"], "missing: no such pair"),
        (["OUT", "--section", "STAINED"], "give --model or --volume"),
        (["OUT", "--section", "STAINED", "--labels", "x"], "--labels: is for volumes; leave it out"),
        (["STAINED", "OUT", "--voxel-um", "20"], "--voxel-um: is for --ct and --labels"),
        (["OUT", "--ct", "STAINED", "--voxel-um", "twenty"], "--voxel-um twenty: expected 1 or 3 number(s)"),
        (["OUT", "--section", "x", "--voxel-um", "20"], "--voxel-um: is for volumes; leave it out"),
        (["OUT", "--section", "x", "--planes", "5"], "--planes: has no effect without --volume; give it, too"),
        (["OUT", "--section", "x", "--tilt-sd-deg", "1"], "--tilt-sd-deg: has no effect without --volume"),
        (["OUT", "--section", "x", "--position-sd-um", "1"], "--position-sd-um: has no effect without --volume"),
        (["OUT", "--section", "x", "--study", "y"], "--section and --study: give one of them"),
        (["OUT", "--study", "missing.csv"], "missing.csv: no such table"),
        (["OUT", "--study", "TABLE", "--gap-um", "20"], "--gap-um: is for volumes and sections"),
        (["OUT", "--study", "TABLE", "--by", "implants"], "has no column 'implants' of groups; did you mean 'implant'"),
        (["OUT", "--study", "TABLE", "--measure", "tb_th"], "no specimen has the measure 'tb_th'"),
    ],
)
def test_wrong_options_give_a_one_line_error(tmp_path, stained, table, fails, words, message):
    names = {"STAINED": stained, "OUT": tmp_path / "out", "TABLE": table}
    assert message in fails("measure", *[names.get(word, word) for word in words])
    assert not (tmp_path / "out").exists()


SECTION_ONLY = {
    "--diameter-mm": "2",
    "--weeks": "8",
    "--implant": "Ti",
    "--geometry": "m2-screw",
    "--surface": "labels",
    "--classes-from": "stain",
    "--profile-um": "20",
    "--initial": "x",
    "--initial-volume-mm3": "1",
    "--initial-surface-mm2": "1",
}


@pytest.mark.parametrize(("option", "value"), SECTION_ONLY.items())
def test_options_of_a_body_are_refused_in_a_section(tmp_path, fails, option, value):
    assert f"{option}: is for volumes; leave it out" in fails(
        "measure", tmp_path / "out", "--section", tmp_path, "--model", "m", option, value
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--members", "3"),
        ("--classes-from", "ct"),
        ("--stain", "h&e"),
        ("--classifier", "builtin:x"),
        ("--ensemble", "x"),
    ],
)
def test_options_of_the_classifier_are_refused_with_labels(tmp_path, labels, fails, option, value):
    assert f"{option}: has no effect with --labels, which are not classified; leave it out" in fails(
        "measure", tmp_path / "out", "--labels", labels, option, value
    )


def test_labels_without_a_voxel_size(tmp_path, fails, capsys):
    import tifffile

    path, out = tmp_path / "mine.tif", tmp_path / "out"
    tifffile.imwrite(path, cylinder(), photometric="minisblack")
    assert "--voxel-um" in fails("measure", out, "--labels", path, "--dry-run")
    words = [str(out), "--labels", str(path), "--voxel-um", "20", "--no-maps"]
    assert run(["-q", "measure", *words, "--dry-run"]) == 0
    assert "24 x 44 x 44 voxels of 20 x 20 x 20 µm" in capsys.readouterr().out
    assert run(["-q", "measure", *words]) == 0
    metal = next(row for row in read_rows(out) if row["symbol"] == "Im.V")
    assert metal["value"] == pytest.approx(np.pi * 0.18**2 * 0.28, rel=0.1)
    assert "Three planes through the implant" in (out / "report.html").read_text(encoding="utf-8")


def test_labels_have_the_voxel_size_of_the_stained_volume(tmp_path):
    import tifffile

    writer = create_stained(tmp_path / "stained.ome.zarr", (24, 44, 44), 20.0, provenance={})
    for start, stop in writer.z_chunks():
        writer.write(start, np.full((stop - start, 44, 44, 3), 180, np.uint8))
    writer.finish()
    tifffile.imwrite(tmp_path / "mine.tif", cylinder(), photometric="minisblack")
    words = ["--labels", str(tmp_path / "mine.tif"), "--no-maps"]
    assert run(["-q", "measure", str(writer.path), str(tmp_path / "out"), *words]) == 0
    assert (tmp_path / "out" / "report.html").is_file()


def test_the_given_voxel_size_is_used_instead_of_that_in_the_file_as_help_states(tmp_path, capsys):
    metadata = {"axes": "ZYX", "PhysicalSizeX": 10.0, "PhysicalSizeY": 10.0, "PhysicalSizeZ": 10.0}
    tifffile.imwrite(tmp_path / "l.ome.tif", np.ones((4, 8, 8), np.uint8), metadata=metadata)
    assert open_inputs(MeasureSources(labels=tmp_path / "l.ome.tif")).grid.voxel_um == (10.0, 10.0, 10.0)
    assert open_inputs(MeasureSources(labels=tmp_path / "l.ome.tif", voxel_um=20)).grid.voxel_um == (20.0, 20.0, 20.0)
    assert run(["measure", "--help"]) == 0
    words = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Voxel size of --ct or --labels, µm, instead of that in the file" in words


def test_help_teaches(capsys):
    assert run(["measure", "--help"]) == 0
    text = capsys.readouterr().out
    for part in ("--section", "--study", "tomostain measure stained.ome.zarr measures", "Examples"):
        assert part in text


def cylinder(shape=(24, 44, 44), radius=9.0, centre=(22.0, 22.0)):
    """Return labels of a metal cylinder along z with bone around one half of it."""
    z, y, x = np.indices(shape)
    distance = np.hypot(y - centre[0], x - centre[1])
    values = np.where(y < centre[0], TissueClass.BONE, TissueClass.SOFT).astype(np.uint8)
    values[(distance < radius) & (z > 4) & (z < shape[0] - 5)] = TissueClass.METAL
    return values


@pytest.fixture
def save(tmp_path):
    """Write labels and return their path."""

    def write(values, um=20.0, name="mine"):
        return write_labels(tmp_path / f"{name}.ome.zarr", LabelArray(values, um))

    return write


def test_labels_of_a_user(tmp_path, save, capsys):
    out = tmp_path / "out"
    path = save(cylinder())
    assert run(["-q", "measure", str(out), "--labels", str(path), "--no-maps", "--diameter-mm", "0.36"]) == 0
    printed = capsys.readouterr().out
    assert "BIC (surface)" in printed
    assert f"page:    {out / 'report.html'}" in printed
    rows = {(row["measure"], row["region"]): row for row in read_rows(out)}
    assert {row["source"] for row in rows.values()} == {"labels"}
    assert rows["bic_surface", "all"]["value"] == pytest.approx(50, abs=3)
    metal = next(row for row in rows.values() if row["symbol"] == "Im.V")
    assert metal["value"] == pytest.approx(np.pi * 0.18**2 * 0.28, rel=0.1)  # 14 slices
    assert "Measures of mine" in (out / "report.html").read_text(encoding="utf-8")


def test_json_is_printed(tmp_path, save, capsys):
    assert run(["-q", "measure", str(tmp_path / "out"), "--labels", str(save(cylinder())), "--no-maps", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert "bic_surface" in content["definitions"]
    assert all(each["method"] and each["version"] for each in content["measures"])


def test_the_folder_is_replaced_only_on_request(tmp_path, save, fails):
    out, words = tmp_path / "out", ["--labels", save(cylinder()), "--no-maps"]
    assert run(["-q", "measure", str(out), *map(str, words)]) == 0
    assert "--overwrite" in fails("-q", "measure", out, *words)
    assert run(["-q", "measure", str(out), *map(str, words), "--overwrite"]) == 0


def test_labels_in_the_folder_are_not_removed(tmp_path, save, fails):
    out = tmp_path / "out"
    assert run(["-q", "measure", str(out), "--labels", str(save(cylinder())), "--no-maps"]) == 0
    inside = write_labels(out / "labels.ome.zarr", LabelArray(cylinder(), 20.0))
    assert "choose another name" in fails("-q", "measure", out, "--labels", inside, "--overwrite")
    assert inside.is_dir()


def test_no_metal_is_an_error(tmp_path, save, fails):
    path = save(np.full((20, 30, 30), TissueClass.BONE, np.uint8))
    line = fails("-q", "measure", tmp_path / "out", "--labels", path, "--no-maps")
    assert "metal" in line


def test_no_bone_is_a_note(tmp_path, save, capsys):
    values = cylinder()
    values[values == TissueClass.BONE] = TissueClass.SOFT
    out = tmp_path / "out"
    assert run(["-q", "measure", str(out), "--labels", str(save(values)), "--no-maps"]) == 0
    assert "no bone" in capsys.readouterr().out
    rows = {(row["measure"], row["region"]): row["value"] for row in read_rows(out)}
    assert rows["bic_surface", "all"] == 0


def test_unknown_labels_are_named(tmp_path, save, fails):
    import tifffile

    values = cylinder()
    values[12, 3, 4] = 77
    tifffile.imwrite(tmp_path / "mine.tif", values, photometric="minisblack")
    like = save(cylinder(), name="like")
    grey = create_stained(tmp_path / "stained.ome.zarr", values.shape, 20.0, provenance={})
    for start, stop in grey.z_chunks():
        grey.write(start, np.full((stop - start, *values.shape[1:], 3), 180, np.uint8))
    grey.finish()
    line = fails("-q", "measure", grey.path, tmp_path / "out", "--labels", tmp_path / "mine.tif", "--no-maps")
    assert "mine.tif: the values 77 are not tissue classes" in line
    assert like.is_dir()


def test_a_wrong_voxel_size_is_found_by_the_diameter(tmp_path, save, fails):
    path = save(cylinder(), um=10.0)
    line = fails("-q", "measure", tmp_path / "out", "--labels", path, "--no-maps", "--diameter-mm", "0.36")
    assert "the diameter of the implant is 18" in line
    assert "where 360 µm is expected" in line
    assert "correct the voxel size" in line


def test_a_partial_field_of_view_is_a_note(tmp_path, save, capsys):
    values = cylinder(centre=(5.0, 22.0))
    out = tmp_path / "out"
    assert run(["-q", "measure", str(out), "--labels", str(save(values)), "--no-maps"]) == 0
    assert "partial field of view" in capsys.readouterr().out
    notes = [row["note"] for row in read_rows(out) if row["measure"] == "bic_surface"]
    assert "the implant reaches the face -y of the volume" in notes[0]


def test_maps_are_written(tmp_path, save):
    out = tmp_path / "out"
    assert run(["-q", "measure", str(out), "--labels", str(save(cylinder()))]) == 0
    thickness, distance = (open_volume(out / f"{name}.ome.zarr") for name in ("thickness", "distance"))
    assert thickness.shape == distance.shape == (24, 44, 44)
    assert distance.read(12, 13)[0, 22, 2] == pytest.approx(11 * 20, abs=30)
    assert thickness.read(12, 13).max() > 0


def test_no_stained_volume_and_no_classifier_for_labels_only(tmp_path, save, fails):
    line = fails("-q", "measure", tmp_path / "out", "--labels", save(cylinder()), "--uncertainty", "missing.zarr")
    assert "missing.zarr: no such map" in line


def test_options_reach_the_measurement(tmp_path, stained, labels, monkeypatch, capsys):
    calls = []

    def measure_volume(volume, out, **options):
        calls.append((volume, out, options))
        out.mkdir()
        rows = measure_rows([Measure(TRIAL, 41.0)], specimen="rat5", source="both")
        return MeasureResult(out, "rat5", [Measure(TRIAL, 41.0)], rows, notes=["A note."])

    monkeypatch.setattr("tomostain.measure.run.measure_volume", measure_volume)
    config = tmp_path / "measure.yaml"
    config.write_text("weeks: 4\nimplant: Ti\n", encoding="utf-8")
    words = ["--ct", str(labels), "--ensemble", str(stained), "--uncertainty", str(labels), "--weeks", "8"]
    words += ["--shell-um", "0,50,100", "--config", str(config), "--members", "3", "--classifier", "builtin:both"]
    words += ["--voxel-um", "20"]
    assert run(["-q", "measure", str(stained), str(tmp_path / "out"), *words]) == 0
    volume, out, options = calls[0]
    assert (volume, out) == (stained, tmp_path / "out")
    assert options["ct"] == options["uncertainty"] == labels
    assert options["ensemble"] == [stained]
    assert options["voxel_um"] == (20, 20, 20)
    assert options["classifier"] == "builtin:both"
    settings = options["config"]
    assert (settings.weeks, settings.implant, settings.members) == (8, "Ti", 3)  # an option overrides the file
    assert settings.shell_um == (0, 50, 100)
    assert settings.max_uncertainty == 0.5
    printed = capsys.readouterr().out
    assert "trial measure" in printed
    assert "note:    A note." in printed


def test_a_section(tmp_path, stained, monkeypatch, capsys):
    calls = []

    def measure_section(pair, out, **options):
        calls.append((pair, options))
        out.mkdir()
        image = SectionImage(np.zeros((9, 9, 3), np.uint8), np.full((9, 9), TissueClass.BONE, np.uint8))
        measures = {name: [Measure(TRIAL, 41.0)] for name in ("real section", "virtual section")}
        rows = [row for name, each in measures.items() for row in measure_rows(each, specimen="p", source=name)]
        return SectionResult(out, "p", measures, rows, dict.fromkeys(measures, image), 20.0)

    monkeypatch.setattr("tomostain.measure.section.measure_section", measure_section)
    out, pair = tmp_path / "out", tmp_path
    words = ["--section", str(pair), "--volume", str(stained), "--planes", "7", "--gap-um", "30", "--device", "cpu"]
    assert run(["-q", "measure", str(out), *words]) == 0
    assert calls[0][0] == pair
    options = calls[0][1]
    assert options["volume"] == stained
    assert options["model"] is None
    assert options["device"] == "cpu"
    assert (options["config"].planes, options["config"].gap_um) == (7, 30)
    assert "real section  virtual section" in capsys.readouterr().out
    assert (out / "report.html").is_file()


def test_a_dry_run_of_a_section_checks_the_pixel_size(tmp_path, stained, fails, capsys):
    words = ["measure", str(tmp_path / "out"), "--volume", str(stained), "--dry-run"]
    for voxel_um in (16.0, 20.0):
        image = np.full((9, 9), 20_000, np.uint16)
        pair = Pair("rat", image, np.zeros((9, 9, 3), np.uint8), np.ones((9, 9), bool), voxel_um)
        save_pair(pair, tmp_path / f"{voxel_um:g}")
    message = fails(*words, "--section", tmp_path / "16")
    assert "pair 'rat': has pixels of 16 µm" in message
    assert "resample the volume to 20 µm" in message
    assert run(["-q", *words, "--section", str(tmp_path / "20")]) == 0


def test_the_older_name_of_ensemble_works_with_a_warning(tmp_path, capsys):
    missing = tmp_path / "missing.ome.zarr"
    assert run(["measure", str(tmp_path / "s"), str(tmp_path / "out"), "--also", str(missing)]) != 0
    assert "warning: --also is now --ensemble" in capsys.readouterr().err
