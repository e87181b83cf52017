"""Evaluation end to end on toy datasets: written files, counted pairs, and errors for bad input."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from scipy import ndimage
from skimage.io import imread

from tomostain import __version__
from tomostain.dataset.dataset import load_dataset
from tomostain.dataset.pair import Pair
from tomostain.dataset.writer import save_dataset
from tomostain.errors import InputError
from tomostain.evaluate import compare, evaluate
from tomostain.evaluate.config import read_options
from tomostain.evaluate.metrics.patch import background_colour, patch_metrics
from tomostain.evaluate.run import LOOKUP, MEAN_IMAGE, RAW_CT
from tomostain.evaluate.samples import shows_implant
from tomostain.io import ModelSpec, load_model, save_model
from tomostain.networks.build import build_network
from tomostain.stain import StainConfig, load_translator, stain_slice

GENERATOR = {"name": "resnet", "in_channels": 1, "blocks": 1, "width": 4}


def toy_pair(seed, name):
    """Return a pair whose histology is blue where the µCT is bright, with noise that does not depend on the µCT."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal((72, 80)), 4)
    bone = field > 0
    ct = np.where(bone, 30000, 10000) + rng.normal(0, 500, bone.shape)
    histology = np.where(bone[..., None], (90, 60, 170), (240, 236, 244)) + rng.normal(0, 6, (*bone.shape, 3))
    mask = np.zeros(bone.shape, bool)
    mask[4:-4, 4:-4] = True
    about = {"stain": "toluidine-blue", "implant": "Ti"}
    return Pair(name, ct.astype(np.uint16), histology.clip(0, 255).astype(np.uint8), mask, 20.0, **about)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    pairs = [toy_pair(seed, f"p{seed}") for seed in range(4)]
    path = tmp_path_factory.mktemp("evaluate") / "dataset"
    save_dataset(path, pairs, test=["p3"], folds=[["p0"], ["p1", "p2"]])
    return path


def make_model(folder, seed=0, generator=GENERATOR, **changes):
    network = build_network(generator, torch.Generator().manual_seed(seed))
    spec = {"generator": generator, "in_channels": 1, "voxel_um": 20.0, "stain": "toluidine-blue", "recipe": "toy"}
    spec |= {"fold": 0, "tomostain_version": __version__, **changes}
    save_model(folder, ModelSpec.from_dict(spec), network.state_dict())
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "toy-run"
    make_model(folder / "model")
    return folder


OPTIONS = {"patch_px": 48, "device": "cpu", "stain": {"patch_px": 32, "stride_px": 32}}


