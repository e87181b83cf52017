"""The verb `train`."""

import pytest
import yaml

from tests.support.packages import install_models
from tests.support.training import toy_pair, toy_recipe
from tomostain.cli.main import run
from tomostain.dataset.writer import save_dataset
from tomostain.io import load_model
from tomostain.train import list_recipes, load_recipe, train
from tomostain.train.default_recipe import DEFAULT_RECIPES


@pytest.fixture
def dataset(tmp_path):
    return save_dataset(tmp_path / "dataset", [toy_pair(f"p{seed}", seed) for seed in range(2)]).path


def test_init_takes_a_built_in_model_and_the_output_names_it(dataset, tmp_path, monkeypatch, capsys):
    first = train(dataset, tmp_path / "first", recipe=toy_recipe(terms={"l1": 1}), max_steps=1) / "model"
    install_models(monkeypatch, tmp_path / "package", toy=first)
    tuned = tmp_path / "tuned"
    assert run(["-q", "train", str(dataset), str(tuned), "--init", "builtin:toy", "--max-steps", "2"]) == 0
    recipe, init, device, *_ = capsys.readouterr().out.splitlines()
    assert recipe == "recipe: toy (of the initial model builtin:toy); 'tomostain recipes' lists others"
    assert init == f"init:   builtin:toy (toluidine-blue, 20 µm, toy, hash {load_model(first).hash[:12]})"
    assert device == "device: cpu, precision 32-true"
    assert load_model(tuned).spec.training.initial_model.name == "builtin:toy"
    assert run(["-q", "train", str(dataset), str(tuned), "--resume", "--max-steps", "3"]) == 0
    assert capsys.readouterr().out.startswith("recipe: toy (of the resumed run)")
    assert load_model(tuned).spec.steps == 3


def test_init_that_does_not_fit_names_the_option(dataset, tmp_path, fails):
    first = train(dataset, tmp_path / "first", recipe=toy_recipe(terms={"l1": 1}), max_steps=1)
    line = fails("train", dataset, tmp_path / "run", "--init", first, "--recipe", "tomostain-cpu")
    assert "in_channels is 3 in the initial model first and 1 in the recipe 'tomostain-cpu'" in line
    assert "leave out --recipe to use that of the model (toy), or set --init to a model of this recipe" in line
    assert "--init: " in (line := fails("train", dataset, tmp_path / "run", "--init", dataset)) or "give --init" in line


def test_without_a_recipe_the_default_of_the_device_is_named(dataset, tmp_path, capsys):
    options = ["--device", "cpu", "--dry-run"]
    assert run(["train", str(dataset), str(tmp_path / "run"), *options]) == 0
    assert f"recipe:     {DEFAULT_RECIPES['cpu']} (the default on cpu): " in capsys.readouterr().out


def test_unknown_recipe_key(tmp_path, fails):
    (tmp_path / "mine.yaml").write_text("base: paired-cyclegan-cpu\nname: mine\nepoch: 3\n")
    line = fails("train", tmp_path / "dataset", tmp_path / "run", "--recipe", tmp_path / "mine.yaml")
    assert "epoch" in line
    assert "did you mean 'epochs'" in line


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_is_resumed_without_naming_it(tmp_path, name, capsys):
    pairs = [toy_pair(f"p{seed}", seed) for seed in range(3)]
    data = save_dataset(tmp_path / "dataset", pairs, folds=[["p0"], ["p1"]]).path
    small = {"generator": {"width": 2}, "discriminator": {"width": 2, "layers": 1}, "batch": 1, "average": 0.5}
    recipe = load_recipe(name)
    small["generator"] |= {"blocks": 1} if recipe.generator["name"] == "resnet" else {"downs": 2}
    small |= {"ct_slices": 3} if recipe.ct_slices > 1 else {}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"base": name, "name": "mine", "patch_px": 16} | small))
    run_folder = str(tmp_path / "run")
    first = ["--recipe", str(tmp_path / "mine.yaml"), "--fold", "1", "--seed", "3", "--device", "cpu"]
    assert run(["-q", "train", str(data), run_folder, *first, "--max-steps", "1"]) == 0
    capsys.readouterr()
    assert run(["-q", "train", str(data), run_folder, "--resume", "--device", "cpu", "--max-steps", "2"]) == 0
    assert "recipe: mine (of the resumed run)" in capsys.readouterr().out
    assert load_model(tmp_path / "run").spec.steps == 2
    assert run(["-q", "train", str(data), run_folder, "--resume", "--seed", "4", "--device", "cpu"]) == 2
    assert "another seed (3 in the run, now 4)" in capsys.readouterr().err


def test_resume_of_nothing_begins(dataset, tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(toy_recipe(terms={"l1": 1}).model_dump(mode="json")))
    options = ["--recipe", str(tmp_path / "mine.yaml"), "--device", "cpu", "--max-steps", "1", "--resume"]
    assert run(["-q", "train", str(dataset), str(tmp_path / "run"), *options]) == 0


def test_the_limits_are_options(dataset, tmp_path, fails):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(toy_recipe(terms={"l1": 1}).model_dump(mode="json")))
    options = ["--recipe", str(tmp_path / "mine.yaml"), "--device", "cpu", "--max-cpu-seconds", "1"]
    assert run(["-q", "train", str(dataset), str(tmp_path / "run"), *options]) == 0
    assert "--max-cpu-seconds" in fails("train", dataset, tmp_path / "run", "--max-cpu-seconds", "0")


@pytest.mark.parametrize(
    ("groups", "found"),
    [
        ({"test": ["p2"]}, "evaluate RUN DATASET evaluation\n"),
        ({"folds": [["p0"], ["p1", "p2"]]}, "evaluate RUN DATASET evaluation --split validation\n"),
        ({}, None),
    ],
)
def test_the_next_command_evaluates_pairs_that_exist(tmp_path, capsys, groups, found):
    data = save_dataset(tmp_path / "dataset", [toy_pair(f"p{n}", n) for n in range(3)], **groups).path
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(toy_recipe(terms={"l1": 1}).model_dump(mode="json")))
    options = ["--recipe", str(tmp_path / "mine.yaml"), "--device", "cpu", "--max-steps", "1"]
    assert run(["-q", "train", str(data), str(tmp_path / "run"), *options]) == 0
    printed = capsys.readouterr().out.replace(str(tmp_path / "run"), "RUN").replace(str(data), "DATASET")
    if found is None:
        assert "evaluate " not in printed
        assert "no pairs for testing or validation" in printed
    else:
        assert f"next:  tomostain {found}" in printed


def test_a_resumed_training_with_nothing_to_do_says_so(dataset, tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(toy_recipe(terms={"l1": 1}).model_dump(mode="json")))
    words = ["-q", "train", str(dataset), str(tmp_path / "run"), "--device", "cpu"]
    assert run([*words, "--recipe", str(tmp_path / "mine.yaml"), "--max-steps", "3"]) == 0
    assert "nothing to do" not in capsys.readouterr().err
    assert run([*words, "--resume", "--max-steps", "2"]) == 0
    assert "has taken 3 steps already" in (message := capsys.readouterr().err)
    assert "so there is nothing to do" in message
    assert load_model(tmp_path / "run").spec.steps == 3
