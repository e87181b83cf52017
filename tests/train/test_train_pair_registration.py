"""The residual registration of the pairs of a training keeps images on the device."""

import numpy as np
import pytest
import torch

from tests.support.training import RESIDUAL, toy_pair, toy_recipe
from tomostain.networks.tile_invariance import is_tile_invariant
from tomostain.train import LoadedDataset, PatchSampler, Trainer

GENERATOR = {"name": "resnet", "width": 4, "blocks": 1}
RECIPES = {
    "exact tiles": toy_recipe(**RESIDUAL, generator=GENERATOR | {"norm": "channel"}),
    "blended patches": toy_recipe(**RESIDUAL, generator=GENERATOR),
}


@pytest.fixture(params=sorted(RECIPES))
def trainer(request):
    recipe = RECIPES[request.param]
    assert is_tile_invariant(recipe.generator_spec()) == (request.param == "exact tiles")
    pairs = [toy_pair(f"p{seed}", seed) for seed in range(2)]
    return Trainer(recipe, LoadedDataset.from_pairs(pairs), None, 0, "cpu")


def test_no_image_comes_to_the_host(trainer, monkeypatch):
    def never(*_):
        raise AssertionError("an image was copied to the host")

    monkeypatch.setattr(PatchSampler, "original", never)
    monkeypatch.setattr(Trainer, "draw", never)
    trainer.register_pairs()
    assert len(trainer.state.affines) == 2


def test_images_that_are_stained_on_the_device_are_those_of_draw(trainer):
    pairs = [trainer.sampler.original(number)[0] for number in range(2)]
    images = torch.stack([trainer.sampler.original_on_device(number)[0] for number in range(2)])
    np.testing.assert_array_equal(images.numpy(), np.stack(pairs))
    stained = trainer.draw_images(images)
    assert stained.shape == (2, 3, *pairs[0].shape)
    for image, ct in zip(stained, pairs, strict=True):
        np.testing.assert_allclose(image.permute(1, 2, 0), trainer.draw(ct), atol=1e-5)


def test_an_image_of_any_size_is_extended_by_its_last_rows_and_columns_for_the_network(trainer, monkeypatch):
    seen = []
    network = trainer.state.networks.staining
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    ct = np.full((37, 41), 20000, np.float32)
    ct[-1], ct[:, -1] = 30000, 30000
    assert trainer.draw(ct).shape == (37, 41, 3)
    if is_tile_invariant(trainer.recipe.generator_spec()):
        (tile,) = seen
        assert tile.shape[-2:] == (40, 44)
        assert torch.equal(tile[..., 36:, :], tile[..., 36:37, :].expand(-1, -1, 4, -1))
        assert torch.equal(tile[..., 40:], tile[..., 40:41].expand(-1, -1, -1, 4))
