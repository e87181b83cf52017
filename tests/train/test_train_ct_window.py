"""The window of grey values: a setting of the recipe that the model stores and that staining uses."""

import dataclasses
import re

import numpy as np
import pytest
import torch

from tests.support.training import toy_pair, toy_recipe
from tomostain.errors import InputError
from tomostain.imaging.network_range import ct_to_network, histology_from_network
from tomostain.io import ModelSpec, load_model, save_model
from tomostain.stain.translator import load_translator
from tomostain.stain.uncertainty import cycle_error
from tomostain.tiling.ct_window import DEFAULT_CT_WINDOW
from tomostain.train import InitialModel, Recipe, train
from tomostain.train.augment import IDENTITY
from tomostain.train.contrast import contrast
from tomostain.train.default_recipe import choose_recipe
from tomostain.train.recipes import list_recipes, load_recipe
from tomostain.train.run_folder import recorded_recipe
from tomostain.train.sampling import PatchSampler
from tomostain.train.transforms import Transforms
from tomostain.train.windows import patch_at

WIDE = (0, 60_000)
OURS = {"tomostain", "tomostain-cpu", "tomostain-spread", "tomostain-spread-cpu"}


def bright_pair(name="a", number=0):
    """Return a pair with grey values up to 65535."""
    pair = toy_pair(name, number)
    rng = np.random.default_rng(number)
    return dataclasses.replace(pair, ct=rng.integers(0, 65536, pair.ct.shape).astype(np.uint16), slices=None)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return two runs that differ in the window only."""
    pairs, folder = [bright_pair(f"p{number}", number) for number in range(3)], tmp_path_factory.mktemp("runs")
    recipes = {"narrow": toy_recipe(kernels="plain"), "wide": toy_recipe(kernels="plain", ct_window=list(WIDE))}
    return {name: train(pairs, folder / name, recipe=each, max_steps=2) for name, each in recipes.items()}


def test_only_our_recipes_have_the_wide_window():
    windows = {name: load_recipe(name).ct_window for name in list_recipes()}
    assert {name for name, window in windows.items() if window != DEFAULT_CT_WINDOW} == OURS
    assert {windows[name] for name in OURS} == {WIDE}


def test_our_knots_are_at_the_grey_values_of_the_former_recipe():
    """studies/recipe/recipes/gan-j0-knots.yaml, with two more at 45000 and 60000."""
    former = [-0.52, -0.48, -0.44, -0.40, -0.32, -0.2, 0.1, 0.4, 0.5, 0.6, 0.75, 1.0]
    knots = load_recipe("tomostain-cpu").generator["grey_knots"]
    grey = (np.array(knots) + 1) * WIDE[1] / 2
    np.testing.assert_allclose(grey, [*(np.array(former) + 1) * 20000, 45000, 60000], atol=2)


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ([40000, 0], "must be two grey values from 0 to 65534, the smaller one first"),
        ([0, 70000], "must be two grey values from 0 to 65534"),
        ([0, 40001], "must be two even numbers"),
        ([10000, 10002], "is narrower than 1000 grey values"),
        ([0, 1.5], "ct_window"),
        ([0], "ct_window"),
    ],
)
def test_other_windows_are_refused(window, message):
    with pytest.raises(InputError, match=re.escape(message)):
        toy_recipe(ct_window=window)


@pytest.mark.parametrize("window", [DEFAULT_CT_WINDOW, WIDE, (4000, 65534)])
def test_patches_are_scaled_and_clipped_to_the_window(window):
    pair, options = bright_pair(), {"patch_px": 16, "batch": 1, "augment": IDENTITY, "device": "cpu"}
    expected = ct_to_network(pair.ct.astype(np.float64), window)
    sampler = PatchSampler([pair], **options, ct_window=window)
    one = torch.ones(1)
    transforms = Transforms(
        pair=torch.zeros(1, dtype=torch.int64),
        corner=torch.tensor([[3, 5]]),
        scale=one,
        flip=torch.zeros(1, 2, dtype=torch.bool),
        ct_jitter=torch.ones(1, 2),
        histology_jitter=torch.ones(1, 2),
    )
    np.testing.assert_allclose(sampler.apply(transforms).x[0, 0], expected[3:19, 5:21], atol=1e-4)
    np.testing.assert_allclose(patch_at(pair, 3, 5, 16, ct_window=window).x[0, 0], expected[3:19, 5:21], atol=1e-6)
    grey, _, _ = sampler.original(0)
    np.testing.assert_array_equal(grey, pair.ct.clip(*window))
    outside = patch_at(pair, -100, 0, 16, ct_window=window).x
    np.testing.assert_allclose(outside, ct_to_network(np.float64(10000), window), atol=1e-6)


def test_the_model_stores_a_window_only_if_it_is_not_the_default(runs, tmp_path):
    for name, window in (("narrow", DEFAULT_CT_WINDOW), ("wide", WIDE)):
        model = load_model(runs[name] / "model")
        assert model.spec.ct_window == window
        assert ("ct_window" in (runs[name] / "model" / "model.yaml").read_text()) == (window == WIDE)
        card = (runs[name] / "model" / "README.md").read_text(encoding="utf-8")
        assert f"background 10000 and bone 30000, grey values {window[0]} to {window[1]}" in card
        save_model(tmp_path / name, model.spec, model.state, model.reverse_state)
        assert load_model(tmp_path / name).spec == model.spec
    values = load_model(runs["wide"] / "model").spec.model_dump()
    with pytest.raises(InputError, match="ct_window"):
        ModelSpec.from_dict(values | {"ct_window": [0, 3]}, "model.yaml")


def test_each_model_stains_with_its_own_window(runs):
    narrow, wide = (load_translator(runs[name] / "model", "cpu", reverse=True) for name in ("narrow", "wide"))
    ct = torch.from_numpy(bright_pair(number=7).ct[:16, :16].astype(np.float32))[None]
    for translator in (narrow, wide):
        x = ct_to_network(ct, translator.spec.ct_window)[:, None].expand(-1, 3, -1, -1)
        torch.testing.assert_close(translator(ct), histology_from_network(translator.network(x)))
    assert (narrow(ct) - wide(ct)).abs().max() > 0
    # The networks of a model see the same if grey values and window are stretched together.
    stretched = dataclasses.replace(narrow, spec=narrow.spec.model_copy(update={"ct_window": WIDE}))
    torch.testing.assert_close(stretched(1.5 * ct), narrow(ct), atol=1e-2, rtol=0)
    colours = torch.full((1, 3, 16, 16), 200.0)
    torch.testing.assert_close(stretched.back(colours), 1.5 * narrow.back(colours))


def test_the_cycle_error_counts_the_grey_values_of_the_window(runs):
    wide = load_translator(runs["wide"] / "model", "cpu", reverse=True)
    dark, bright = (np.full((32, 32), grey, np.uint16) for grey in (60000, 65535))
    np.testing.assert_array_equal(cycle_error(wide, dark), cycle_error(wide, bright))
    assert cycle_error(wide, dark).mean() != cycle_error(wide, np.full((32, 32), 40000, np.uint16)).mean()


def test_fine_tuning_keeps_the_window_of_the_model(runs, tmp_path):
    initial = InitialModel.open(runs["wide"])
    assert choose_recipe(initial=initial).recipe.ct_window == WIDE
    pairs = [bright_pair("q", 9)]
    with pytest.raises(InputError, match=re.escape("ct_window is [0, 60000] in the initial model wide and [0, 40000]")):
        train(pairs, tmp_path / "refused", recipe=toy_recipe(kernels="plain"), init=initial, fold=None, max_steps=1)
    run = train(pairs, tmp_path / "run", init=initial, fold=None, max_steps=1)
    assert load_model(run / "model").spec.ct_window == WIDE


def test_a_run_without_the_key_has_the_default(tmp_path, runs):
    assert recorded_recipe(runs["wide"]).ct_window == WIDE
    values = toy_recipe().model_dump(mode="json")
    del values["ct_window"]
    assert Recipe.from_dict(values) == toy_recipe()


def test_the_contrast_of_unpaired_training_is_that_in_the_window():
    pair = bright_pair()
    histology = np.repeat((pair.ct.clip(0, 60000) // 240).astype(np.uint8)[..., None], 3, axis=2)
    pair = dataclasses.replace(pair, histology=histology, mask=np.ones_like(pair.mask))
    assert contrast([pair], WIDE) > 0.999 > contrast([pair])
