"""What changes time and memory of a step and nothing else: recomputed activations, compiled networks, CUDA graphs."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import MethodType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tomostain.errors import InputError
from tomostain.networks import Discriminator

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


def check_compiler(graphs: bool, device: torch.device, processes: int = 1) -> None:
    """Make sure that networks can be compiled, with CUDA graphs or without.

    Raises
    ------
    InputError
        If what it needs is not there: a C++ compiler for a CPU, Triton for a GPU; for graphs a GPU and one process.
    """
    if graphs and device.type != "cuda":
        raise InputError(
            f"compile: cuda-graphs: needs a GPU, and this trains on {device.type}; give --device cuda, or set "
            "compile: true or false"
        )
    if graphs and processes > 1:
        raise InputError(
            f"compile: cuda-graphs: is for one process, and there are {processes}; start one, or set compile: true"
        )
    if device.type == "cuda":
        missing = "" if find_spec("triton") else "Triton (a package of that name)"
    else:
        names = (os.environ.get("CXX"), "g++", "clang++", "c++")
        missing = "" if any(name and shutil.which(name) for name in names) else "a C++ compiler (g++ or clang++)"
    if missing:
        value = "cuda-graphs" if graphs else "true"
        raise InputError(f"compile: {value}: torch.compile needs {missing}; install it, or set compile: false")


def compiled(network: N, *, graphs: bool = False) -> N:
    """Have `torch.compile` make a network's kernels when it is first run; in place, weights keep their names.

    With `graphs` the kernels of a pass are then launched at once, as a CUDA graph. Its results lie in memory that the
    next step writes over: see `begin_step` and `keep_gradients`.
    """
    mode = "reduce-overhead" if graphs else None
    judge: Any = network
    if isinstance(network, Discriminator):  # the trainer calls `features`, whose last element are the scores
        judge.features = MethodType(torch.compile(type(judge).features, mode=mode), judge)
    else:
        network.compile(mode=mode)
    return network


def begin_step() -> None:
    """Let CUDA graphs write over what those of the last step left.

    Said once a step, it keeps them from doing so within one, where a network runs several times and discriminators
    judge what the generators have made. Unsaid, each backward pass would end what torch takes for a step.
    """
    torch.compiler.cudagraph_mark_step_begin()


def keep_gradients(values: Iterable[nn.Parameter]) -> None:
    """Give weights memory for their gradients; it lasts as long as they are set to zero and not to None.

    Else autograd would take a CUDA graph's own memory for them, which is written over (pytorch/pytorch#169545).
    """
    for value in values:
        value.grad = torch.zeros_like(value)


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run networks as they are: pictures come in batches of all sizes, and each would be compiled for itself."""
    with torch.compiler.set_stance("force_eager"):
        yield
