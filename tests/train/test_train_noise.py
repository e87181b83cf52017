"""Training with a noise input: draws, resuming, the exported model, and a first volume stained with it."""

import numpy as np
import pytest
import torch

from tests.support.operators import count_operators
from tests.support.training import bits, rows, same, stop_at, toy_pair, toy_recipe
from tomostain.dataset.loaded import LoadedDataset
from tomostain.errors import InputError, InterruptedRunError
from tomostain.io import Volume
from tomostain.io.models import ModelSpec, load_model
from tomostain.stain import StainConfig, load_translator, stain_slice, stain_volume
from tomostain.tiling.noise import NoiseSpec, SlicePosition, position_noise
from tomostain.train import Recipe, Trainer, load_recipe, train_model
from tomostain.train.augment import IDENTITY
from tomostain.train.sampling import PatchSampler

NOISE = {"channels": 2, "correlation_px": 3.0}
ONE_WAY = {"terms": {"conditional_adversarial": 1, "l1": 5}, "noise": NOISE, "average": 0.9}
PAIRS = [toy_pair("a", 0), toy_pair("b", 1), toy_pair("c", 2)]


def sampler(noise=None, **options):
    about = {"patch_px": 16, "batch": 3, "augment": IDENTITY, "device": "cpu"}
    return PatchSampler(PAIRS, **about, **options, **({} if noise is None else {"noise": noise}))


def test_patches_get_noise_at_random_positions():
    batch = sampler(NoiseSpec(**NOISE)).draw(torch.Generator().manual_seed(5))
    assert batch.noise.shape == (3, 2, 16, 16)
    plain_draws = torch.Generator().manual_seed(5)
    plain = sampler().draw(plain_draws)
    assert torch.equal(plain.x, batch.x)  # the noise is drawn after the patch
    origins = torch.randint(2**30, (3, 3), generator=plain_draws).tolist()
    expected = [position_noise(origin, (1, 16, 16), **NOISE)[:, 0] for origin in origins]
    np.testing.assert_array_equal(batch.noise.numpy(), np.stack(expected))


def test_the_noise_of_a_batch_takes_few_operators_and_waits_for_nothing():
    """On the device "meta", which has no values, so that reading one fails."""
    counts = {}
    for channels in (0, 2):
        about = {
            "patch_px": 16,
            "batch": 4,
            "augment": IDENTITY,
            "device": "meta",
            "noise": NoiseSpec(channels=channels),
        }
        cutting = PatchSampler(PAIRS, **about)
        counts[channels] = count_operators(lambda cutting=cutting: cutting.draw(torch.Generator().manual_seed(5)))
    assert counts[2].synchronisations == 0
    # 396 before, most of them views now.
    assert counts[2].total - counts[0].total <= 145


def test_without_noise_nothing_is_drawn_and_nothing_is_added():
    one, other = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    batch = sampler(NoiseSpec()).draw(one)
    sampler().draw(other)
    assert batch.noise is None
    assert torch.equal(one.get_state(), other.get_state())


@pytest.mark.parametrize("terms", [None, {"conditional_adversarial": 1, "l1": 5}], ids=["cycles", "pix2pix"])
def test_only_the_generator_of_histology_sees_noise(terms):
    recipe = toy_recipe(noise=NOISE, **({} if terms is None else {"terms": terms}))
    trainer = Trainer(recipe, LoadedDataset.from_pairs(PAIRS), None, 0, "cpu")
    assert recipe.generator_spec()["in_channels"] == 5
    networks = trainer.state.networks
    assert networks.g_xy.layers[1].in_channels == 5
    if terms is None:
        assert networks.g_yx.layers[1].in_channels == 3
        assert recipe.discriminator_spec()["in_channels"] == 3
    else:
        assert recipe.discriminator_spec()["in_channels"] == 6
    before = networks.g_xy.layers[1].weight.detach().clone()
    trainer.take_step()
    changed = (networks.g_xy.layers[1].weight - before).abs().amax(dim=(0, 2, 3))
    assert (changed > 0).all()  # also the weights of the noise are trained