@pytest.fixture(scope="module")
def result(run, dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation") / "out"
    seen = []
    table = evaluate(run, dataset, out, progress=lambda *report: seen.append(report), notes=["Toy data."], **OPTIONS)
    return out, table, seen


def test_every_promised_file_is_there(result):
    out, table, _ = result
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert names == {
        "metrics.csv", "table.csv", "table.txt", "boxplots.png", "evaluate.yaml", "pictures/p3.png",
        "table-without-screw.txt", "table-shift-tolerant.txt", "intervals.csv",
        "metrics-without-screw.csv", "metrics-shift-tolerant.csv",
    }  # fmt: skip
    assert (out / "table.txt").read_text() == table.to_text()


def test_the_table_holds_the_model_and_the_baselines_in_order(result):
    _, table, _ = result
    assert list(table.rows) == ["toy-run", RAW_CT, MEAN_IMAGE, LOOKUP]
    assert "LPIPS (AlexNet)" in table.to_text()
    assert "Toy data." in table.to_text()
    # 72 × 80 px in patches of 48: two rows by two columns, all of them mostly in the mask.
    assert {summary.n for row in table.rows.values() for summary in row.values()} == {4}


def test_the_lookup_finds_the_toy_colours_and_beats_the_baselines(result):
    # The colours follow the grey value up to noise of σ = 6 (clipped at 255): PSNR about 20 log10(255 / 6) = 32.6 dB,
    # a little more as a tenth of the patches is filled background.
    _, table, _ = result
    assert table.rows[LOOKUP]["psnr"].median == pytest.approx(32.6, abs=1.5)
    assert table.best("psnr") == (LOOKUP,)
    assert table.rows[LOOKUP]["ssim"].median > table.rows[RAW_CT]["ssim"].median


def test_metrics_csv_has_every_patch(result):
    out, table, _ = result
    rows = list(csv.DictReader((out / "metrics.csv").open()))
    assert len(rows) == 16
    assert {row["pair"] for row in rows} == {"p3"}
    ours = [float(row["ssim"]) for row in rows if row["model"] == "toy-run"]
    assert np.median(ours) == pytest.approx(table.rows["toy-run"]["ssim"].median)


def test_provenance_names_options_model_pairs_and_network(result, run):
    values = yaml.safe_load((result[0] / "evaluate.yaml").read_text())
    assert values["pairs"] == ["p3"]
    assert values["lpips_network"] == "LPIPS (AlexNet)"
    assert values["options"]["patch_px"] == 48
    assert values["options"]["stain"]["stride_px"] == 32
    assert values["models"]["toy-run"]["recipe"] == "toy"
    assert values["models"]["toy-run"]["hash"] == load_model(run / "model").hash
    assert values["versions"]["tomostain"] == __version__


def test_pictures_show_four_panels_with_the_same_mask(result):
    picture = imread(result[0] / "pictures" / "p3.png")
    assert picture.shape == (22 + 72 + 22, 4 * 80 + 3 * 4, 3)
    is_bar = (picture[22 + 72 :] < 64).all(axis=(0, 2)) | (picture[22 + 72 :] < 64).all(axis=2)
    assert [int(np.argmin(row[2:])) for row in is_bar if row[2]] == [10, 10, 10]  # 200 µm of 20 µm
    difference = picture[22 : 22 + 72, 3 * 84 :]
    assert (difference[:4] == 0).all()  # outside the mask both images have the background colour


def test_progress_counts_every_image(result):
    assert result[2][0] == ("evaluating", 0, 4)
    assert result[2][-1] == ("evaluating", 4, 4)


def test_compare_puts_several_models_in_one_table(run, dataset, tmp_path):
    other = make_model(tmp_path / "other", seed=1, fold=1, voxel_um=5.0)
    table = compare(tmp_path / "out", [run, other], dataset, lpips=None, baselines=False, **OPTIONS)
    assert list(table.rows) == ["toy-run", "other"]
    assert table.metrics == ("ssim", "psnr")
    assert "other was trained at 5 µm, the dataset has 20 µm." in table.notes
    with pytest.raises(InputError, match="different folds"):
        compare(tmp_path / "out2", [run, other], dataset, split="validation", lpips=None, **OPTIONS)
    with pytest.raises(InputError, match="a second model named 'toy-run'"):
        compare(tmp_path / "out2", [run, run / "model"], dataset, **OPTIONS)


def test_validation_is_that_of_the_models_fold(run, dataset, tmp_path):
    evaluate(run, dataset, tmp_path / "out", split="validation", lpips=None, **OPTIONS)
    assert [path.name for path in sorted((tmp_path / "out/pictures").iterdir())] == ["p0.png"]


def test_a_dataset_without_training_pairs_leaves_the_trained_baselines_out(run, tmp_path):
    save_dataset(tmp_path / "all-test", [toy_pair(7, "q")], test=["q"])
    table = evaluate(run, tmp_path / "all-test", tmp_path / "out", lpips=None, **OPTIONS)
    assert list(table.rows) == ["toy-run", RAW_CT]
    assert "no training pairs" in table.notes[0]


def test_bad_input_is_named(run, dataset, tmp_path):
    with pytest.raises(InputError, match="unknown key 'patch_size'"):
        evaluate(run, dataset, tmp_path / "out", patch_size=3)
    with pytest.raises(InputError, match="split"):
        evaluate(run, dataset, tmp_path / "out", split="tset")
    with pytest.raises(InputError, match="neither a model nor a run"):
        evaluate(tmp_path, dataset, tmp_path / "out")
    with pytest.raises(InputError, match="not a dataset"):
        evaluate(run, tmp_path, tmp_path / "out")
    save_dataset(tmp_path / "no-test", [toy_pair(7, "q")])
    with pytest.raises(
        InputError, match=r"split 'test': .* has no such pairs \(train 1, validation 0, test 0\); prepare it with"
    ):
        evaluate(run, tmp_path / "no-test", tmp_path / "out", **OPTIONS)
    assert not (tmp_path / "out").exists()


def test_masks_that_leave_no_patch_are_an_error_and_nothing_is_written(run, tmp_path):
    pair = toy_pair(7, "q")
    thin = np.zeros_like(pair.mask)
    thin[:10] = True
    save_dataset(tmp_path / "thin", [Pair("q", pair.ct, pair.histology, thin, 20.0)], test=["q"])
    with pytest.raises(InputError, match="no 48-px patch"):
        evaluate(run, tmp_path / "thin", tmp_path / "out", lpips=None, **OPTIONS)
    assert not (tmp_path / "out").exists()


def test_existing_output_is_safe(run, dataset, tmp_path):
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="the evaluation exists already"):
        evaluate(run, dataset, foreign, **OPTIONS)
    with pytest.raises(InputError, match=r"not an evaluation .* so it is not replaced"):
        evaluate(run, dataset, foreign, overwrite=True, **OPTIONS)
    assert (foreign / "thesis.txt").read_text() == "years of work"
    for _ in range(2):
        evaluate(run, dataset, tmp_path / "out", overwrite=True, lpips=None, baselines=False, **OPTIONS)
    assert Path(tmp_path / "out/evaluate.yaml").is_file()


