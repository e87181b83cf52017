"""Trainings that the recipe study tries: the penalty equals its closed form, and the terms change at their time."""

import numpy as np
import pytest
import torch
from torch import nn

from studies.recipe import schedules
from studies.recipe.schedules import R1R2, LateWeakGan, squared_gradient
from tomostain.dataset.pair import Pair
from tomostain.train import LoadedDataset, load_recipe

TOY = {"patch_px": 32, "batch": 1, "epochs": 1, "residual_registration": 0, "kernels": "plain"}


def test_the_penalty_of_a_linear_judge_is_the_square_of_its_weights():
    judge = nn.Conv2d(3, 1, 1)
    image = torch.rand(2, 3, 5, 4)
    # The gradient of the sum of the scores is the same weight at each of the 20 pixels, and there are 20 scores.
    expected = float(judge.weight.detach().square().sum())
    assert float(squared_gradient(judge, image, []).detach()) == pytest.approx(expected, rel=1e-5)


def pair(seed):
    rng = np.random.default_rng(seed)
    ct = rng.integers(5000, 35000, (70, 60)).astype(np.uint16)
    return Pair(f"p{seed}", ct, rng.integers(0, 256, (70, 60, 3), dtype=np.uint8), np.ones((70, 60), bool), 20.0)


@pytest.fixture(scope="module")
def data():
    return LoadedDataset.from_pairs([pair(0), pair(1)])


def recipe():
    return load_recipe("tomostain-cpu").model_copy(update=TOY)


def test_a_late_discriminator_begins_after_the_regression(data, monkeypatch):
    monkeypatch.setattr(schedules, "REGRESSION_STEPS", 1)
    trainer = LateWeakGan(recipe(), data, None, 0, "cpu")
    assert set(trainer.take_step()) == {"l1", "total"}
    late = trainer.take_step()
    assert {"adversarial_y", "d_y"} <= set(late)
    weights = recipe().terms
    expected = late["l1"] * weights["l1"] + sum(late[n] * weights[n] / 3 for n in ("adversarial_y", "feature_matching"))
    assert late["total"] == pytest.approx(expected, rel=1e-4)


def test_the_penalty_reaches_the_weights_of_the_discriminator(data, monkeypatch):
    def weights(gamma):
        monkeypatch.setattr(schedules, "GAMMA", gamma)
        trainer = R1R2(recipe(), data, None, 0, "cpu")
        assert np.isfinite(trainer.take_step()["d_y"])
        return next(trainer.state.networks.d_y.parameters()).detach().clone()

    assert not torch.equal(weights(0.0), weights(1000.0))
