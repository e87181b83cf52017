"""An evaluation states which of its tested pairs trained the model."""

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest

from tests.support.training import toy_pair, toy_recipe
from tomostain.dataset.loaded import LoadedDataset
from tomostain.dataset.writer import save_dataset
from tomostain.errors import SplitWarning
from tomostain.evaluate import compare, evaluate, evaluate_models
from tomostain.io.models import load_model
from tomostain.train import train_model

PAIRS = [toy_pair(f"p{seed}", seed) for seed in range(4)]
OPTIONS = {"baselines": False, "lpips": "none", "patch_px": 32}
SENTENCE = "2 of the 3 tested pairs trained this model, so its scores are too good: p0, renamed. Train it"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    data = LoadedDataset.from_pairs(PAIRS, test=["p3"], folds=[["p2"], ["p1"]])
    return train_model(data, tmp_path_factory.mktemp("run") / "run", recipe=toy_recipe(), max_steps=1) / "model"


def divided_again():
    """Return pairs of which two trained the model; one has another name, and another mask and specimen."""
    renamed = dataclasses.replace(PAIRS[1], id="renamed", mask=~np.zeros_like(PAIRS[1].mask), specimen="", subject="")
    return [PAIRS[0], renamed, PAIRS[3]]


def assert_names_line(caught, start):
    """Raise unless the warning names the line of this file with this start."""
    (warning,) = (each for each in caught if each.category is SplitWarning)
    assert warning.filename == __file__
    assert Path(__file__).read_text().splitlines()[warning.lineno - 1].startswith(start)


def test_pairs_that_trained_are_named(model, tmp_path):
    with pytest.warns(SplitWarning, match=SENTENCE) as caught:
        table = evaluate(model, divided_again(), tmp_path / "out", **OPTIONS)
    assert sum(SENTENCE in note for note in table.notes) == 1
    assert_names_line(caught, "        table = evaluate(model")
    with pytest.warns(SplitWarning, match=SENTENCE) as caught:
        evaluate_models(model, divided_again(), **OPTIONS)
    assert_names_line(caught, "        evaluate_models(model")
    with pytest.warns(SplitWarning, match=SENTENCE) as caught:
        compare(tmp_path / "both", {"a": model}, divided_again(), **OPTIONS)
    assert_names_line(caught, "        compare(tmp_path")


def test_files_and_arrays_are_the_same_images(model, tmp_path):
    save_dataset(tmp_path / "set", divided_again(), test=["p0", "renamed", "p3"])
    with pytest.warns(SplitWarning, match=SENTENCE):
        evaluate_models(model, tmp_path / "set", **OPTIONS)


@pytest.mark.parametrize("split", ["test", "validation", "train", "all"])
def test_the_pairs_of_the_model_itself_give_no_warning(model, split):
    data = LoadedDataset.from_pairs(PAIRS, test=["p3"], folds=[["p2"], ["p1"]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate_models(model, data, split=split, **OPTIONS)


def test_models_of_earlier_versions_do_not_state_their_images(model):
    spec = load_model(model).spec
    older = spec.model_copy(update={"training": spec.training.model_copy(update={"images": ()})})
    assert "images" not in older.to_yaml()
    assert spec.training.images == tuple(sorted(pair.image_digest() for pair in PAIRS[:2]))
