"""The plan of a training: counted on tensors without values, for every recipe, without a step."""

import time

import pytest
import torch

from tests.support.training import DROPOUT, REGISTERED, RESIDUAL, toy_pair, toy_recipe
from tomostain.dataset.writer import save_dataset
from tomostain.networks.build import build_network
from tomostain.networks.cost import count_multiply_adds, count_parameters
from tomostain.train import LoadedDataset, Trainer, list_recipes, load_recipe, plan_training
from tomostain.train.checkpoint import named_networks
from tomostain.train.cost import count_step
from tomostain.train.pair_registration import pairs_at_once


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    pairs = [toy_pair(f"p{seed}", seed) for seed in range(4)]
    return save_dataset(tmp_path_factory.mktemp("toy") / "dataset", pairs, test=["p3"], folds=[["p2"]]).path


@pytest.fixture
def no_step(monkeypatch):
    """Fail if a network of a training is built with memory, or a step is taken."""
    monkeypatch.setattr("tomostain.train.trainer.Trainer.__init__", lambda *_: pytest.fail("a trainer was built"))
    monkeypatch.setattr("tomostain.train.initialise.build_network", lambda *_: pytest.fail("a network was built"))


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_has_a_plan_in_seconds(dataset, no_step, name):
    data = LoadedDataset.open(dataset)
    recipe = load_recipe(name)
    if recipe.ct_slices > 3:
        recipe = recipe.model_copy(update={"ct_slices": 3})
    began = time.process_time()
    lines = dict(line.split(":", 1) for line in plan_training(data, recipe=recipe, device="cpu", max_steps=5000))
    assert time.process_time() - began < 30
    for key in ("pairs", "recipe", "networks", "memory", "disk", "device", "steps", "time"):
        assert lines[key].strip()
    assert "about" in lines["time"]
    assert ("registered" in lines) == bool(recipe.residual_registration)


@pytest.mark.parametrize(
    "changes", [{}, DROPOUT, REGISTERED, RESIDUAL], ids=["cycles", "dropout", "registered", "residual"]
)
def test_the_parameters_are_those_of_the_training(changes):
    recipe = toy_recipe(**changes)
    data = LoadedDataset.from_pairs([toy_pair("a", 0), toy_pair("b", 1)])
    networks = Trainer(recipe, data, None, 0, "cpu").state.networks
    cost = count_step(recipe)
    assert cost.parameters == sum(map(count_parameters, named_networks(networks).values()))
    staining = build_network(recipe.generator_spec())
    shape = (1, recipe.ct_channels, recipe.patch_px, recipe.patch_px)
    assert cost.patch.flops == 2 * count_multiply_adds(staining, shape)


def test_the_work_of_a_step_is_that_of_its_passes():
    # With ℓ1 alone: one generator forwards, and twice that backwards, but for the gradient of the input.
    recipe = toy_recipe(terms={"l1": 1})
    cost = count_step(recipe)
    assert 2.5 < cost.step.flops / (recipe.batch * cost.patch.flops) <= 3
    half = count_step(toy_recipe(terms={"l1": 1}, accumulate=2))
    assert half.step.flops == cost.step.flops
    assert half.activation_bytes == cost.activation_bytes / 2
    assert count_step(toy_recipe(terms={"l1": 1}), processes=2).step.flops == cost.step.flops / 2


def test_recomputed_activations_are_not_stored():
    plain = toy_recipe(terms={"l1": 1}, generator={"name": "resnet", "width": 8, "blocks": 9})
    stored = count_step(plain).activation_bytes
    assert count_step(plain.model_copy(update={"checkpoint_activations": True})).activation_bytes < stored


def test_the_activations_are_those_that_autograd_keeps():
    recipe = toy_recipe(terms={"l1": 1}, generator={"name": "resnet", "width": 4, "blocks": 2}, kernels="plain")
    data = LoadedDataset.from_pairs([toy_pair("a", 0)])
    trainer, stored = Trainer(recipe, data, None, 0, "cpu"), {}

    def pack(tensor):
        if not isinstance(tensor, torch.nn.Parameter):
            stored[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        trainer.take_step()
    assert count_step(recipe).activation_bytes == pytest.approx(sum(stored.values()), rel=0.3)


def test_a_time_limit_is_the_time_of_the_plan(dataset):
    text = "\n".join(plan_training(dataset, recipe=toy_recipe(), device="cpu", max_seconds=600))
    assert "steps:      until the time ends of 2 patches" in text
    assert "time:       10 min at most, about " in text


def test_the_random_numbers_of_the_process_are_not_used(dataset):
    before = torch.get_rng_state()
    plan_training(dataset, recipe=toy_recipe(**DROPOUT), device="cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_many_pairs_are_registered_in_turn_within_the_share():
    recipe = load_recipe("tomostain-cpu")
    few, many = pairs_at_once(recipe, [256**2] * 8), pairs_at_once(recipe, [256**2] * 233)
    assert few == 8
    assert 20 < many < 60
    assert pairs_at_once(recipe, [512**2] * 233) == pytest.approx(many / 4, abs=1)
    assert pairs_at_once(recipe.model_copy(update={"registration_share": 1.0}), [256**2] * 233) == 233
    assert pairs_at_once(recipe.model_copy(update={"registration_share": 0.5}), [256**2] * 233) == pytest.approx(
        3 * many, abs=3
    )


def test_each_pair_is_registered_first_and_then_in_turn(monkeypatch):
    recipe = toy_recipe(**RESIDUAL | {"reject_pairs": True})
    trainer = Trainer(recipe, LoadedDataset.from_pairs([toy_pair(f"p{n}", n) for n in range(5)]), None, 0, "cpu")
    trainer.registration.pairs_at_once = 2
    registered = []
    read = trainer.sampler.original_on_device
    monkeypatch.setattr(trainer.sampler, "original_on_device", lambda number: registered.append(number) or read(number))
    rounds = []
    for step in (4, 8, 12, 16, 20):
        trainer.state.step = step
        registered.clear()
        trainer.register_pairs()
        rounds.append(list(registered))
    assert rounds == [[0, 1, 2, 3, 4], [2, 3], [4, 0], [1, 2], [3, 4]]
    assert len(trainer.state.affines) == len(trainer.state.correlations) == 5
