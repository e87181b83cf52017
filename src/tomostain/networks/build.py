"""The networks: ResNet and U-Net generators and the patch discriminator, built from plain specifications.

A specification is a mapping, ``{"name": "resnet", "in_channels": 3, "width": 64}``, as it stands in recipes and in
``model.yaml``; nothing but numbers and names, so that a model folder can be read without running anything of it.
"""

import inspect
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn

from tomostain.config import suggest
from tomostain.errors import InputError
from tomostain.networks.deformation import DisplacementField
from tomostain.networks.discriminators import PatchDiscriminator
from tomostain.networks.efficient import ConvNeXtUNet, GatedGenerator, ShuffleGenerator
from tomostain.networks.generators import ResNetGenerator, UNetGenerator
from tomostain.networks.layers import NORMS

NETWORKS: dict[str, type[nn.Module]] = {
    "field": DisplacementField,
    "gated": GatedGenerator,
    "ladder": ConvNeXtUNet,
    "resnet": ResNetGenerator,
    "shuffle": ShuffleGenerator,
    "unet": UNetGenerator,
    "patch": PatchDiscriminator,
}
LEAN = (ConvNeXtUNet, ShuffleGenerator)
GENERATORS = ("gated", "ladder", "resnet", "shuffle", "unet")


def build_network(spec: Mapping[str, Any], generator: torch.Generator | None = None) -> nn.Module:
    """Build a network from its specification, its weights drawn from N(0, 0.02) and its biases 0 as in CycleGAN.

    The lean generators begin with weights of their own (`tomostain.networks.efficient`).

    Parameters
    ----------
    spec : mapping
        ``name`` (a key of `NETWORKS`) and the arguments of that class.
    generator : torch.Generator, optional
        Draws the weights; torch's global one otherwise.

    Raises
    ------
    InputError
        If the name or an argument is unknown (with "did you mean"), or a value is not possible.

    Examples
    --------
    >>> net = build_network({"name": "resnet", "in_channels": 1, "width": 4, "blocks": 1})
    >>> net(torch.zeros(1, 1, 16, 20)).shape
    torch.Size([1, 3, 16, 20])
    >>> build_network({"name": "resnest"})
    Traceback (most recent call last):
    ...
    tomostain.errors.InputError: network name: 'resnest' is unknown; did you mean 'resnet'?
    """
    arguments = check_spec(spec)
    network = NETWORKS[spec["name"]](**arguments)
    if isinstance(network, LEAN):
        network.initialise(generator)
        return network
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def check_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a specification after checking their names and values, without building anything.

    Raises
    ------
    InputError
        As `build_network`.
    """
    name = str(spec.get("name", ""))
    if name not in NETWORKS:
        raise InputError(f"network name: '{name}' is unknown{suggest(name, list(NETWORKS))}")
    known = list(inspect.signature(NETWORKS[name]).parameters)
    arguments = {key: value for key, value in spec.items() if key != "name"}
    for key, value in arguments.items():
        if key not in known:
            raise InputError(f"network '{name}': unknown key '{key}'{suggest(key, known)}")
        if key == "norm":
            possible, allowed = isinstance(value, str) and value in NORMS, f"one of {', '.join(NORMS)}"
        elif key == "dropout":
            possible, allowed = _is_number(value, float) and 0 <= value < 1, "a number from 0 to less than 1"
        elif key == "kernel":
            possible = _is_number(value, int) and value % 2 == 1 and 1 <= value <= 255
            allowed = "an odd number from 1 to 255, so that it has a centre"
        else:
            least = _least(name, key)
            possible, allowed = (
                _is_number(value, int) and least <= value <= 4096,
                f"a whole number from {least} to 4096",
            )
        if not possible:
            raise InputError(f"network '{name}': {key} is {value!r}; give {allowed}")
    return arguments


def _least(name: str, key: str) -> int:
    """Return the least that a whole number may be: the heads of lean generators need features, the U-Net's none."""
    if key == "blocks" or (key == "detail" and name == "unet"):
        return 0
    return 2 if key == "downs" else 1


def size_step(spec: Mapping[str, Any]) -> int:
    """Return what the rows and columns of a generator's input must be multiples of: its attribute `multiple`."""
    with torch.device("meta"):
        network = NETWORKS[spec["name"]](**check_spec(spec))
    return cast(int, network.multiple)


def count_parameters(network: nn.Module) -> int:
    """Return the number of trained values."""
    return sum(parameter.numel() for parameter in network.parameters())


def _is_number(value: Any, kind: type) -> bool:
    return not isinstance(value, bool) and isinstance(value, int if kind is int else (int, float))
