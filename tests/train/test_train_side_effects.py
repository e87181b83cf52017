"""Training as a library leaves the process unchanged, takes arrays, reads a pair once, and logs its steps."""

import csv
import dataclasses
import logging
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.support.training import DROPOUT, REGISTERED, bits, same, stop_at, toy_pair, toy_recipe
from tomostain.dataset import pair as pair_module
from tomostain.dataset.dataset import load_dataset
from tomostain.dataset.writer import save_dataset
from tomostain.errors import InputError, InterruptedRunError
from tomostain.io import load_model
from tomostain.train import LoadedDataset, Trainer, deterministic, export_model, train_model
from tomostain.train.checkpoint import LAST, read_checkpoint
from tomostain.train.terms import RENAMED


@pytest.fixture
def pairs():
    return [toy_pair(f"p{seed}", seed) for seed in range(4)]


@pytest.fixture
def dataset(pairs, tmp_path):
    return save_dataset(tmp_path / "dataset", pairs, test=["p3"], folds=[["p2"], ["p1"]]).path


def process_state():
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    cudnn = torch.backends.cudnn
    return torch.get_rng_state().tolist(), cudnn.deterministic, cudnn.benchmark, torch.initial_seed(), handlers


@pytest.mark.parametrize("before", [False, True])
def test_training_leaves_random_state_cudnn_switches_and_signal_handlers(dataset, tmp_path, monkeypatch, before):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", before)
    torch.manual_seed(17)
    torch.rand(3)
    expected, seen = process_state(), []
    run = tmp_path / "run"
    options = {"recipe": toy_recipe(**DROPOUT), "max_steps": 4}
    with pytest.raises(InterruptedRunError):
        train_model(dataset, run, **options, **stop_at(2))
    assert process_state() == expected
    train_model(dataset, run, **options, resume=True, progress=lambda *_: seen.append(process_state() == expected))
    assert process_state() == expected
    assert seen
    assert all(seen)


def test_a_failed_step_leaves_the_random_state(dataset):
    trainer = Trainer(toy_recipe(**DROPOUT), load_dataset(dataset), 0, 0, "cpu")
    expected = process_state()
    trainer.state.networks.g_xy.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer.take_step()
    assert process_state() == expected


def test_dropout_does_not_depend_on_the_state_of_the_process(dataset, tmp_path):
    recipe = toy_recipe(**DROPOUT)
    runs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        options = {"recipe": recipe, "max_steps": 3, "progress": lambda *_: torch.rand(1)}
        runs.append(train_model(dataset, tmp_path / f"{seed}", **options))
    assert same(*map(bits, runs))


def test_deterministic_draws_what_the_seed_draws_and_restores_the_state():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(8)
    state = process_state()
    with deterministic(3):
        assert torch.equal(torch.rand(4), expected)
        assert torch.backends.cudnn.deterministic
    assert process_state() == state


def test_arrays_train_as_files_do(dataset, pairs, tmp_path):
    recipe = toy_recipe()
    by_path = train_model(str(dataset), str(tmp_path / "path"), recipe=recipe, max_steps=3)
    loaded = train_model(load_dataset(dataset), tmp_path / "loaded", recipe=recipe, max_steps=3)
    arrays = LoadedDataset.from_pairs(pairs, test=["p3"], folds=[["p2"], ["p1"]])
    by_arrays = train_model(arrays, tmp_path / "arrays", recipe=recipe, max_steps=3)
    for run in (loaded, by_arrays):
        assert same(bits(run), bits(by_path))
        assert load_model(run / "model").spec == load_model(by_path / "model").spec
    with pytest.raises(InputError, match="was trained on arrays; give `dataset`"):
        export_model(by_arrays, tmp_path / "best", which="best-total")
    export_model(by_arrays, tmp_path / "best", which="best-total", dataset=arrays)
    changed = [*pairs[:2], toy_pair("p2", 9), pairs[3]]
    other = LoadedDataset.from_pairs(changed, test=["p3"], folds=[["p2"], ["p1"]])
    with pytest.raises(InputError, match="began with other data"):
        train_model(other, by_arrays, recipe=recipe, max_steps=4, resume=True)


def test_all_pairs_of_a_list_are_used_for_training(pairs, tmp_path):
    run = train_model(pairs, tmp_path / "run", recipe=toy_recipe(terms={"l1": 1}), max_steps=1)
    assert len(load_model(run / "model").spec.greys) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pairs: [], "the list is empty"),
        (lambda pairs: [pairs[0], pairs[0]], "an id occurs twice"),
        (lambda pairs: [pairs[0], dataclasses.replace(pairs[1], voxel_um=7.0)], "share one voxel size"),
    ],
)
def test_wrong_lists_of_pairs_are_named(pairs, change, message):
    with pytest.raises(InputError, match=message):
        LoadedDataset.from_pairs(change(pairs))


