"""Training from the weights of another model: loaded weights, learning rate, record and mismatches."""

import dataclasses
import logging
import shutil
import warnings

import pytest
import torch
import yaml

from tests.support.packages import install_models
from tests.support.training import RESIDUAL, bits, rows, same, stop_at, toy_pair, toy_recipe
from tomostain.dataset.dataset import load_dataset
from tomostain.dataset.writer import save_dataset
from tomostain.errors import InputError, InterruptedRunError, OutOfDistributionWarning
from tomostain.io import load_model, read_image
from tomostain.train import FineTune, InitialModel, ModelLabels, export_model, plan_training, train
from tomostain.train.checkpoint import LAST, read_checkpoint
from tomostain.train.default_recipe import DEFAULT_RECIPES, choose_recipe, default_recipe, describe_recipes
from tomostain.train.recipes import list_recipes, load_recipe
from tomostain.train.trainer import Trainer

AVERAGED = toy_recipe(**RESIDUAL, average=0.9, fine_tune={"learning_rate": 0.001, "warmup_steps": 4})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    pairs = [toy_pair(f"p{seed}", seed) for seed in range(4)]
    return save_dataset(tmp_path_factory.mktemp("toy") / "dataset", pairs, test=["p3"], folds=[["p2"], ["p1"]]).path


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Return pairs of another laboratory."""
    pairs = [toy_pair(f"q{seed}", seed) for seed in range(7, 10)]
    return save_dataset(tmp_path_factory.mktemp("other") / "dataset", pairs, folds=[["q9"], ["q8"]]).path


@pytest.fixture(scope="module", params=["averaged", "cycles"])
def source(request, dataset, tmp_path_factory):
    """Return a finished run: with a running average and one discriminator, or with everything of the paper's."""
    recipe = AVERAGED if request.param == "averaged" else toy_recipe()
    return train(dataset, tmp_path_factory.mktemp("source") / "first", recipe=recipe, seed=5, max_steps=4)


@pytest.fixture(scope="module")
def averaged(dataset, tmp_path_factory):
    return train(dataset, tmp_path_factory.mktemp("averaged") / "first", recipe=AVERAGED, seed=5, max_steps=4)


def networks(trainer):
    return {name: network.state_dict() for name, network in trainer.state.networks.generators().items()} | {
        name: network.state_dict() for name, network in trainer.state.networks.discriminators().items()
    }


def begin(dataset, init):
    """Return a trainer before its first step, with the initial weights, and the names that stay random."""
    initial = InitialModel.open(init)
    trainer = Trainer(initial.recipe, load_dataset(dataset), 0, 1, "cpu")
    return trainer, initial.load_into(trainer.state.networks)


def test_a_run_gives_its_model_and_its_discriminators(source, other):
    trainer, random = begin(other, source)
    assert random == []
    model, checkpoint = load_model(source / "model"), read_checkpoint(source / LAST)["networks"]
    loaded = networks(trainer)
    assert same(dict(loaded["g_xy"]), model.state)
    assert same(dict(trainer.state.networks.staining.state_dict()), model.state)
    for name in {"d_y", "d_x", "g_yx"} & loaded.keys():
        assert same(dict(loaded[name]), dict(checkpoint[name]))


def test_a_model_folder_has_no_discriminators_unless_they_were_exported(source, other, tmp_path):
    shutil.copytree(source / "model", tmp_path / "alone")
    trainer, random = begin(other, tmp_path / "alone")
    assert random == list(trainer.state.networks.discriminators())
    with_judges = export_model(source, tmp_path / "judges", labels=ModelLabels(discriminators=True))
    again, random = begin(other, with_judges)
    assert random == []
    assert same(networks(again), networks(begin(other, source)[0]))
    assert load_model(with_judges).hash != load_model(tmp_path / "alone").hash


def test_a_model_older_than_the_checkpoint_is_used_without_it(averaged, dataset, other, tmp_path):
    run = shutil.copytree(averaged, tmp_path / "run")
    with pytest.raises(InterruptedRunError):
        train(dataset, run, recipe=AVERAGED, seed=5, max_steps=8, resume=True, **stop_at(6))
    _, random = begin(other, run)
    assert random == ["d_y"]


