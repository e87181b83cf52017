"""Metrics of patches, images, sets and volumes end to end, and the table of the documentation."""

import csv
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.evaluate.test_evaluate_run import OPTIONS, make_model, toy_pair
from tomostain.cli.main import run
from tomostain.dataset.dataset import load_dataset
from tomostain.dataset.writer import save_dataset
from tomostain.errors import InputError
from tomostain.evaluate import available_metrics, compare, evaluate, evaluate_models
from tomostain.evaluate.metrics import base
from tomostain.io import write_image, write_stack
from tomostain.phantom.tissue import Label
from tomostain.stain import StainConfig, load_translator, stain_slice

ROOT = Path(__file__).parents[2]
FAST = OPTIONS | {"lpips": None, "baselines": False}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Two models, and a dataset in which the tissue of each pixel is known."""
    root = tmp_path_factory.mktemp("scopes")
    dataset = save_dataset(
        root / "dataset", [toy_pair(n, f"p{n}") for n in range(4)], test=["p2", "p3"], folds=[["p0"], ["p1"]]
    )
    for pair_id in dataset.ids:
        bone = dataset.load(pair_id).ct > 20000
        labels = np.where(bone, int(Label.BONE), int(Label.MARROW)).astype(np.uint8)
        write_image(dataset.folder(pair_id) / "labels.tif", labels)
    return [make_model(root / "a"), make_model(root / "b", seed=1)], dataset.path


@pytest.fixture
def set_metric(monkeypatch):
    """A toy metric of a set: the difference of the mean brightness of all images."""
    monkeypatch.setattr(base, "REGISTRY", dict(base.REGISTRY))

    @base.register_metric("brightness", label="Δ brightness", larger_is_better=False, digits=2, scope="set")
    def brightness(stained, real):
        return abs(float(np.mean([image.mean() for image in stained]) - np.mean([image.mean() for image in real])))


def test_metrics_of_images(inputs, tmp_path):
    models, dataset = inputs
    names = ["delta_e", "frc", "tissue_delta_e", "tissue_dice"]
    table = compare(tmp_path / "out", models, dataset, metrics=names, **FAST | {"baselines": True})
    assert table.metrics == ("ssim", "psnr", "delta_e", "tissue_delta_e", "tissue_dice", "frc")
    images = pd.read_csv(tmp_path / "out" / "images.csv")
    assert list(images["pair"].unique()) == ["p2", "p3"]
    assert len(images) == 2 * 5
    # The look-up draws the colours of the two tissues.
    best = images[images.model == "grey-value look-up"]
    assert (best["tissue_dice"] > 0.95).all()
    assert (best["tissue_delta_e"] < 5).all()
    assert (images[images.model == "raw µCT"]["tissue_delta_e"] > 20).all()
    np.testing.assert_allclose(images["tissue_dice"], images[["tissue_dice.bone", "tissue_dice.marrow"]].mean(axis=1))
    assert (images["frc"] >= 2 * 20).all()
    assert table.rows["a"]["delta_e"].median == pytest.approx(images[images.model == "a"]["delta_e"].median())
    assert "ΔE2000, ΔE2000 by tissue, tissue Dice, FRC resolution: over images" in table.to_text()
    patches = pd.read_csv(tmp_path / "out" / "metrics.csv")
    assert list(patches.columns)[-3:] == ["ssim", "lpips", "psnr"]


def test_a_metric_of_a_set_is_one_value_per_model(inputs, set_metric, tmp_path):
    models, dataset = inputs
    table = compare(tmp_path / "out", models, dataset, metrics=["brightness"], **FAST)
    with (tmp_path / "out" / "sets.csv").open(newline="") as file:
        rows = {row["model"]: float(row["brightness"]) for row in csv.DictReader(file)}
    assert list(rows) == ["a", "b"]
    assert [table.rows[name]["brightness"].n for name in rows] == [1, 1]
    assert table.best("brightness") == (min(rows, key=rows.get),)
    assert re.search(r"^a .* \d+\.\d\d( \*)? +8$", table.to_text(), flags=re.MULTILINE)


def test_a_metric_of_volumes_stains_them(inputs, tmp_path):
    models, dataset = inputs
    block = np.zeros((6, 64, 64))
    block[:, 16:48, 12:50] = 1.0
    noisy = 1000 + 4000 * block + np.random.default_rng(0).normal(0, 60, block.shape)
    write_stack(tmp_path / "block", noisy.astype(np.uint16), voxel_um=20.0)
    options = FAST | {"metrics": ["stripe_index"]}
    table = compare(tmp_path / "out", models, dataset, volumes=[tmp_path / "block"], **options)
    rows = pd.read_csv(tmp_path / "out" / "volumes.csv")
    assert list(rows.columns) == ["model", "volume", "stripe_index"]
    assert list(rows["volume"]) == ["block", "block"]
    assert np.isfinite(rows["stripe_index"]).all()
    assert table.rows["b"]["stripe_index"].median == pytest.approx(rows["stripe_index"][1])
    assert not list(tmp_path.rglob("*.zarr"))
    with pytest.raises(InputError, match="metric 'stripe_index': it is computed on stained volumes"):
        compare(tmp_path / "none", models, dataset, **options)
    with pytest.raises(InputError, match="no metric needs them"):
        compare(tmp_path / "none", models, dataset, volumes=[tmp_path / "block"], **FAST)


def test_unsuitable_data_is_refused_before_staining(inputs, tmp_path):
    models, dataset = inputs
    with pytest.raises(InputError, match=r"lacunae: pixels of 20 µm cannot show spots of 6 µm"):
        compare(tmp_path / "out", models, dataset, metrics=["lacunae"], **FAST)
    plain = save_dataset(tmp_path / "plain", [toy_pair(1, "q"), toy_pair(2, "r")], test=["q"])
    with pytest.raises(InputError, match=r"metric 'tissue_dice': pair 'r' has no labels.tif"):
        compare(tmp_path / "out", models, plain.path, metrics=["tissue_dice"], **FAST)
    assert not (tmp_path / "out").exists()


def test_models_in_memory_give_a_frame(inputs):
    models, dataset = inputs
    data, loaded = load_dataset(dataset), load_translator(models[0], "cpu")
    frame = evaluate_models({"mine": loaded, "other": models[1]}, data, metrics=["delta_e"], **FAST)
    assert list(frame["model"].unique()) == ["mine", "other"]
    assert set(frame["protocol"]) == {"paper", "without-screw", "shift-tolerant", ""}
    assert set(frame["scope"]) == {"patch", "image"}
    medians = frame[frame.protocol == "paper"].groupby("model")["psnr"].median()
    pair = data.load("p2")
    stained = stain_slice(loaded, pair.ct, StainConfig(**OPTIONS["stain"]))
    values = base.get_metric("psnr").compute(stained[:48, :48], pair.histology[:48, :48])
    assert abs(medians["mine"] - values) < 3
    single = evaluate_models(str(models[0]), str(dataset), **FAST)
    assert list(single["model"].unique()) == ["a"]
    pd.testing.assert_series_equal(
        single[single.protocol == "paper"]["psnr"].reset_index(drop=True),
        frame[(frame.protocol == "paper") & (frame.model == "mine")]["psnr"].reset_index(drop=True),
    )


def test_protocols_can_be_selected(inputs, tmp_path):
    models, dataset = inputs
    evaluate(models[0], dataset, tmp_path / "out", protocols=["implant-excluded"], **FAST)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"table.txt", "table-without-screw.txt", "metrics-without-screw.csv"} <= names
    assert not {"table-shift-tolerant.txt", "metrics-shift-tolerant.csv"} & names
    with pytest.raises(InputError, match="protocols"):
        evaluate(models[0], dataset, tmp_path / "none", protocols=["papper"], **FAST)


def test_older_names_of_options_work_with_a_warning(inputs, tmp_path):
    models, dataset = inputs
    with pytest.warns(DeprecationWarning, match="`doubt` is now `uncertainty`"):
        compare(tmp_path / "out", models, dataset, doubt=True, **FAST)
    assert (tmp_path / "out" / "doubt" / "rank-correlation.csv").is_file()


def test_calibration_without_the_implant(inputs, tmp_path):
    models, dataset = inputs
    compare(tmp_path / "out", models, dataset, uncertainty=True, exclude_implant=True, **FAST)
    maps = set(pd.read_csv(tmp_path / "out" / "doubt" / "rank-correlation.csv")["map"])
    assert maps == {"disagreement", "disagreement, implant excluded"}
    with pytest.raises(InputError, match="`exclude_implant` refers to the calibration"):
        compare(tmp_path / "none", models, dataset, exclude_implant=True, **FAST)


def test_the_command_line_has_all_options(inputs, tmp_path, capsys):
    models, dataset = inputs
    out = tmp_path / "out"
    words = ["compare", out, *models, "--dataset", dataset, "--split", "training", "--device", "cpu"]
    words += ["--metric", "delta-e", "--metric", "frc", "--protocol", "shift-tolerant", "--doubt"]
    assert run([str(word) for word in words]) == 0
    printed = capsys.readouterr()
    assert "warning: --doubt is now --uncertainty" in printed.err
    assert "FRC resolution / µm ↓" in printed.out
    assert yaml.safe_load((out / "evaluate.yaml").read_text())["pairs"] == ["p1"]
    assert run(["evaluate", str(models[0]), str(dataset), str(out), "--metric", "stripe_index"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert run(["evaluate", str(models[0]), str(dataset), str(tmp_path / "x"), "--metric", "stripe_index"]) == 2
    assert "as --volume" in capsys.readouterr().err


def test_the_documentation_lists_every_metric():
    text = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:3] == "| `"]
    expected = [
        [
            f"`{metric.name}`",
            metric.heading[:-2],
            "higher" if metric.larger_is_better else "lower",
            metric.scope,
            "always" if metric.default else "on request",
            metric.summary,
        ]
        for metric in available_metrics().values()
    ]
    assert rows == expected
