"""The beginning of a training: the types of its options, and the initial model that a run records."""

import dataclasses

import pytest

from tests.support.training import stop_at, toy_pair, toy_recipe
from tomostain.errors import InputError, InterruptedRunError
from tomostain.io.models import load_model
from tomostain.train import InitialModel, train_model
from tomostain.train.begin import TrainOptions
from tomostain.train.checkpoint import LAST
from tomostain.train.default_recipe import choose_recipe

PAIRS = [toy_pair("a", 0), toy_pair("b", 1)]
SMALL = toy_recipe(terms={"l1": 1}, generator={"name": "resnet", "width": 1, "blocks": 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": None}, "`seed=None`: expected a whole number"),
        ({"seed": 1.5}, r"`seed=1\.5`: expected a whole number"),
        ({"fold": "0"}, "`fold='0'`: expected a whole number"),
        ({"max_steps": True}, "`max_steps=True`: expected a whole number"),
    ],
)
def test_options_of_another_type_are_named(options, message):
    with pytest.raises(InputError, match=message) as caught:
        TrainOptions.of_keywords(options)
    assert caught.value.parameter == next(iter(options))


def test_fold_and_limit_may_be_left_out():
    options = TrainOptions.of_keywords({"fold": None, "max_steps": None})
    assert (options.fold, options.seed, options.limits.max_steps) == (None, 0, None)


@pytest.fixture
def stopped(tmp_path):
    """Return a run that was killed before its first checkpoint, and the model that it began with."""
    model = train_model(PAIRS, tmp_path / "first", recipe=SMALL, max_steps=1) / "model"
    run = tmp_path / "second"
    with pytest.raises(InterruptedRunError):
        train_model(PAIRS, run, recipe=SMALL, init=model, max_steps=3, **stop_at(1))
    (run / LAST).unlink()
    description = (run / "run.yaml").read_text()
    assert "name: model" in description or "name: first" in description
    return run, model


def rename_initial_model(run, name):
    lines = (run / "run.yaml").read_text().splitlines()
    start = lines.index("initial_model:")
    number = next(n for n in range(start, len(lines)) if lines[n].startswith("  name: "))
    lines[number] = f"  name: {name}"
    (run / "run.yaml").write_text("\n".join(lines) + "\n")


def test_a_run_without_a_checkpoint_begins_again_with_the_recorded_initial_model(stopped):
    run, model = stopped
    rename_initial_model(run, model)
    resumed = train_model(PAIRS, run, recipe=SMALL, max_steps=1, resume=True)
    record = load_model(resumed / "model").spec.training.initial_model
    assert (record.name, record.hash) == ("first", load_model(model).hash)


def test_another_model_under_the_recorded_name_is_refused(stopped, tmp_path):
    run, _ = stopped
    other = train_model(PAIRS, tmp_path / "other", recipe=SMALL, seed=7, max_steps=2) / "model"
    rename_initial_model(run, other)
    with pytest.raises(InputError, match=f"second: begins with the weights of '{other}'; give it again with `init`"):
        train_model(PAIRS, run, recipe=SMALL, max_steps=3, resume=True)


def test_a_model_without_a_recipe_needs_one(tmp_path):
    run = train_model(PAIRS, tmp_path / "run", recipe=SMALL, max_steps=1)
    initial = dataclasses.replace(InitialModel.open(run), recipe=None)
    with pytest.raises(InputError, match="run: does not store its recipe 'toy'; give `recipe`"):
        choose_recipe(initial=initial, device="cpu")