def test_the_rate_warms_up_and_then_is_the_one_of_fine_tuning(averaged, other):
    trainer, _ = begin(other, averaged)
    trainer.fine_tuning = True
    rates = []
    for _ in range(6):
        trainer.take_step()
        assert len({group["lr"] for o in trainer.state.optimisers.values() for group in o.param_groups}) == 1
        rates.append(trainer.state.optimisers["generators"].param_groups[0]["lr"])
    assert rates == pytest.approx([0.00025, 0.0005, 0.00075, 0.001, 0.001, 0.001])


def test_fine_tuning_halves_the_rate_of_the_recipe_by_default():
    tune = FineTune()
    assert tune.rate(4e-4, 10**6) == tune.peak(4e-4) == 2e-4
    assert tune.rate(4e-4, 0) < tune.rate(4e-4, 50) < 2e-4
    decaying = FineTune(warmup_steps=0, decay_steps=100, final=0.1)
    values = [decaying.rate(2.0, step) for step in (0, 25, 50, 75, 100, 1000)]
    assert values == sorted(values, reverse=True)
    assert (values[0], values[-1]) == pytest.approx((1.0, 0.1))


@pytest.mark.parametrize("repeat_init", [True, False])
def test_an_interrupted_fine_tuning_resumes_to_the_same_bits(source, other, tmp_path, repeat_init):
    expected = train(other, tmp_path / "whole", init=source, seed=3, max_steps=8)
    run, options = tmp_path / "run", {"seed": 3, "max_steps": 8}
    moved = shutil.copytree(source, tmp_path / "moved")
    with pytest.raises(InterruptedRunError):
        train(other, run, init=moved, **options, **stop_at(3))
    # Neither the recipe nor the model are necessary: the run records them, and the weights are in the checkpoint.
    train(other, run, **options, resume=True, **({"init": moved} if repeat_init else {}))
    assert same(bits(run), bits(expected))
    assert rows(run) == rows(expected)
    assert load_model(run / "model").spec.training.initial_model.name == "moved"


def test_run_and_card_state_the_initial_model(averaged, other, tmp_path):
    run = train(other, tmp_path / "run", init=averaged, seed=3, max_steps=3)
    model = load_model(run / "model")
    first = model.spec.training.initial_model
    assert (first.name, first.hash, first.recipe) == ("first", load_model(averaged / "model").hash, "toy")
    assert yaml.safe_load((run / "run.yaml").read_text())["initial_model"] == first.model_dump()
    card = (run / "model" / "README.md").read_text(encoding="utf-8")
    assert f"- initial model: first (toluidine-blue, 20 µm, recipe toy, hash {first.hash})" in card
    assert "seed 3" in card
    assert "- initial model: none" in (averaged / "model" / "README.md").read_text(encoding="utf-8")


def test_the_weights_make_a_difference_and_learning_continues(averaged, dataset, tmp_path):
    fresh = train(dataset, tmp_path / "fresh", recipe=AVERAGED, seed=3, max_steps=1)
    tuned = train(dataset, tmp_path / "tuned", init=averaged, seed=3, max_steps=1)
    start = load_model(averaged / "model").state

    def distance(run):
        weights = read_checkpoint(run / LAST)["networks"]["g_xy"]
        return sum(float((value - start[name]).abs().sum()) for name, value in weights.items())

    assert 0 < distance(tuned) < 0.1 * distance(fresh)


