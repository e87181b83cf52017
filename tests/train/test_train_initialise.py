"""The layers of a network on a device."""

import pytest
import torch

from tests.support.training import toy_recipe
from tomostain.networks import build_network
from tomostain.train.initialise import _accelerated


@pytest.mark.parametrize(("norm", "last"), [("channel", True), ("instance", False)])
def test_on_a_gpu_only_networks_without_instance_normalisation_use_channels_last(norm, last):
    recipe = toy_recipe(kernels="plain", generator={"name": "resnet", "width": 4, "blocks": 1, "norm": norm})
    network = _accelerated(build_network(recipe.generator_spec()), recipe, torch.device("cuda"))
    weight = max((each for each in network.parameters() if each.ndim == 4), key=torch.numel)
    assert weight.is_contiguous(memory_format=torch.channels_last) is last


@pytest.mark.parametrize("changes", [{"kernels": "plain"}, {"compile": True}])
def test_plain_and_compiled_networks_keep_the_layers_of_torch(changes):
    recipe = toy_recipe(**changes)
    network = build_network(recipe.generator_spec())
    before = [type(layer) for layer in network.modules()]
    assert [type(layer) for layer in _accelerated(network, recipe, torch.device("cpu")).modules()] == before
