"""Options that change only the time and memory of a step: recomputed activations, compiled networks, CUDA graphs."""

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
from tomostain.paths import cache_folder

N = TypeVar("N", bound=nn.Module)

_COMPILED_FOLDER = "TORCHINDUCTOR_CACHE_DIR"
# Number of layers that are recomputed at once: about two convolutions with their normalisations and activations.
_LAYERS = 8


def recomputing(network: N) -> N:
    """Make a network recompute its activations in the backward pass instead of keeping them; modifies the network.

    Every outermost `nn.Sequential` keeps only its input, a long one also the input of each piece of 8 layers. Random
    numbers are drawn again from the same state, so that results and gradients are the same bits.

    `torch.utils.checkpoint.checkpoint_sequential` is not used: it keeps all activations of its last segment
    (docs/explanation/dependencies.md).

    Source: Chen et al. 2016, "Training deep nets with sublinear memory cost", arXiv:1604.06174.
    """
    for chain in _chains(network):
        chain.forward = _Pieces(chain)  # type: ignore[method-assign]
    return network


class _Pieces:
    """The forward pass of a chain of layers, piece by piece."""

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
    """Return the `nn.Sequential` modules that are not part of another one."""
    chains: list[nn.Sequential] = []
    for child in module.children():
        chains += [child] if isinstance(child, nn.Sequential) else _chains(child)
    return chains


def check_compiler(graphs: bool, device: torch.device, processes: int = 1) -> None:
    """Check that networks can be compiled, with or without CUDA graphs.

    Raises
    ------
    InputError
        If a requirement is missing: a C++ compiler on a CPU, Triton on a GPU; for graphs a GPU and a single process.
    """
    if graphs and device.type != "cuda":
        raise InputError(
            f"compile: cuda-graphs: needs a GPU, and the device is {device.type}; set `device=cuda`, or set compile: "
            "true or false",
            parameter="device",
        )
    if graphs and processes > 1:
        raise InputError(
            f"compile: cuda-graphs: needs a single process, and there are {processes}; start one, or set compile: true"
        )
    if device.type == "cuda":
        missing = "" if find_spec("triton") else "Triton (a package of that name)"
    else:
        names = (os.environ.get("CXX"), "g++", "clang++", "c++")
        missing = "" if any(name and shutil.which(name) for name in names) else "a C++ compiler (g++ or clang++)"
    if missing:
        value = "cuda-graphs" if graphs else "true"
        raise InputError(f"compile: {value}: torch.compile needs {missing}; install it, or set compile: false")


def keep_compiled_networks() -> None:
    """Let torch store compiled networks in the user's cache folder, so that later trainings find them.

    A ``TORCHINDUCTOR_CACHE_DIR`` in the environment stays as it is. Where the cache folder cannot be written, torch
    stores them in a temporary folder, as it does by default.
    """
    if _COMPILED_FOLDER in os.environ:
        return
    try:
        folder = cache_folder() / "torchinductor"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: the user has no home folder
        return
    if os.access(folder, os.W_OK):
        os.environ[_COMPILED_FOLDER] = str(folder)


def check_step_graph(device: torch.device, processes: int = 1, *, recomputes: bool = False) -> None:
    """Check that a whole step can be one CUDA graph.

    Parameters
    ----------
    device : torch.device
    processes : int
        That train together.
    recomputes : bool
        Generators recompute their activations, with random numbers that a graph cannot restore.

    Raises
    ------
    InputError
        If the device is not a GPU, or the other two exclude a graph.
    """
    remedy = "set compile: auto or false"
    if device.type != "cuda":
        raise InputError(
            f"compile: step-graph: needs a GPU, and the device is {device.type}; set `device=cuda`, or {remedy}",
            parameter="device",
        )
    if processes > 1:
        raise InputError(f"compile: step-graph: needs a single process, and there are {processes}; {remedy}")
    if recomputes:
        raise InputError(f"compile: step-graph: excludes checkpoint_activations; set one of them to false, or {remedy}")


def compiled(network: N, *, graphs: bool = False) -> N:
    """Compile a network with `torch.compile` at its first run; modifies the network, weights keep their names.

    With `graphs` the kernels of a pass are launched at once, as a CUDA graph. The next step overwrites the memory of
    its results: see `begin_step` and `keep_gradients`.
    """
    mode = "reduce-overhead" if graphs else None
    judge: Any = network
    if isinstance(network, Discriminator):  # the trainer calls `features`, whose last element are the scores
        judge.features = MethodType(torch.compile(type(judge).features, mode=mode), judge)
    else:
        network.compile(mode=mode)
    return network


def begin_step() -> None:
    """Allow CUDA graphs to overwrite the results of the previous step.

    Call it once per step. Within a step, results stay available: networks run several times, and discriminators use
    the output of generators. Without the call, torch takes each backward pass for the end of a step.
    """
    torch.compiler.cudagraph_mark_step_begin()


def keep_gradients(values: Iterable[nn.Parameter]) -> None:
    """Allocate the gradients of weights. They stay allocated as long as they are set to zero and not to None.

    Otherwise autograd would use memory of a CUDA graph for them, which is overwritten (pytorch/pytorch#169545).
    """
    for value in values:
        value.grad = torch.zeros_like(value)


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run networks without compilation. Sample images come in many sizes, and each size would be compiled again."""
    with torch.compiler.set_stance("force_eager"):
        yield
