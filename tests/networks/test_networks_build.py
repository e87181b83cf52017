"""Networks have the published parameter counts, and the receptive fields that their gradients show."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from tomostain.errors import InputError
from tomostain.io import ModelSpec
from tomostain.networks import (
    Discriminator,
    DiscriminatorSpec,
    build_network,
    count_multiply_adds,
    count_parameters,
    parse_discriminator_spec,
    parse_generator_spec,
    register_discriminator,
)
from tomostain.networks.layers import ChannelNorm
from tomostain.networks.receptive_field import receptive_field
from tomostain.networks.registry import unregister
from tomostain.train import Recipe


def seen_px(network, size):
    """Measure along one axis how many input pixels move the middle output."""
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0)).requires_grad_()
    scores = network(image)
    scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2].backward()
    rows = image.grad.abs().sum(dim=(0, 1, 3)).nonzero()
    return int(rows.max() - rows.min()) + 1


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70)])
def test_receptive_fields_are_those_of_pix2pix(layers, field):
    # Isola et al. 2017, appendix 6.1.2: 16 × 16 and 70 × 70; instance norm would spread the gradient over the image.
    spec = {"name": "patch", "width": 2, "layers": layers, "norm": "none"}
    network = build_network(spec, torch.Generator().manual_seed(1))
    assert receptive_field(network) == network.receptive_field == field
    assert seen_px(network, 160) == field


def test_the_default_discriminator_sees_70_px_and_has_30_by_30_scores_of_a_256_px_patch():
    network = build_network({"name": "patch", "width": 2})
    assert network.receptive_field == 70
    assert network(torch.zeros(1, 3, 256, 256)).shape == (1, 1, 30, 30)


def test_parameter_counts_are_the_published_ones():
    # The authors' own pytorch-CycleGAN-and-pix2pix prints 11.378 M (resnet_9blocks) and 2.765 M (its PatchGAN).
    def convolution(kernel, inputs, outputs):
        return kernel**2 * inputs * outputs + outputs

    resnet = convolution(7, 3, 64) + convolution(7, 64, 3) + 18 * convolution(3, 256, 256)
    resnet += sum(convolution(3, a, b) for a, b in [(64, 128), (128, 256), (256, 128), (128, 64)])
    counted = count_parameters(build_network({"name": "resnet"}))
    assert counted == resnet
    assert counted == pytest.approx(11.378e6, abs=500)
    assert count_parameters(build_network({"name": "patch"})) == pytest.approx(2.765e6, abs=500)


def test_unet_has_the_published_weights():
    # The same code prints 54.414 M (unet_256), where batch norm's scale and shift replace the biases.
    network = build_network({"name": "unet"})
    weights = sum(parameter.numel() for parameter in network.parameters() if parameter.dim() == 4)
    inner = [128, 256, 512, 512, 512, 512]  # the encoder's normalised layers
    outer = [512, 512, 512, 512, 256, 128, 64]  # the decoder's
    batch_norm = 2 * (sum(inner) + sum(outer))
    assert weights + batch_norm + 3 == pytest.approx(54.414e6, abs=500)  # + the bias of the last layer


@given(rows=st.integers(2, 9), columns=st.integers(2, 9), channels=st.sampled_from([1, 3]))
@settings(max_examples=15, deadline=None)
def test_resnet_keeps_every_size_that_is_a_multiple_of_four(rows, columns, channels):
    # The paper's base code pads by the number of channels, so it preserves the size for 3 channels only.
    network = build_network({"name": "resnet", "in_channels": channels, "width": 2, "blocks": 1})
    assert network(torch.zeros(1, channels, 4 * rows, 4 * columns)).shape == (1, 3, 4 * rows, 4 * columns)


@pytest.mark.parametrize("downs", [2, 5, 8])
def test_unet_keeps_its_multiples_down_to_one_pixel(downs):
    network = build_network({"name": "unet", "in_channels": 1, "width": 2, "downs": downs})
    size = network.size_multiple
    assert size == 2**downs
    with torch.no_grad():
        assert network(torch.zeros(1, 1, size, 2 * size)).shape == (1, 3, size, 2 * size)


@given(rows=st.integers(1, 4), columns=st.integers(1, 4), channels=st.sampled_from([1, 3]))
@settings(max_examples=10, deadline=None)
def test_unet_with_a_head_for_detail_keeps_every_multiple(rows, columns, channels):
    network = build_network({"name": "unet", "in_channels": channels, "width": 2, "downs": 3, "detail": 4})
    image = torch.rand(1, channels, 8 * rows, 8 * columns)
    assert network(image).shape == (1, 3, 8 * rows, 8 * columns)


def test_how_much_detail_is_possible():
    assert build_network({"name": "unet", "width": 2, "downs": 2, "detail": 0}).head is None
    with pytest.raises(InputError, match=r"'unet': detail is -3; give a whole number from 0 to 4096"):
        build_network({"name": "unet", "detail": -3})


def test_the_head_for_detail_draws_no_lattice():
    """A uniform image gives equal pixels away from the edges. A transposed convolution alone gives a 2 px pattern."""

    def unevenness(detail):
        spec = {"name": "unet", "in_channels": 1, "width": 4, "downs": 2, "norm": "none"} | detail
        network = build_network(spec, torch.Generator().manual_seed(0))
        with torch.no_grad():
            # The features of the decoder are uniform too, so that only the last upsampling is tested.
            inner = torch.rand(1, 8, 1, 1, generator=torch.Generator().manual_seed(1)).expand(1, 8, 16, 16)
            image = torch.full((1, 1, 32, 32), 0.3)
            drawn = network.head(inner, image) if network.head is not None else network.last(inner)
        return float(drawn[..., 8:-8, 8:-8].std(dim=(2, 3)).max())

    assert unevenness({"detail": 4}) < 1e-6
    assert unevenness({}) > 1e-4


def test_dropout_works_while_training_only():
    network = build_network({"name": "unet", "width": 2, "downs": 7}, torch.Generator().manual_seed(0))
    image = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    drops = [module for module in network.modules() if isinstance(module, torch.nn.Dropout)]
    assert len(drops) == 2
    assert not torch.equal(network(image), network(image))
    network.eval()
    assert torch.equal(network(image), network(image))


def test_patches_of_a_batch_are_independent():
    network = build_network({"name": "resnet", "width": 2, "blocks": 1}, torch.Generator().manual_seed(0))
    batch = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(batch)[:1], network(batch[:1]))


@given(seed=st.integers(0, 10**6), channels=st.integers(2, 9))
@settings(max_examples=10, deadline=None)
def test_channel_norm_is_torchs_layer_norm_over_channels(seed, channels):
    draws = torch.Generator().manual_seed(seed)
    network = ChannelNorm(channels).double()
    image = 3 + 5 * torch.randn(
        2, channels, 5, 4, generator=draws, dtype=torch.float64
    )  # two equal pixels: float32 is not precise enough
    with torch.no_grad():
        network.gain.normal_(generator=draws)
        network.bias.normal_(generator=draws)
    last = functional.layer_norm(image.movedim(1, -1), (channels,), network.gain, network.bias)
    torch.testing.assert_close(network(image), last.movedim(-1, 1))
    torch.testing.assert_close(network(image.to(memory_format=torch.channels_last)), last.movedim(-1, 1))


@pytest.mark.parametrize(("norm", "alike"), [("channel", True), ("instance", False)])
def test_with_channel_norm_a_pixel_depends_only_on_its_surroundings(norm, alike):
    spec = {"name": "unet", "width": 4, "downs": 2, "norm": norm, "in_channels": 1}
    network = build_network(spec, torch.Generator().manual_seed(0)).eval()
    image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    image[..., 40:] += 2  # a bright screw that is outside the smaller tile
    whole, tile = network(image)[..., :16, :16], network(image[..., :32, :32])[..., :16, :16]
    assert torch.allclose(whole, tile, atol=1e-6) == alike


def test_the_last_of_a_discriminators_features_are_its_scores():
    network = build_network({"name": "patch", "width": 2, "layers": 2}, torch.Generator().manual_seed(0))
    image = torch.rand(1, 3, 32, 32)
    features = network.features(image)
    assert torch.equal(features[-1], network(image))
    assert [tuple(f.shape[1:]) for f in features] == [(2, 16, 16), (4, 8, 8), (8, 7, 7), (1, 6, 6)]


def test_a_conditional_discriminator_sees_its_condition():
    network = build_network({"name": "patch", "in_channels": 4, "width": 2, "layers": 1})
    y, x = torch.zeros(1, 3, 16, 16), torch.zeros(1, 1, 16, 16, requires_grad=True)
    network(y, x).sum().backward()
    assert x.grad.abs().max() > 0


def test_weights_come_from_the_generator_with_deviation_0_02():
    spec = {"name": "resnet", "width": 8, "blocks": 2}
    first, again = (build_network(spec, torch.Generator().manual_seed(3)) for _ in range(2))
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    weights = torch.cat([p.detach().flatten() for p in first.parameters() if p.dim() == 4])
    assert float(weights.std()) == pytest.approx(0.02, rel=0.02)
    assert all(float(p.detach().abs().max()) == 0 for p in first.parameters() if p.dim() == 1)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "resnest"}, "'resnest' is unknown; did you mean 'resnet'"),
        ({}, "'' is unknown; known: convnext-unet, field, gated, patch, resnet, shuffle, unet"),
        ({"name": "resnet", "widht": 8}, "unknown key 'widht'; did you mean 'width'"),
        ({"name": "resnet", "width": 0}, "width is 0"),
        ({"name": "resnet", "blocks": "nine"}, "blocks is 'nine'"),
        ({"name": "unet", "dropout": 1.5}, "dropout is 1.5"),
        ({"name": "unet", "downs": 1}, "downs is 1"),
        ({"name": "patch", "norm": "batch"}, "norm is 'batch'"),
    ],
)
def test_wrong_specifications_are_named(spec, message):
    with pytest.raises(InputError, match=message):
        build_network(spec)


def test_a_specification_is_the_same_as_a_mapping_and_as_an_object():
    mapping = {"name": "convnext-unet", "width": 4, "downs": 3}
    spec = parse_generator_spec(mapping)
    assert build_network(spec).spec == spec == type(spec)(width=4, downs=3)
    assert spec.model_dump() == build_network(mapping).spec.model_dump()
    older = build_network(mapping | {"name": "ladder"}, torch.Generator().manual_seed(0)).state_dict()
    newer = build_network(spec, torch.Generator().manual_seed(0)).state_dict()
    assert list(older) == list(newer)
    assert all(torch.equal(older[name], newer[name]) for name in newer)
    about = {"voxel_um": 5, "stain": "h&e", "recipe": "test", "tomostain_version": "0"}
    assert ModelSpec(generator=spec, **about).generator == spec.model_dump()


def test_roles_are_checked():
    assert parse_discriminator_spec({"name": "patch", "layers": 2}).min_size_px == 12
    with pytest.raises(InputError, match="a generator cannot be a 'patch'; known: convnext-unet, gated, resnet"):
        parse_generator_spec({"name": "patch"})
    with pytest.raises(InputError, match="a discriminator cannot be a 'unet'; known: patch"):
        parse_discriminator_spec({"name": "unet"})


def test_a_discriminator_can_be_registered_and_a_recipe_checks_its_patches():
    @register_discriminator("toy-judge")
    class Judge(Discriminator):
        class Spec(DiscriminatorSpec):
            power: float = 2.0

            @property
            def min_size_px(self):
                return 512

        def features(self, image, condition=None):
            return [image.mean(dim=1, keepdim=True).abs() ** self.spec.power]

    try:
        judge = build_network({"name": "toy-judge", "power": 1})
        assert torch.equal(judge(torch.full((1, 3, 4, 4), -2.0)), torch.full((1, 1, 4, 4), 2.0))
        values = {"name": "x", "terms": {"l1": 1.0, "adversarial_y": 1.0}, "generator": {"name": "resnet"}}
        with pytest.raises(InputError, match="patch_px 256 is too small for this discriminator; give at least 512"):
            Recipe.from_dict(values | {"discriminator": {"name": "toy-judge"}})
        recipe = Recipe.from_dict(values | {"discriminator": {"name": "toy-judge"}, "patch_px": 512})
        assert recipe.discriminator_spec() == {"name": "toy-judge", "in_channels": 3}
    finally:
        unregister("toy-judge")


def test_multiply_adds_leave_the_network_as_it_was():
    network = build_network({"name": "unet", "width": 2, "downs": 2}).train()
    assert count_multiply_adds(network, (1, 3, 8, 8)) == count_multiply_adds(network, (2, 3, 8, 8)) // 2 > 0
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())


def test_the_field_is_bounded_and_has_a_knot_every_few_pixels():
    network = build_network({"name": "field", "width": 4, "levels": 3, "bound_px": 5})
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1000)
        field = network(torch.rand(2, 3, 64, 48), torch.rand(2, 3, 64, 48))
    assert field.shape == (2, 2, 8, 6)
    assert field.abs().max() <= 5
