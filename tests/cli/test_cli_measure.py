"""The verb `measure`: its three forms, what is refused, and what is printed."""

import json

import numpy as np
import pytest

from tomostain.cli.main import run
from tomostain.io import create_stained
from tomostain.measure.classes import TissueClass
from tomostain.measure.label_files import write_labels
from tomostain.measure.label_source import LabelArray


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
        (["OUT", "--section", "x", "--study", "y"], "--section and --study: give one of them"),
        (["OUT", "--study", "missing.csv"], "missing.csv: no such table"),
        (["OUT", "--study", "TABLE", "--gap-um", "20"], "--gap-um: is for volumes and sections"),
        (["OUT", "--study", "TABLE", "--by", "implants"], "has no column 'implants' of groups; did you mean 'implant'"),
        (["OUT", "--study", "TABLE", "--measure", "tb_th"], "no specimen has the measure 'tb_th'"),
    ],
)
def test_wrong_options_are_one_line(tmp_path, stained, table, fails, words, message):
    names = {"STAINED": stained, "OUT": tmp_path / "out", "TABLE": table}
    assert message in fails("measure", *[names.get(word, word) for word in words])
    assert not (tmp_path / "out").exists()


def test_help_teaches(capsys):
    assert run(["measure", "--help"]) == 0
    text = capsys.readouterr().out
    for part in ("--section", "--study", "tomostain measure stained.ome.zarr measures", "Examples"):
        assert part in text
