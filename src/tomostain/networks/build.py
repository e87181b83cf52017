"""Build networks from specifications: ``{"name": "resnet", "width": 64}`` as in recipes and in ``model.yaml``."""

from collections.abc import Mapping
from typing import Any

import torch

from tomostain.networks.base import Network, NetworkSpec
from tomostain.networks.cost import count_parameters
from tomostain.networks.registry import network_class, parse_generator_spec, parse_spec

__all__ = ["build_network", "count_parameters", "size_step"]


def build_network(spec: Mapping[str, Any] | NetworkSpec, generator: torch.Generator | None = None) -> Network:
    """Build a network from its specification and draw its initial weights (`Network.initialise`).

    Parameters
    ----------
    spec : mapping or NetworkSpec
        ``name`` of a registered network and the fields of its `Spec`.
    generator : torch.Generator, optional
        Draws the weights; default: torch's global generator.

    Raises
    ------
    InputError
        If the name or a key is unknown (with "did you mean"), or a value is not possible.

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
    parsed = parse_spec(spec)
    network = network_class(parsed.name)(parsed)
    network.initialise(generator)
    return network


def size_step(spec: Mapping[str, Any]) -> int:
    """Return the `size_multiple` of a generator's specification: rows and columns must be multiples of it, px."""
    return parse_generator_spec(spec).size_multiple
