"""Recipes contain the values of the paper, inherit as documented, and name the key of an error."""

import pytest
import torch

from tomostain.errors import InputError
from tomostain.networks.build import build_network
from tomostain.train.default_recipe import describe_device
from tomostain.train.recipes import Recipe, list_recipes, load_recipe

TABLE_1 = ["cyclegan", "cyclegan-inverted", "paired-cyclegan", "pix2pix"]


def tiny(**changes):
    return {
        "name": "tiny",
        "terms": {"l1": 1},
        "generator": {"name": "resnet", "width": 2, "blocks": 1},
        "discriminator": {"name": "patch", "width": 2, "layers": 1},
        "patch_px": 16,
    } | changes


def test_the_four_of_table_1_come_with_their_cpu_editions():
    assert set(TABLE_1) | {f"{name}-cpu" for name in TABLE_1} <= set(list_recipes())


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_builds_networks_that_take_its_patches(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    specs = [recipe.generator_spec(), recipe.discriminator_spec()]
    if recipe.needs_reverse:
        specs += [recipe.generator_spec(reverse=True), recipe.discriminator_spec(reverse=True)]
    with torch.device("meta"):  # shapes without arithmetic
        for spec in specs:
            network, side = build_network(spec), recipe.patch_px
            out = network(torch.zeros(1, spec["in_channels"], side, side))
            assert "out_channels" not in spec or out.shape == (1, spec["out_channels"], side, side)


@pytest.mark.parametrize("name", TABLE_1)
def test_full_recipes_are_the_papers(name):
    # Section 2.6.3: Adam 0.0002, 0.5, 0.999; 256 × 256 px; 100 patches a pair; batches of four; 500 epochs.
    recipe = load_recipe(name)
    assert (recipe.learning_rate, recipe.betas) == (2e-4, (0.5, 0.999))
    schedule = (recipe.patch_px, recipe.patches_per_pair, recipe.batch, recipe.epochs)
    assert schedule == (256, 100, 4, 500)
    assert recipe.augment.scale == (0.9, 1.1)
    assert build_network(recipe.discriminator_spec()).receptive_field == 70


def test_objectives_are_the_papers():
    # Section 2.6.3: λ_cyc 6, λ_id 3, λ_px 6, λ_gs 1; pix2pix λ 20; nine residual blocks of starting width 64.
    paired = {"adversarial": 1, "cycle": 6, "identity": 3, "pixelwise": 6, "greyscale": 1}
    plain = {"adversarial": 1, "cycle": 6, "identity": 3}
    assert load_recipe("paired-cyclegan").active == paired
    assert load_recipe("paired-cyclegan").generator == {"name": "resnet", "width": 64, "blocks": 9}
    assert load_recipe("cyclegan").active == load_recipe("cyclegan-inverted").active == plain
    assert load_recipe("pix2pix").active == {"conditional_adversarial": 1, "l1": 20}
    inverted = [name for name in list_recipes() if load_recipe(name).inverted_ct]
    assert inverted == ["cyclegan-inverted", "cyclegan-inverted-cpu"]


@pytest.mark.parametrize("name", TABLE_1)
def test_cpu_editions_keep_the_objective(name):
    small, full = load_recipe(f"{name}-cpu"), load_recipe(name)
    assert (small.terms, small.inverted_ct, small.buffer) == (full.terms, full.inverted_ct, full.buffer)


def test_only_pix2pix_has_a_conditional_discriminator_and_no_reverse_generator():
    recipe = load_recipe("pix2pix")
    assert recipe.conditional
    assert not recipe.needs_reverse
    assert recipe.discriminator_spec()["in_channels"] == 6
    assert load_recipe("cyclegan").discriminator_spec()["in_channels"] == 3


def test_a_recipe_inherits_and_comes_back_from_its_own_yaml(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("base: paired-cyclegan\nname: mine\nterms: {pixelwise: 10}\ngenerator: {blocks: 6}\n")
    recipe = load_recipe(mine)
    assert recipe.terms == {"pixelwise": 10}
    assert recipe.generator == {"name": "resnet", "width": 64, "blocks": 6}
    again = tmp_path / "again.yaml"
    again.write_text(recipe.to_yaml())
    assert load_recipe(again) == recipe


def test_the_fields_settings_are_merged_with_the_default_where_no_base_has_any(tmp_path):
    mine = tmp_path / "mine.yaml"
    terms = "{registered_pixelwise: 6, smoothness: 1}"
    mine.write_text(f"base: paired-cyclegan\nname: mine\nterms: {terms}\ndeformation: {{bound_px: 12}}\n")
    assert load_recipe(mine).deformation == {"name": "field", "bound_px": 12}


def test_a_base_is_searched_next_to_the_recipe_that_names_it(tmp_path, monkeypatch):
    (tmp_path / "first.yaml").write_text("base: paired-cyclegan\nname: first\nbatch: 7\n")
    (tmp_path / "second.yaml").write_text("base: first.yaml\nname: second\n")
    monkeypatch.chdir(tmp_path.parent)
    assert load_recipe(tmp_path / "second.yaml").batch == 7


def test_one_channel_rules_out_the_identity_and_reaches_every_network():
    recipe = Recipe.from_dict(tiny(in_channels=1, terms={"adversarial": 1, "cycle": 6, "identity": 0}))
    assert recipe.generator_spec()["in_channels"] == 1
    assert recipe.generator_spec(reverse=True)["out_channels"] == 1
    assert recipe.discriminator_spec(reverse=True)["in_channels"] == 1
    with pytest.raises(InputError, match="in_channels 1 rules out the term 'identity'"):
        Recipe.from_dict(tiny(in_channels=1, terms={"identity": 3}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epohcs": 3}, "unknown key 'epohcs'; did you mean 'epochs'"),
        ({"augment": {"jiter": 0}}, r"unknown key 'augment\.jiter'; did you mean 'jitter'"),
        ({"terms": {"pixelwize": 1}}, "unknown term 'pixelwize'; did you mean 'pixelwise'"),
        ({"terms": {"l1": -1}}, "term 'l1' has the weight -1"),
        ({"terms": {"l1": 0}}, "nothing would be learned"),
        ({"terms": {"conditional_adversarial": 1, "cycle": 1}}, "conditional_adversarial has no reverse direction"),
        ({"generator": {"name": "resnet", "widht": 2}}, "unknown key 'widht'; did you mean 'width'"),
        ({"generator": {"name": "patch"}}, "a generator cannot be a 'patch'"),
        ({"discriminator": {"name": "resnet"}}, "a discriminator cannot be a 'resnet'"),
        ({"generator": {"name": "resnet", "in_channels": 1}}, "in_channels follows from the recipe's own"),
        ({"patch_px": 18}, "patch_px 18 must be a multiple of 4"),
        ({"patch_px": 96, "generator": {"name": "unet", "downs": 6}}, "patch_px 96 must be a multiple of 64"),
        (
            {"terms": {"adversarial": 1}, "discriminator": {"name": "patch", "layers": 3}},
            "patch_px 16 is too small for this discriminator; give at least 24",
        ),
        ({"learning_rate": 0}, "learning_rate = 0"),
        (
            {"terms": {"l1": 1, "smoothness": 1}},
            "smoothness without a term that fits the deformation; add registered_l1",
        ),
        ({"deformation": {"name": "patch"}}, "a deformation cannot be a 'patch'"),
        ({"average": 1.0}, "average = 1.0"),
        (
            {"in_channels": 1, "terms": {"l1": 1}, "ct_slices": 4},
            "4 slices have none in the middle; give an odd number",
        ),
        ({"in_channels": 3, "terms": {"l1": 1}, "ct_slices": 3}, "ct_slices 3 goes with in_channels 1"),
        ({"in_channels": 1, "terms": {"cycle": 1}, "ct_slices": 3}, "without the reverse generator"),
        ({"terms": {"l1": 20, "noise_spread": 20}}, r"noise_spread needs a noise input; set noise: \{channels: 1\}"),
        (
            {"terms": {"l1": 20, "noise_spread": 20}, "noise": {"channels": 1, "correlation_px": 5}},
            "half a patch apart, which must not be correlated; give noise.correlation_px at most 4",
        ),
        (
            {"terms": {"l1": 20, "noise_spread": 21}, "noise": {"channels": 1}},
            "noise_spread has the weight 21, .* have 20 together; .* Give noise_spread at most 20",
        ),
        ({"terms": {"adversarial": 1, "adversarial_y": 1}}, "adversarial and adversarial_y need different discrim"),
    ],
)
def test_wrong_recipes_are_named_in_one_line(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        Recipe.from_dict(tiny(**changes), source="recipe mine.yaml")
    assert str(caught.value).startswith("recipe mine.yaml: ")
    assert "\n" not in str(caught.value)


def test_the_minimum_patch_of_a_discriminator_is_the_minimum():
    for layers in (1, 2, 3):
        network = build_network({"name": "patch", "width": 2, "layers": layers})
        side = 3 * 2**layers
        assert network(torch.zeros(1, 3, side, side)).shape == (1, 1, 1, 1)
        with pytest.raises((RuntimeError, ValueError)):
            network(torch.zeros(1, 3, side - 1, side - 1))


def test_unknown_names_missing_files_and_circles(tmp_path):
    with pytest.raises(InputError, match=r"'paired-cylcegan': is neither a \.yaml file nor known; did you mean"):
        load_recipe("paired-cylcegan")
    with pytest.raises(InputError, match="no such file"):
        load_recipe(tmp_path / "none.yaml")
    circle = tmp_path / "circle.yaml"
    circle.write_text(f"base: {circle}\nname: circle\n")
    with pytest.raises(InputError, match="its bases form a cycle"):
        load_recipe(circle)


def test_slices_are_channels_of_the_generator_and_of_a_discriminator_that_sees_the_ct():
    recipe = Recipe.from_dict(tiny(in_channels=1, terms={"conditional_adversarial": 1, "l1": 1}, ct_slices=5))
    assert recipe.generator_spec()["in_channels"] == 5
    assert recipe.discriminator_spec()["in_channels"] == 3 + 5
    assert load_recipe("tomostain-context").ct_slices * 5.0 == pytest.approx(40, abs=5)  # µm: the paper's sections


def test_patches_must_be_large_enough_for_a_perceptual_loss():
    values = load_recipe("tomostain-cpu").model_dump() | {"terms": {"perceptual": 1.0}}
    with pytest.raises(InputError, match="patch_px 16 is too small for the term 'perceptual'; give at least 32"):
        Recipe.from_dict(values | {"patch_px": 16, "generator": {"name": "unet", "width": 2, "downs": 2}})


@pytest.mark.parametrize(
    ("capability", "precision"), [((7, 0), "32-true (older than Ampere: no bf16)"), ((9, 0), "bf16-mixed")]
)
def test_the_line_about_the_device_states_why_the_precision_is_not_bf16(monkeypatch, capability, precision):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    described = describe_device(load_recipe("tomostain"), "cuda")
    assert described == f"cuda (a GPU), precision {precision}, one CUDA graph for each step"


@pytest.mark.parametrize("suffix", ["", "-cpu"])
def test_the_older_name_of_a_recipe_gives_the_same_recipe_and_a_warning(suffix, tmp_path):
    current = load_recipe(f"tomostain-context{suffix}")
    with pytest.warns(DeprecationWarning, match=f"'tomostain-slab{suffix}' is now 'tomostain-context{suffix}'"):
        assert load_recipe(f"tomostain-slab{suffix}") == current
    (tmp_path / "mine.yaml").write_text(f"base: tomostain-slab{suffix}\nname: mine\n")
    with pytest.warns(DeprecationWarning, match="is now"):
        assert load_recipe(tmp_path / "mine.yaml").ct_slices == current.ct_slices
    # The recipe that an older run recorded is still the same recipe.
    assert Recipe.from_dict(current.model_dump() | {"name": f"tomostain-slab{suffix}"}) == current