@pytest.mark.filterwarnings("ignore:.*opposite contrast")
@pytest.mark.parametrize("ct_slices", [1, 3])
def test_each_pair_is_read_once(dataset, tmp_path, monkeypatch, ct_slices):
    decoded, hashed = [], []
    imread, read_bytes = pair_module.tifffile.imread, Path.read_bytes
    monkeypatch.setattr(pair_module.tifffile, "imread", lambda path: decoded.append(path) or imread(path))
    read_mask = pair_module.read_mask
    monkeypatch.setattr(pair_module, "read_mask", lambda path: decoded.append(path) or read_mask(path))
    monkeypatch.setattr(Path, "read_bytes", lambda path: hashed.append(path) or read_bytes(path))
    # Unpaired, so that the contrast is measured as well.
    recipe = toy_recipe(terms={"adversarial_y": 1}, in_channels=1, ct_slices=ct_slices)
    train_model(dataset, tmp_path / "run", recipe=recipe, max_steps=3)
    names = ["ct.tif", "histology.tif", "mask.tif"] + ["ct-slices.tif"] * (ct_slices > 1)
    assert sorted(decoded) == sorted(dataset / "pairs" / pair / name for pair in ("p0", "p1", "p2") for name in names)
    images = [path for path in hashed if path.suffix == ".tif"]
    assert len(images) == len(set(images)) == 12  # for the fingerprint of the run


def test_unknown_options_are_type_errors(dataset, tmp_path):
    with pytest.raises(TypeError, match="max_step"):
        train_model(dataset, tmp_path / "run", max_step=3)


def test_the_log_has_device_kernels_checkpoints_and_the_resumed_step(dataset, tmp_path, caplog):
    recipe = toy_recipe(terms={"l1": 1})
    with caplog.at_level(logging.INFO, logger="tomostain.train"):
        train_model(dataset, tmp_path / "run", recipe=recipe, max_steps=2, device="cpu")
        train_model(dataset, tmp_path / "run", recipe=recipe, max_steps=3, device="cpu", resume=True)
    text = caplog.text
    assert "recipe toy on cpu, precision 32-true, kernels fast, process 1 of 1" in text
    assert "checkpoint at step 2" in text
    assert "resumed at step 2" in text
    assert "model written at step 3" in text


def rename_as_before(run):
    """Convert a run to its form before the terms and keys were renamed."""
    older = {name: name_then for name_then, name in RENAMED.items()}
    keys = {"deformation": "field", "residual_registration": "realign"}
    for note in ("run.yaml", "recipe.yaml"):
        values = yaml.safe_load((run / note).read_text())
        recipe = values.get("recipe", values)
        changed = {keys.get(key, key): value for key, value in recipe.items() if key != "loss_networks"}
        changed["terms"] = {older.get(name, name): weight for name, weight in recipe["terms"].items()}
        (run / note).write_text(yaml.safe_dump(values | {"recipe": changed} if "recipe" in values else changed))
    lines = (run / "metrics.csv").read_text().splitlines(keepends=True)
    header = ",".join(older.get(name, name) for name in lines[0].rstrip("\n").split(","))
    (run / "metrics.csv").write_text("".join([header + "\n", *lines[1:]]))
    values = read_checkpoint(run / LAST)
    for key in ("sums", "best"):
        values[key] = {older.get(name, name): value for name, value in values[key].items()}
    torch.save(values, run / LAST)
    for name, name_then in older.items():
        if (run / f"best-{name}").exists():
            (run / f"best-{name}").rename(run / f"best-{name_then}")


def test_a_run_with_older_names_resumes_to_the_same_bits_and_keeps_its_columns(dataset, tmp_path):
    options = {"recipe": toy_recipe(**REGISTERED, residual_registration=4), "seed": 5}
    whole = train_model(dataset, tmp_path / "whole", **options, max_steps=9)
    run = train_model(dataset, tmp_path / "run", **options, max_steps=4)
    rename_as_before(run)
    with pytest.warns(DeprecationWarning, match="is now"):
        export_model(run, tmp_path / "best", which="best-settled")
    with pytest.warns(DeprecationWarning, match="is now"):
        export_model(run, tmp_path / "best-too", which="best-registered_pixelwise")
    with pytest.warns(DeprecationWarning, match="is now"):
        train_model(dataset, run, **options, max_steps=9, resume=True)
    assert same(bits(run), bits(whole))
    with (run / "metrics.csv").open(newline="") as file, (whole / "metrics.csv").open(newline="") as other:
        resumed, expected = list(csv.DictReader(file)), list(csv.DictReader(other))
    assert {"settled", "tolerant"} < set(resumed[0])
    assert not set(RENAMED.values()) & set(resumed[0])
    assert {"registered_pixelwise", "shift_tolerant_l1"} < set(expected[0])
    for row, right in zip(resumed, expected, strict=True):
        assert row["settled"] == right["registered_pixelwise"]
    assert np.isfinite(float(resumed[-1]["tolerant"]))
    best = "best-registered_pixelwise"
    assert same(read_checkpoint(run / best), read_checkpoint(whole / best))
    assert not (run / "best-settled").exists()
