"""Training on a simulated GPU: no operator mixes two devices, and the host waits only where losses are read."""

from collections import Counter

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from tests.support.simulated_gpu import GPU, is_possible, simulated_gpu
from tests.support.training import toy_pair
from tomostain.train import Augment, LoadedDataset, PatchSampler, Recipe, Trainer, load_recipe

pytestmark = pytest.mark.skipif(not is_possible(), reason="this torch has GPUs, or another layout")

PAIRS = [toy_pair(f"p{seed}", seed) for seed in range(3)]
READ = "step_losses.read_together: copy to the host"


def recipe_of(name: str) -> Recipe:
    """Return a recipe with narrow networks."""
    recipe = load_recipe(name)
    generator = dict(recipe.generator) | {"width": 4} | ({"blocks": 1} if "blocks" in recipe.generator else {})
    if generator["name"] == "unet":
        generator["downs"] = 4
    changes = {"generator": generator, "discriminator": dict(recipe.discriminator) | {"width": 4}}
    return recipe.model_copy(update=changes | {"patch_px": 32, "kernels": "plain", "residual_registration": 6})


@pytest.fixture
def gpu(monkeypatch):
    """Simulate a GPU, with gradients of zero."""

    def backward(_, loss):
        assert loss.device == GPU
        for optimiser in trainers[-1].state.optimisers.values():
            for group in optimiser.param_groups:
                for value in group["params"]:
                    value.grad = torch.zeros_like(value)

    monkeypatch.setattr(Fabric, "backward", backward)
    trainers = []
    with simulated_gpu(monkeypatch) as simulated:
        simulated.trainers = trainers
        yield simulated


def trainer_of(name, gpu):
    gpu.trainers.append(Trainer(recipe_of(name), LoadedDataset.from_pairs(PAIRS), None, 0, "cuda:0"))
    return gpu.trainers[-1]


@pytest.mark.parametrize(
    ("name", "uploads"), [("tomostain", 1), ("tomostain-spread", 2), ("paired-cyclegan", 3), ("pix2pix", 1)]
)
def test_ten_steps_wait_once_for_the_losses(gpu, name, uploads):
    trainer = trainer_of(name, gpu)
    assert trainer.recipe.step_graph
    assert trainer.recipe.precision == "bf16-mixed"
    trainer.recipe = trainer.recipe.model_copy(update={"residual_registration": 0})
    operators = []
    gpu.forget()
    for _ in range(10):
        before = gpu.operators
        trainer.take_step()
        operators.append(gpu.operators - before)
    assert gpu.waits == [READ]
    assert len(gpu.uploads) == 10 * uploads
    # Three steps are taken plainly, the fourth records a graph, and the others only launch it.
    assert max(operators[4:9]) < min(operators[:4]) / 3


def test_a_registration_copies_numbers_and_masks_to_the_host_but_no_images(gpu):
    trainer = trainer_of("tomostain", gpu)
    gpu.forget()
    trainer.register_pairs()
    # The integral image of each mask is on the host, where patches are drawn.
    assert gpu.downloads.count(PAIRS[0].mask.shape) == len(PAIRS)
    assert sum(int(np.prod(shape)) for shape in gpu.downloads) < 1.1 * len(PAIRS) * PAIRS[0].mask.size
    waits = Counter(where.partition(":")[0] for where in gpu.waits)
    # Eight steps at each of three resolutions at most, and two comparisons with the start.
    assert waits["residual_registration.align"] <= 26 * len(PAIRS)
    assert waits["integers._extremes"] == len(PAIRS)


def test_a_batch_with_noise_takes_two_copies_to_the_device(gpu):
    noise = recipe_of("tomostain-spread").noise
    sampler = PatchSampler(PAIRS, patch_px=16, batch=3, augment=Augment(), device=GPU, noise=noise)
    gpu.forget()
    batch = sampler.draw(torch.Generator())
    assert {image.device for image in (batch.x, batch.y, batch.mask, batch.noise)} == {GPU}
    assert batch.noise.shape == (3, noise.channels, 16, 16)
    assert (gpu.waits, gpu.downloads, len(gpu.uploads)) == ([], [], 2)
