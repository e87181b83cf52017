"""Training on a GPU: the losses of a CPU, finite in bf16, and the same bits again where they are promised."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.support.training import RESIDUAL, bits, rows, same, stop_at, tiny_recipe, toy_pair, toy_recipe
from tomostain.dataset.writer import save_dataset
from tomostain.errors import InterruptedRunError
from tomostain.io.models import load_model
from tomostain.train import LoadedDataset, PatchSampler, Trainer, list_recipes, train
from tomostain.train.augment import Augment
from tomostain.train.checkpoint import LAST, read_checkpoint

RECIPES = [name for name in list_recipes() if not name.endswith("-cpu")]
# More than the plain steps before a CUDA graph.
STEPS = 6


def trainer(recipe, device):
    return Trainer(recipe, LoadedDataset.from_pairs([toy_pair("a", 0), toy_pair("b", 1)]), None, 0, device)


@pytest.fixture
def single_precision(monkeypatch):
    """Switch TF32 off, so that a GPU multiplies as a CPU does."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # products have none by default


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_a_tiny_edition(name):
    losses = trainer(tiny_recipe(name), "cpu").take_step()
    assert np.isfinite(list(losses.values())).all()


@pytest.mark.gpu
@pytest.mark.parametrize("name", RECIPES)
def test_a_gpu_has_the_losses_of_the_cpu(name, single_precision):
    # A high learning rate would make steps of the sign of a gradient that is zero but for rounding.
    recipe = tiny_recipe(name, precision="32-true", learning_rate=1e-4)
    if name == "pix2pix":
        recipe = recipe.model_copy(
            update={"generator": recipe.generator | {"dropout": 0.0}}
        )  # devices draw differently
    (first, *actual), (expected_first, *expected) = (
        [dict(t.take_step()) for _ in range(STEPS)] for t in (trainer(recipe, "cuda"), trainer(recipe, "cpu"))
    )
    assert first == pytest.approx(expected_first, rel=1e-3, abs=1e-5)
    for step, expected_step in zip(actual, expected, strict=True):
        assert step == pytest.approx(expected_step, rel=2e-2, abs=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("name", RECIPES)
def test_the_defaults_of_a_gpu_learn_with_finite_losses(name, caplog):
    training = trainer(tiny_recipe(name), "cuda")
    assert (training.recipe.precision, training.recipe.compile) == ("bf16-mixed", "step-graph")
    losses, weights = [], []
    for _ in range(STEPS):
        losses += training.take_step().values()
        weights.append(torch.cat([p.detach().flatten() for p in training.state.networks.g_xy.parameters()]).cpu())
    assert np.isfinite(losses).all()
    assert "cannot be one CUDA graph" not in caplog.text
    # Also the steps that a graph takes.
    assert all(not torch.equal(before, after) for before, after in pairwise(weights))
    assert all(value.isfinite().all() for value in weights)


@pytest.mark.gpu
def test_patches_are_those_of_the_cpu():
    pairs = [toy_pair("a", 0), toy_pair("b", 1)]
    actual, expected = (
        PatchSampler(pairs, patch_px=24, batch=8, augment=Augment(), device=device).draw(
            torch.Generator().manual_seed(0)
        )
        for device in ("cuda", "cpu")
    )
    assert actual.ids == expected.ids
    assert actual.x.device.type == actual.y.device.type == actual.mask.device.type == "cuda"
    for name in ("x", "y"):
        torch.testing.assert_close(getattr(actual, name).cpu(), getattr(expected, name), atol=2e-3, rtol=0)
    assert (actual.mask.cpu() == expected.mask).float().mean() > 0.99


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    pairs = [toy_pair(f"p{seed}", seed) for seed in range(3)]
    return save_dataset(tmp_path_factory.mktemp("gpu") / "dataset", pairs, test=[], folds=[["p2"]]).path


AVERAGED = RESIDUAL | {"average": 0.9, "in_channels": 1}


@pytest.mark.gpu
@pytest.mark.parametrize("changes", [{}, AVERAGED], ids=["cycles", "residual"])
def test_a_deterministic_run_has_the_same_bits_again_and_after_an_interruption(dataset, tmp_path, changes):
    options = {"recipe": toy_recipe(**changes), "seed": 5, "max_steps": 10, "device": "cuda", "deterministic": True}
    expected = train(dataset, tmp_path / "whole", **options)
    again = train(dataset, tmp_path / "again", **options)
    assert same(bits(again), bits(expected))
    run = tmp_path / "interrupted"
    with pytest.raises(InterruptedRunError, match="stopped at step 5 of 10"):
        train(dataset, run, **options, **stop_at(5))
    assert read_checkpoint(run / LAST)["step"] == 5
    train(dataset, run, **options, resume=True)
    assert same(bits(run), bits(expected))
    assert rows(run) == rows(expected)
    assert load_model(run / "model").hash == load_model(expected / "model").hash
