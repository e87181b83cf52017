"""What changes time and memory of a training step and nothing else: recomputed activations, compiled networks."""

import os
import shutil
from importlib.util import find_spec
from types import MethodType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tomostain.errors import InputError

N = TypeVar("N", bound=nn.Module)

# Longer chains of layers are recomputed in pieces of so many: about two convolutions with what goes around them.
_LAYERS = 8


def recomputing(network: N) -> N:
    """Make a network compute its inner values anew on the way back, in place of keeping them; in place.

    Every outermost chain of layers (`nn.Sequential`) keeps what goes into it, a long one also what goes into each
    piece. Random numbers are drawn alike again, so that results and gradients are the same to the bit.

    Source: Chen et al. 2016, "Training deep nets with sublinear memory cost", arXiv:1604.06174.
    """
    for chain in _chains(network):
        chain.forward = _Pieces(chain)  # type: ignore[method-assign]
    return network


class _Pieces:
    """The forward of a chain, piece by piece."""

    def __init__(self, chain: nn.Sequential) -> None:
        layers = list(chain)
        self.pieces = [layers[first : first + _LAYERS] for first in range(0, len(layers), _LAYERS)]

    def __call__(self, image: Tensor) -> Tensor:
        for piece in self.pieces:
            image = checkpoint(_through, piece, image, use_reentrant=False)
        return image


def _through(layers: list[nn.Module], image: Tensor) -> Tensor:
    for layer in layers:
        image = layer(image)
    return image


def _chains(module: nn.Module) -> list[nn.Sequential]:
    """Return the chains that stand in no other chain."""
    found: list[nn.Sequential] = []
    for child in module.children():
        found += [child] if isinstance(child, nn.Sequential) else _chains(child)
    return found


def compiled(network: N, device: torch.device) -> N:
    """Have `torch.compile` make a network's kernels when it is first run; in place, weights keep their names.

    Raises
    ------
    InputError
        If what it needs is not there: a C++ compiler for a CPU, Triton for a GPU.
    """
    if device.type == "cuda":
        missing = "" if find_spec("triton") else "Triton (a package of that name)"
    else:
        names = (os.environ.get("CXX"), "g++", "clang++", "c++")
        missing = "" if any(name and shutil.which(name) for name in names) else "a C++ compiler (g++ or clang++)"
    if missing:
        raise InputError(f"compile: true: torch.compile needs {missing}; install it, or set compile: false")
    judge: Any = network
    if hasattr(judge, "features"):  # what is asked of a discriminator, and its scores are the last of them
        judge.features = MethodType(torch.compile(type(judge).features), judge)
    else:
        network.compile()
    return network
