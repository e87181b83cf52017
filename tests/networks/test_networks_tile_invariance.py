"""Tile invariance is measured: attention, pooling and positions are found whatever the name of the layer."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.toys import weights_of
from tomostain.errors import InputError
from tomostain.io import ModelSpec
from tomostain.networks import Generator, GeneratorSpec, is_tile_invariant, register_generator, tile_invariance
from tomostain.networks.base import Discriminator
from tomostain.networks.layers import NormName, norm_layers
from tomostain.networks.registry import network_class, unregister
from tomostain.networks.tile_invariance import measure_reach_px
from tomostain.stain import StainConfig, Translator, stain_slice
from tomostain.tiling.exact import halo_of

BUILT_IN = [
    {"name": "resnet", "blocks": 2},
    {"name": "unet", "downs": 3},
    {"name": "unet", "downs": 3, "detail": 8},
    {"name": "shuffle", "blocks": 2},
    {"name": "convnext-unet", "downs": 3},
    {"name": "gated", "downs": 3},
]


class Toy(Generator):
    """A convolution, a normalisation, and a layer in between that subclasses add."""

    class Spec(GeneratorSpec):
        norm: NormName = "channel"

    def __init__(self, spec):
        super().__init__(spec)
        self.first = nn.Sequential(nn.Conv2d(spec.in_channels, 4, 3, padding=1), *norm_layers(spec.norm, 4))
        self.last = nn.Conv2d(4, spec.out_channels, 3, padding=1)

    def between(self, features):
        return features

    def forward(self, image):
        return torch.tanh(self.last(self.between(self.first(image))))


class Attention(Toy):
    """Attention of each pixel to all others, on a branch that starts at zero as is common."""

    def __init__(self, spec):
        super().__init__(spec)
        self.qkv = nn.Conv2d(4, 12, 1)
        self.gain = nn.Parameter(torch.zeros(1))

    def between(self, features):
        q, k, v = (part.flatten(2).transpose(1, 2) for part in self.qkv(features).chunk(3, dim=1))
        seen = nn.functional.scaled_dot_product_attention(q, k, v)
        return features + self.gain * seen.transpose(1, 2).reshape(features.shape)


class ColumnMean(Toy):
    """The mean of each column: rows depend on all rows, columns on none but their own."""

    def between(self, features):
        return features + features.mean(dim=2, keepdim=True)


class Positions(Toy):
    """A ramp over the image, independent of the input values."""

    def between(self, features):
        return features * torch.linspace(0.5, 1.5, features.shape[-1], dtype=features.dtype)


class FiniteMean(Toy):
    """A mean that leaves out NaN."""

    def between(self, features):
        return features + features.nanmean(dim=(2, 3), keepdim=True)


@pytest.fixture
def registered():
    """Register toys, each with its own name; remove them at the end."""
    toys = {cls.__name__.lower(): cls for cls in (Toy, Attention, ColumnMean, Positions, FiniteMean)}
    for name, cls in toys.items():
        register_generator(f"toy-{name}")(type(cls.__name__, (cls,), {}))
    yield
    for name in toys:
        unregister(f"toy-{name}")


@pytest.mark.parametrize("spec", BUILT_IN, ids=lambda spec: "-".join(map(str, spec.values())))
def test_the_built_in_generators_depend_on_the_tile_by_instance_normalisation_only(spec):
    assert not is_tile_invariant(spec)
    assert is_tile_invariant(spec, volume_statistics=True)
    reach = {norm: measure_reach_px(spec | {"norm": norm}) for norm in ("channel", "none")}
    assert reach["channel"] == reach["none"] == measure_reach_px(spec, volume_statistics=True)
    assert reach["none"] > 4


@pytest.mark.parametrize("name", ["attention", "columnmean", "positions", "finitemean"])
def test_a_generator_that_uses_the_whole_image_is_detected_with_any_norm(registered, name):
    assert not is_tile_invariant({"name": f"toy-{name}", "norm": "channel"})
    assert not is_tile_invariant({"name": f"toy-{name}", "norm": "none"})
    assert not is_tile_invariant({"name": f"toy-{name}", "norm": "instance"}, volume_statistics=True)
    assert is_tile_invariant({"name": "toy-toy", "norm": "channel"})  # the rest of the network is not the cause


def test_attention_is_blended_by_default_and_exact_tiles_are_refused(registered):
    spec = {"name": "toy-attention", "in_channels": 1, "norm": "channel"}
    about = ModelSpec(generator=spec, in_channels=1, voxel_um=5, stain="h&e", recipe="test", tomostain_version="0")
    translator = Translator(weights_of(spec), about, torch.device("cpu"))
    assert not translator.tile_invariant
    assert StainConfig().for_model(256, translator.tile_invariant).blend == "mean"
    with pytest.raises(InputError, match=r"generator 'toy-attention' depends on the whole tile; use blend 'mean'"):
        stain_slice(translator, np.zeros((20, 20), np.uint16), StainConfig(blend="exact"))
    with pytest.raises(InputError, match="depends on the whole tile"):
        halo_of(spec, volume_statistics=True)
    with pytest.warns(DeprecationWarning, match="tile_free is now"):
        assert not translator.tile_free


def test_it_is_measured_once_and_does_not_advance_random_generators(monkeypatch):
    spec = {"name": "resnet", "blocks": 3, "norm": "channel", "in_channels": 2}
    before = torch.random.get_rng_state()
    assert is_tile_invariant(spec)
    assert torch.equal(torch.random.get_rng_state(), before)
    monkeypatch.setattr(tile_invariance, "build_network", None)
    assert is_tile_invariant(spec | {"width": 7})  # the width does not change it


def test_names_and_classes_are_checked_when_they_are_registered():
    with pytest.raises(ValueError, match="'resnet' is already registered for ResNetGenerator"):
        register_generator("resnet")(type("Other", (Toy,), {}))
    with pytest.raises(ValueError, match="'ladder' is already registered for ConvNeXtUNet"):
        register_generator("other", "ladder")(type("Other", (Toy,), {}))
    with pytest.raises(TypeError, match="PatchDiscriminator must be a Generator"):
        register_generator("other")(network_class("patch"))
    with pytest.raises(InputError, match="'other' is unknown"):
        network_class("other")
    assert issubclass(network_class("patch"), Discriminator)