def test_another_initial_model_is_not_resumed(averaged, dataset, other, tmp_path):
    run = train(other, tmp_path / "run", init=averaged, max_steps=1)
    different = train(dataset, tmp_path / "different", recipe=AVERAGED, seed=6, max_steps=1)
    with pytest.raises(InputError, match="the run began with another initial model"):
        train(other, run, init=different, max_steps=2, resume=True)
    plain = train(other, tmp_path / "plain", recipe=AVERAGED, max_steps=1)
    with pytest.raises(InputError, match="the run began with another initial model"):
        train(other, plain, init=averaged, max_steps=2, resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_channels": 1}, "in_channels is 3 in the initial model first and 1 in the recipe 'toy'"),
        ({"in_channels": 1, "ct_slices": 3}, "in_channels is 3 in the initial model first and 1 in the recipe"),
        ({"inverted_ct": True}, "inverted_ct is False in the initial model first and True"),
        (
            {"generator": {"name": "resnet", "width": 4, "blocks": 1}},
            "the generator's width is 2 in the initial model first and 4 in the recipe 'toy', so the weights do not "
            r"fit; leave out `recipe` to use that of the model \(toy\), or set `init`",
        ),
        ({"noise": {"channels": 1}}, "the number of noise channels is 0 in the initial model first and 1"),
        (
            {"generator": {"name": "unet", "width": 2, "downs": 2}},
            "the generator's blocks is 1 in the initial model first and None",
        ),
    ],
)
def test_the_error_of_a_mismatch_names_both_sides_and_a_remedy(averaged, other, tmp_path, changes, message):
    recipe = toy_recipe(**RESIDUAL | changes)
    with pytest.raises(InputError, match=message) as caught:
        train(other, tmp_path / "run", init=averaged, recipe=recipe)
    assert caught.value.parameter == "init"
    assert not (tmp_path / "run").exists()


def test_slices_do_not_fit(dataset, other, tmp_path):
    recipe = toy_recipe(**RESIDUAL, in_channels=1, ct_slices=3)
    run = train(dataset, tmp_path / "three", recipe=recipe, max_steps=1)
    with pytest.raises(InputError, match="ct_slices is 3 in the initial model three and 1 in the recipe"):
        train(other, tmp_path / "run", init=run, recipe=recipe.model_copy(update={"ct_slices": 1}))


def test_a_missing_model_gives_a_one_line_error(tmp_path, other):
    for path in (tmp_path / "none", other):
        with pytest.raises(InputError, match=r"neither a model nor a run with one \(no model\.yaml\); give `init`"):
            train(other, tmp_path / "run", init=path)


def test_another_voxel_size_is_reported(averaged, tmp_path):
    def warned(voxel_um):
        pairs = [dataclasses.replace(toy_pair(f"p{n}", n), voxel_um=voxel_um) for n in range(2)]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            train(pairs, tmp_path / f"run{voxel_um}", init=averaged, max_steps=1)
        return [str(w.message) for w in caught if issubclass(w.category, OutOfDistributionWarning)]

    assert warned(20.0) == warned(21.0) == []
    (message,) = warned(5.0)
    assert "voxel size 5 µm, but the initial model first was trained at 20 µm: structures are 4 times" in message
    assert "Resample the volume to 20 µm" in message
    assert "structures are 1.25 times as large" in warned(16.0)[0]


def test_the_recipe_follows_from_the_model(averaged, other, tmp_path, monkeypatch):
    assert choose_recipe(initial=InitialModel.open(averaged)).recipe == AVERAGED
    install_models(monkeypatch, tmp_path / "package", toy=averaged / "model")
    built_in = choose_recipe(initial=InitialModel.open("builtin:toy"))
    assert (built_in.recipe, built_in.reason) == (AVERAGED, "of the initial model builtin:toy")
    short = load_model(averaged / "model").hash[:12]
    plan = plan_training(other, init="builtin:toy")
    assert f"initial:    builtin:toy (toluidine-blue, 20 µm, toy, hash {short})" in plan
    older = shutil.copytree(averaged / "model", tmp_path / "older")
    _remove_recipe(older)
    with pytest.raises(InputError, match="older: does not store its recipe 'toy'; give `recipe`"):
        train(other, tmp_path / "run", init=older)
    run = shutil.copytree(averaged, tmp_path / "run-of-an-older-version")
    _remove_recipe(run / "model")
    assert choose_recipe(initial=InitialModel.open(run)).recipe.terms == AVERAGED.terms


def _remove_recipe(model):
    (model / "recipe.yaml").unlink()
    sums = (model / "SHA256SUMS").read_text().splitlines(keepends=True)
    (model / "SHA256SUMS").write_text("".join(line for line in sums if "recipe.yaml" not in line))