def test_a_batch_in_parts_gets_the_noise_of_the_whole():
    whole, parts = (
        Trainer(toy_recipe(**ONE_WAY, batch=4, accumulate=n), LoadedDataset.from_pairs(PAIRS), None, 0, "cpu")
        for n in (1, 2)
    )
    inputs = whole.draw_inputs()
    steps = parts.device_step.divide(inputs)
    assert torch.equal(torch.cat([step.noise for step in steps]), inputs.noise)
    assert [len(step.x) for step in steps] == [2, 2]


def test_a_resumed_training_has_the_same_bits(tmp_path):
    recipe = toy_recipe(**ONE_WAY)
    options = {"recipe": recipe, "fold": None, "device": "cpu", "max_steps": 9}
    train_model(PAIRS, tmp_path / "whole", **options)
    with pytest.raises(InterruptedRunError):
        train_model(PAIRS, tmp_path / "part", **options, **stop_at(4))
    train_model(PAIRS, tmp_path / "part", **options, resume=True)
    assert same(bits(tmp_path / "whole"), bits(tmp_path / "part"))
    assert rows(tmp_path / "whole") == rows(tmp_path / "part")


def test_validation_has_the_same_noise_each_time():
    data = LoadedDataset.from_pairs(PAIRS, folds=[["c"]])
    trainer = Trainer(toy_recipe(**ONE_WAY), data, 0, 0, "cpu")
    assert trainer.validate() == trainer.validate()


def test_train_then_stain_a_volume(tmp_path):
    run = train_model(PAIRS, tmp_path / "run", recipe=toy_recipe(**ONE_WAY), fold=None, device="cpu", max_steps=3)
    spec = load_model(run / "model").spec
    assert spec.noise == NoiseSpec(**NOISE)
    assert spec.generator["in_channels"] == 5
    assert "3 channel(s) and 2 channel(s) of noise" in (run / "model" / "README.md").read_text()
    translator, config = load_translator(run / "model", "cpu"), StainConfig(patch_px=16, stride_px=8)
    ct = np.stack([pair.ct for pair in PAIRS])
    stained = stain_volume(translator, Volume.from_array(ct, 20.0), config=config, intensity="normalised")
    expected = [stain_slice(translator, each, config, SlicePosition((z, 0, 0))) for z, each in enumerate(ct)]
    np.testing.assert_array_equal(stained, expected)
    # The trainer draws as the model stains: it has one seed, and a pair lies at the origin.
    trainer = Trainer(toy_recipe(**ONE_WAY), LoadedDataset.from_pairs(PAIRS), None, 0, "cpu")
    trainer.state.networks.staining.load_state_dict(load_model(run / "model").state)
    drawn = np.rint((trainer.draw(PAIRS[0].ct.astype(np.float32)) + 1) * 127.5)
    assert np.abs(drawn - stain_slice(translator, PAIRS[0].ct, config)).max() <= 1


def test_models_without_noise_are_written_as_before(tmp_path):
    about = {"generator": {"name": "resnet"}, "voxel_um": 5, "stain": "", "recipe": "", "tomostain_version": "1"}
    plain = ModelSpec(**about)
    assert "noise" not in plain.to_yaml()
    (tmp_path / "model.yaml").write_text(plain.to_yaml())
    assert ModelSpec.from_yaml(tmp_path / "model.yaml") == plain
    noisy = ModelSpec(**about, noise=NoiseSpec(channels=1))
    (tmp_path / "model.yaml").write_text(noisy.to_yaml())
    assert ModelSpec.from_yaml(tmp_path / "model.yaml") == noisy
    recipe = toy_recipe()
    assert recipe.noise.channels == 0
    assert recipe.generator_spec()["in_channels"] == 3


def test_recipes_inherit_noise_key_by_key(tmp_path):
    (tmp_path / "base.yaml").write_text("base: tomostain-cpu\nnoise: {channels: 3}\n")
    (tmp_path / "mine.yaml").write_text("base: base.yaml\nnoise: {correlation_px: 6}\n")
    recipe = load_recipe(tmp_path / "mine.yaml")
    assert recipe.noise == NoiseSpec(channels=3, correlation_px=6)
    with pytest.raises(InputError, match=r"unknown key 'noise.chanels'; did you mean 'channels'"):
        Recipe.from_dict(toy_recipe().model_dump() | {"noise": {"chanels": 1}})
