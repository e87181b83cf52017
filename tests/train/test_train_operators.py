"""A training step launches few operators and never makes the host wait, as a fast GPU needs.

``python -m tests.train.test_train_operators`` prints the counts.
"""

import numpy as np
import pytest
import torch

from tests.support.operators import count_operators
from tests.support.versions import EARLY_TORCH
from tomostain.dataset.pair import Pair
from tomostain.networks.layers import ChannelNorm
from tomostain.train import LoadedDataset, Trainer, load_recipe
from tomostain.train import trainer as training

# Operators of one step at commit 4eb1bac, counted on a CPU with torch's own kernels, batch 4, narrow networks.
BEFORE = {"tomostain": 1570, "paired-cyclegan": 4231}
SHARE = 0.4


def pair(seed):
    rng = np.random.default_rng(seed)
    ct = rng.integers(5000, 35000, (150, 150)).astype(np.uint16)
    return Pair(f"p{seed}", ct, rng.integers(0, 256, (150, 150, 3), dtype=np.uint8), np.ones((150, 150), bool), 20.0)


def trainer_of(name):
    """Return a trainer of a recipe with narrow networks, after its first step."""
    recipe = load_recipe(name)
    generator = dict(recipe.generator) | {"width": 4}
    if generator["name"] == "unet":
        generator["downs"] = 5
    discriminator = dict(recipe.discriminator) | {"width": 4}
    changes = {"generator": generator, "discriminator": discriminator}
    changes |= {"patch_px": 64, "kernels": "plain", "residual_registration": 0}
    data = LoadedDataset.from_pairs([pair(seed) for seed in range(4)])
    trainer = Trainer(recipe.model_copy(update=changes), data, None, 0, "cpu")
    if any(isinstance(layer, ChannelNorm) for layer in trainer.state.networks.g_xy.modules()):
        # As on a GPU (`tomostain.train.initialise`).
        trainer.state.networks.g_xy.to(memory_format=torch.channels_last)
    trainer.take_step()
    return trainer


@pytest.fixture(scope="module", params=sorted(BEFORE))
def trainer(request):
    return trainer_of(request.param)


def test_ten_steps_between_two_readings_never_wait(trainer, monkeypatch):
    monkeypatch.setattr(training, "READ_EVERY_STEPS", 1000)
    counted = count_operators(lambda: [trainer.take_step() for _ in range(10)])
    assert counted.synchronisations == 0
    assert len(trainer._unread) > 9
    trainer.read_losses()


@pytest.mark.skipif(EARLY_TORCH, reason="an early version of torch dispatches more operators")
def test_a_step_dispatches_few_operators(trainer):
    counted = count_operators(trainer.take_step)
    assert counted.total <= SHARE * BEFORE[trainer.recipe.name]


if __name__ == "__main__":
    for name, before in BEFORE.items():
        counted = count_operators(trainer_of(name).take_step)
        print(f"{name}: {before} before, {counted.total} now, {counted.synchronisations} synchronisations")