def test_models_that_see_one_and_three_slices_are_compared_on_the_same_pairs(run, tmp_path):
    pairs = []
    for number in range(4):
        pair = toy_pair(number, f"p{number}")
        pairs.append(dataclasses.replace(pair, slices=np.stack([pair.ct // 2, pair.ct, pair.ct // 3])))
    dataset = save_dataset(tmp_path / "set", pairs, test=["p3"], folds=[["p0"], ["p1", "p2"]])
    context = make_model(tmp_path / "context", generator=GENERATOR | {"in_channels": 3}, ct_slices=3)
    table = compare(tmp_path / "out", [run, context], dataset.path, lpips=None, **OPTIONS)
    assert {"toy-run", "context"} <= set(table.rows)
    pair = dataset.load("p3", 3)
    drawn = stain_slice(load_translator(context, "cpu"), pair.slices, StainConfig(**OPTIONS["stain"]))
    colour = background_colour(pair.histology, pair.mask)
    expected = [p["psnr"] for p in patch_metrics(drawn, pair.histology, pair.mask, 48, colour=colour)]
    with (tmp_path / "out" / "metrics.csv").open(newline="") as file:
        psnr = [float(row["psnr"]) for row in csv.DictReader(file) if row["model"] == "context"]
    np.testing.assert_allclose(psnr, expected, rtol=1e-6)
    with pytest.raises(InputError, match="pair 'p3': holds 1 slice"):
        compare(tmp_path / "none", [context], run_dataset(tmp_path), lpips=None, **OPTIONS)


def run_dataset(folder):
    pairs = [toy_pair(number, f"p{number}") for number in range(4)]
    return save_dataset(folder / "plain", pairs, test=["p3"], folds=[["p0"], ["p1", "p2"]]).path


def of_subject(pair, subject, **changes):
    return dataclasses.replace(pair, subject=subject, specimen=pair.id, **changes)


def test_intervals_are_over_subjects_and_the_table_states_how_many(run, tmp_path):
    pairs = [of_subject(toy_pair(seed, f"p{seed}"), f"rat {seed // 2}") for seed in range(6)]
    data = save_dataset(tmp_path / "dataset", pairs, test=["p2", "p3", "p4", "p5"]).path
    table = evaluate(run, data, tmp_path / "out", lpips=None, **OPTIONS)
    assert "4 images of 2 subjects." in table.to_text()
    rows = pd.read_csv(tmp_path / "out" / "intervals.csv")
    assert set(zip(rows["images"], rows["subjects"], strict=True)) == {(4, 2)}
    # With two subjects a resampled median is that of one of them, or of both.
    patches = pd.read_csv(tmp_path / "out" / "metrics.csv")
    of_model = patches[patches["model"] == "toy-run"]
    medians = [of_model[of_model["pair"].isin(ids)]["psnr"].median() for ids in (["p2", "p3"], ["p4", "p5"])]
    row = rows[(rows["view"] == "paper") & (rows["metric"] == "psnr") & (rows["model"] == "toy-run")].iloc[0]
    assert [row["low"], row["high"]] == pytest.approx(sorted(medians), rel=1e-5)


def test_one_subject_has_no_interval_and_the_table_states_it(run, tmp_path):
    pairs = [of_subject(toy_pair(seed, f"p{seed}"), "rat") for seed in range(2)]
    data = save_dataset(tmp_path / "dataset", pairs, folds=[]).path
    table = evaluate(run, data, tmp_path / "out", split="all", lpips=None, **OPTIONS)
    assert "2 images of 1 subject. With one subject, the spread between subjects is unknown." in table.to_text()
    assert pd.read_csv(tmp_path / "out" / "intervals.csv")[["low", "high"]].isna().all(axis=None)


def test_tables_omit_implant_and_ct_where_there_is_none(run, tmp_path):
    pairs = [dataclasses.replace(toy_pair(seed, f"p{seed}"), implant="unknown") for seed in range(2)]
    data = save_dataset(tmp_path / "dataset", pairs, test=["p1"]).path
    (data / "prepare.yaml").write_text("normalise: range\n")
    table = evaluate(run, data, tmp_path / "out", lpips=None, **OPTIONS)
    assert list(table.rows) == ["toy-run", "raw input", MEAN_IMAGE, LOOKUP]
    text = "".join(path.read_text() for path in (tmp_path / "out").rglob("*.txt"))
    assert "screw" not in text
    assert "µCT" not in text
    assert not list((tmp_path / "out").glob("*without-screw*"))
    # Black metal in the histology is an implant that no pair records.
    black = pairs[1].histology.copy()
    black[20:50, 20:50] = 8
    other = save_dataset(tmp_path / "other", [pairs[0], dataclasses.replace(pairs[1], histology=black)], test=["p1"])
    evaluate(run, other.path, tmp_path / "screw", lpips=None, **OPTIONS)
    assert "The implant" in (tmp_path / "screw" / "table-without-screw.txt").read_text()
    assert not shows_implant(load_dataset(data), ["p1"])
    grey = np.repeat(black[..., :1], 3, axis=2)
    picture = save_dataset(tmp_path / "grey", [dataclasses.replace(pairs[1], histology=grey)])
    assert not shows_implant(picture, ["p1"])


def test_the_network_of_lpips_is_on_the_device_of_the_options(monkeypatch):
    monkeypatch.setattr("tomostain.evaluate.config.choose_device", lambda name: torch.device(name))
    config, network = read_options({"device": "meta"})
    assert (config.device, network.device.type) == ("meta", "meta")
    assert {value.device.type for value in network._features.parameters()} == {"meta"}


@pytest.mark.gpu
def test_a_gpu_gives_the_metrics_of_the_cpu(run, dataset, result, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    evaluate(run, dataset, tmp_path / "out", **OPTIONS | {"device": "cuda"})
    actual, expected = (pd.read_csv(out / "metrics.csv") for out in (tmp_path / "out", result[0]))
    assert list(actual.columns) == list(expected.columns)
    pd.testing.assert_frame_equal(actual, expected, rtol=2e-3, atol=2e-3)