def test_older_models_of_a_known_recipe_give_it(tmp_path):
    from tests.support.models import random_model

    model = random_model(tmp_path / "model", "tomostain-cpu", norm="channel")
    assert InitialModel.open(model).recipe == load_recipe("tomostain-cpu")
    wider = random_model(tmp_path / "wider", "tomostain-cpu", norm="channel", width=4)
    assert InitialModel.open(wider).recipe is None


def test_without_a_recipe_it_is_the_default_of_the_device(other, tmp_path, caplog):
    assert default_recipe("cpu") == DEFAULT_RECIPES["cpu"]
    assert set(DEFAULT_RECIPES.values()) <= set(list_recipes())
    choice = choose_recipe(device="cpu")
    assert str(choice) == f"{DEFAULT_RECIPES['cpu']} (the default on cpu)"
    lines = describe_recipes()
    assert [line.split()[0] for line in lines] == list_recipes()
    assert all(load_recipe(name).description for name in list_recipes())
    assert sum("[default on cpu]" in line for line in lines) == 1
    run = train(other, tmp_path / "run", recipe=AVERAGED, max_steps=1)
    with caplog.at_level(logging.INFO, logger="tomostain"):
        train(other, run, max_steps=2, resume=True)
    assert "recipe: toy (of the resumed run)" in caplog.text
    assert read_checkpoint(run / LAST)["step"] == 2


def test_a_description_is_neither_inherited_nor_compared(other, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("base: tomostain-cpu\nname: mine\nfine_tune: {warmup_steps: 7}\n")
    recipe = load_recipe(mine)
    assert (recipe.description, recipe.fine_tune) == ("", FineTune(warmup_steps=7))
    run = train(other, tmp_path / "run", recipe=AVERAGED, max_steps=1)
    described = AVERAGED.model_copy(update={"description": "Another description"})
    train(other, run, recipe=described, max_steps=2, resume=True)
    assert read_checkpoint(run / LAST)["step"] == 2


def test_the_model_folder_describes_its_training(averaged, dataset, tmp_path):
    labels = ModelLabels(summary="phantom: no biology", licence="CC0-1.0", metrics={"ssim": 0.5})
    model = load_model(export_model(averaged, tmp_path / "model", labels=labels))
    training = model.spec.training
    assert (training.pairs, training.validation_pairs, training.specimens, training.seed) == (2, 1, 2, 5)
    assert training.data == load_model(averaged / "model").spec.training.data != ""
    validated = [row for row in rows(averaged) if row["validation_psnr"]][-1]
    assert model.spec.metrics["validation_psnr"] == float(validated["validation_psnr"])
    assert training.validation_step == int(validated["step"])
    assert model.spec.metrics["ssim"] == 0.5
    assert yaml.safe_load(model.recipe) == AVERAGED.for_device(torch.device("cpu")).model_dump(mode="json")
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    for line in (
        "phantom: no biology.",
        "- pairs: 2 for training, 1 for validation",
        "- specimens: 2 (implants: unknown)",
        "![µCT, stained, real histology](picture.png)",
        "- ssim: 0.5",
        "- training reference, to detect what is unlike the training data: stored in `seen.safetensors`",
        "CC0-1.0",
        "- `recipe.yaml`: the recipe for further training",
    ):
        assert line in card
    picture = read_image(tmp_path / "model" / "picture.png")
    side_y, side_x = 36, 42  # of the toy pairs
    assert picture.shape == (side_y + 22, 3 * side_x + 2 * 4, 3)
    assert (picture[22:, -side_x:] == toy_pair("p2", 2).histology).all()


def test_dropout_has_no_weights_and_may_differ():
    initial = InitialModel.open("builtin:phantom-tb")
    recipe = load_recipe("tomostain-cpu")
    changed = recipe.model_copy(update={"generator": {**recipe.generator, "dropout": 0.0}})
    initial.check(changed)
    with pytest.raises(InputError, match="width is 14"):
        initial.check(recipe.model_copy(update={"generator": {**recipe.generator, "width": 15}}))
