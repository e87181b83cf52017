"""Which layers of a network may be replaced by fused ones."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn
from torch.nn.utils import parametrize

from tomostain.networks.base import Network
from tomostain.networks.generators import ResidualBlock


def is_fusable(network: nn.Module) -> bool:
    """Whether layers may be replaced: a `Network` with `fusable`, or a plain `nn.Sequential`."""
    return network.fusable if isinstance(network, Network) else type(network) is nn.Sequential


def find_chains(network: nn.Module) -> list[nn.Sequential]:
    """Return each plain `nn.Sequential` in a network, except in parts that are a `Network` without `fusable`.

    Subclasses of `nn.Sequential` may override `forward`, and hooks of a chain see its values: both stay.
    """
    if isinstance(network, Network) and not network.fusable:
        return []
    chains = [network] if type(network) is nn.Sequential and not _is_observed(network) else []
    for child in network.children():
        chains += find_chains(child)
    return list(dict.fromkeys(chains))  # a chain can be part of several modules


@contextmanager
def without_observed_layers(network: nn.Module, chains: Sequence[nn.Sequential]) -> Iterator[None]:
    """Return a context in which a layer of unknown type takes the place of each layer that must not be replaced.

    These are layers that occur more than once in the network, that have hooks, parametrizations or a `forward` of
    their own, or whose weights are computed from others, as by `torch.nn.utils.spectral_norm`.
    """
    counts = Counter(id(module) for _, module in network.named_modules(remove_duplicate=False))
    for chain in chains:
        for index, layer in enumerate(chain):
            if counts[id(layer)] > 1 or _is_observed(layer) or not _is_made_of(layer, chains):
                chain[index] = _Observed(layer)
    try:
        yield
    finally:
        for chain in chains:
            for index, layer in enumerate(chain):
                if isinstance(layer, _Observed):
                    chain[index] = layer.layer


class _Observed(nn.Module):
    """Takes the place of a layer during the conversion of a network."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer


def _is_observed(module: nn.Module) -> bool:
    """Whether a module has hooks, parametrizations or a different `forward`, which a replacement would not have."""
    hooks = (
        module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks,
    )  # fmt: skip
    return any(hooks) or "forward" in vars(module) or parametrize.is_parametrized(module)


def _is_made_of(layer: nn.Module, chains: Sequence[nn.Sequential]) -> bool:
    """Whether the weights of a convolution are parameters, and the layers of a residual block may be replaced."""
    if isinstance(layer, ResidualBlock):
        return any(layer.layers is chain for chain in chains)
    if isinstance(layer, nn.Conv2d):
        return all(value is None or isinstance(value, nn.Parameter) for value in (layer.weight, layer.bias))
    return True
