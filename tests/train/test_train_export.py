"""Model folders from runs: their checkpoint, data, validation and discriminators."""

import shutil

import numpy as np
import pytest
import torch
import yaml

from tests.support.training import toy_pair, toy_recipe
from tomostain.dataset.loaded import LoadedDataset
from tomostain.errors import InputError
from tomostain.io.models import load_model
from tomostain.train import ModelLabels, export_model, train_model
from tomostain.train.checkpoint import read_checkpoint

PAIRS = [toy_pair(name, seed) for seed, name in enumerate("abc")]
FOLDS = LoadedDataset.from_pairs(PAIRS, folds=[["c"]])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a run of four steps with one fold; an epoch has three, so that it was validated once before the end."""
    return train_model(FOLDS, tmp_path_factory.mktemp("run") / "run", recipe=toy_recipe(), max_steps=4)


def test_a_run_that_was_trained_on_arrays_needs_them_again(run, tmp_path):
    with pytest.raises(InputError, match="run: the run was trained on arrays; give `dataset`"):
        export_model(run, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("which", ["best-nothing", "first"])
def test_a_checkpoint_that_is_not_there_is_named(run, tmp_path, which):
    with pytest.raises(InputError, match=rf"run/{which}: no such checkpoint; the run has not reached it yet"):
        export_model(run, tmp_path / "model", which, dataset=FOLDS)


@pytest.mark.parametrize(
    ("stored", "asked"), [("settled", "registered_pixelwise"), ("registered_pixelwise", "settled")]
)
def test_a_checkpoint_is_found_by_the_older_and_the_current_name_of_its_term(run, tmp_path, stored, asked):
    copy = shutil.copytree(run, tmp_path / "copy")
    shutil.copyfile(run / "best-total", copy / f"best-{stored}")
    model = load_model(export_model(copy, tmp_path / "model", f"best-{asked}", dataset=FOLDS))
    assert model.spec.steps == read_checkpoint(run / "best-total")["step"] == 3


def test_the_model_has_the_last_validation_up_to_its_step(run, tmp_path):
    spec = load_model(export_model(run, tmp_path / "last", dataset=FOLDS)).spec
    assert spec.training.validation_step == 3
    assert spec.metrics.keys() == {"validation_l1", "validation_psnr"}
    labels = ModelLabels(metrics={"validation_l1": 0.5, "ssim": 0.25}, discriminators=True)
    model = load_model(export_model(run, tmp_path / "labelled", dataset=FOLDS, labels=labels))
    assert model.spec.training.validation_step == 4
    assert (model.spec.metrics["validation_l1"], model.spec.metrics["ssim"]) == (0.5, 0.25)
    assert model.discriminators.keys() == {"d_y", "d_x"}


@pytest.mark.parametrize("table", [None, "step,epoch,seconds,validation_l1\n", "step,validation_l1\n3,\n9,0.5\n"])
def test_a_run_without_a_validation_gives_a_model_without_one(run, tmp_path, table):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "metrics.csv").unlink()
    if table is not None:
        (copy / "metrics.csv").write_text(table)
    spec = load_model(export_model(copy, tmp_path / "model", dataset=FOLDS)).spec
    assert (spec.training.validation_step, spec.metrics) == (None, {})


def test_only_pairs_with_solid_pixels_have_solid_grey_values(tmp_path):
    empty = toy_pair("empty", 5)
    empty.ct[...] = 10000
    assert np.all(empty.ct == 10000)
    run = train_model(
        [PAIRS[0], empty],
        tmp_path / "run",
        recipe=toy_recipe(terms={"l1": 1}),
        max_steps=1,
    )
    spec = load_model(run / "model").spec
    assert len(spec.greys) == 1
    assert spec.greys[0][-1] == 30000


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("step,validation_l1\n1,0.5\nthree,0.5\n", 3),
        ("step,validation_l1\n3,half\n", 2),
        ("epoch,validation_l1\n1,0.5\n", 2),
    ],
)
def test_a_damaged_table_of_metrics_is_named_with_its_line(run, tmp_path, table, line):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "metrics.csv").write_text(table)
    with pytest.raises(InputError, match=rf"metrics.csv, line {line}: the step or a validation is not a number"):
        export_model(copy, tmp_path / "model", dataset=FOLDS)


@pytest.mark.parametrize("change", [{"recipe": None}, {"recipe": 3}, {"dataset": ...}, {"fold": ...}])
def test_a_description_without_a_key_is_named(run, tmp_path, change):
    copy = shutil.copytree(run, tmp_path / "copy")
    values = yaml.safe_load((copy / "run.yaml").read_text()) | change
    (copy / "run.yaml").write_text(yaml.safe_dump({k: v for k, v in values.items() if v is not ...}))
    with pytest.raises(InputError, match=r"run.yaml: has no recipe, dataset or fold; restore it"):
        export_model(copy, tmp_path / "model", dataset=FOLDS)
    if "recipe" in change:
        with pytest.raises(InputError, match="the run began with another recipe"):
            train_model(FOLDS, copy, recipe=toy_recipe(), max_steps=5, resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"networks": {"g_xy": {}}}, "last: has no weights of 'g_yx', which the recipe 'toy' trains"),
        ({"networks": [1]}, "last: not a checkpoint of tomostain"),
        ({"step": "four"}, "last: not a checkpoint of tomostain"),
    ],
)
def test_a_checkpoint_without_the_generators_is_named(run, tmp_path, change, message):
    copy = shutil.copytree(run, tmp_path / "copy")
    torch.save(read_checkpoint(run / "last") | change, copy / "last")
    with pytest.raises(InputError, match=message):
        export_model(copy, tmp_path / "model", dataset=FOLDS)
