"""`--json`: one document on stdout, with the keys that docs/reference/cli.md lists."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import typer

from tests.support.toys import toy_model
from tests.support.training import toy_pair
from tomostain.cli.json_output import plain
from tomostain.cli.main import app, run
from tomostain.dataset.writer import save_dataset
from tomostain.io import create_stained
from tomostain.train import load_recipe

PAGE = (Path(__file__).parents[2] / "docs/reference/cli.md").read_text(encoding="utf-8")


def documented(command: str) -> set[str]:
    """Return the keys of a row of the table in the reference."""
    row = re.search(rf"^\| `{re.escape(command)}` \| (.*) \|$", PAGE, flags=re.MULTILINE)[1]
    return set(re.findall(r"`(\w+)`", row.replace("`qupath`", "").replace("`groups.csv`", "")))


@pytest.fixture
def document(capsys):
    """Run a verb with `--json`; return the document that it prints."""

    def read(*words: object) -> object:
        capsys.readouterr()
        assert run(["-q", *map(str, words), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return read


def test_every_verb_with_json_is_documented():
    verbs = typer.main.get_command(app).commands
    names = {name for name in verbs if any("--json" in each.opts for each in verbs[name].params)}
    rows = re.findall(r"^\| `([a-z-]+)[^`]*` \| (?:a list of |those of )?`", PAGE, re.MULTILINE)
    assert set(rows) >= names


def test_doctor(document):
    result = document("doctor")
    assert set(result) == documented("doctor")
    assert result["required"]["torch"]
    assert result["cores"] > 0


def test_models(document):
    listed = document("models")
    assert set(listed[0]) == documented("models")
    assert listed[0]["voxel_um"] == 20
    described = document("models", "describe", "phantom-tb")
    assert described["generator"]["name"] == "unet"
    assert "## Validation" in described["card"]


def test_recipes(document):
    listed = document("recipes")
    assert set(listed[0]) == documented("recipes")
    assert {each["default_on"] for each in listed} > {None}
    assert document("recipes", "pix2pix")["terms"] == load_recipe("pix2pix").model_dump(mode="json")["terms"]


def test_check(document, volume, fails):
    result = document("check", volume)
    assert set(result) == documented("check PATH")
    assert (result["kind"], result["path"]) == ("volume", str(volume))
    assert "all 4 slices were read" in result["details"][0]
    assert "no such file" in fails("check", volume / "nothing", "--json")


def test_check_against(document, volume):
    result = document("check", "builtin:phantom-tb", "--against", volume)
    assert set(result) | set(result["volumes"][0]) == documented("check MODEL --against VOLUME")
    assert result["volumes"][0]["volume"] == str(volume)


def test_evaluate_and_compare(document, tmp_path):
    data = save_dataset(tmp_path / "dataset", [toy_pair(f"p{seed}", seed) for seed in range(3)], test=["p2"]).path
    model = toy_model(tmp_path / "first")
    words = [model, data, tmp_path / "evaluation", "--lpips", "none", "--patch-px", 16, "--device", "cpu"]
    result = document("evaluate", *words)
    assert set(result) == documented("evaluate")
    values = {row["model"]: row["metrics"] for row in result["models"]}
    assert {"median", "q1", "q3", "n", "best"} == set(values["raw µCT"]["ssim"])
    assert {each["name"] for each in result["metrics"]} >= {"ssim", "psnr"}
    assert result["out"] == str(tmp_path / "evaluation")
    other = toy_model(tmp_path / "other")
    result = document("compare", tmp_path / "comparison", model, other, "--dataset", data, "--device", "cpu")
    assert set(result) == documented("compare")
    assert {"first", "other"} <= {row["model"] for row in result["models"]}


def test_numbers_that_are_not_finite_are_null():
    assert json.dumps(plain({"a": [float("inf"), 1.5, True, None], Path("x"): Path("y")})) == (
        '{"a": [null, 1.5, true, null], "x": "y"}'
    )


def test_a_study(document, tmp_path):
    rows = [f"s{n},rat{n},{'Ti' if n < 4 else 'Mg'},8,{50 + n}" for n in range(8)]
    (tmp_path / "study.csv").write_text("\n".join(["specimen,subject,implant,weeks,bic", *rows]), encoding="utf-8")
    result = document("measure", tmp_path / "out", "--study", tmp_path / "study.csv")
    assert set(result) == documented("measure --study TABLE")
    assert result["groups"]


def test_export(document, tmp_path):
    writer = create_stained(tmp_path / "stained.ome.zarr", (4, 12, 10), (20.0, 20.0, 20.0), z_chunk=4, provenance={})
    writer.write(0, np.zeros((4, 12, 10, 3), np.uint8))
    writer.finish()
    result = document("export", tmp_path / "stained.ome.zarr", tmp_path / "sections", "--to", "qupath")
    (section,) = result["sections"]
    assert set(result) | set(section) | {"pair", "stain"} == documented("export")
    assert section["files"] == {"virtual": "z-40um.virtual.ome.tif"}
    result = document("export", tmp_path / "stained.ome.zarr", tmp_path / "slices", "--to", "rgb-tiff")
    assert set(result) | set(section) | {"pair", "stain"} == documented("export")
    assert (result["sections"], result["out"]) == ([], str(tmp_path / "slices"))
    assert result["summary"].startswith("voxels of 20 x 20 x 20 µm")
