"""Run networks on a GPU: with its kernels, in true float32 if asked for, and small images as CUDA graphs.

The launches of a network take longer than its computation on small images. A graph launches all of them at once.
"""

import copy
import logging
import threading
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from tomostain.errors import ComputationWarning, warn_user
from tomostain.networks.cuda_capture import capturing
from tomostain.networks.kernels import accelerate_cuda, is_fusable
from tomostain.stain.synchronisation import refusing_synchronisation

MAX_GRAPH_PX = 2**20
"""Pixels of a batch (images times rows times columns) up to which a graph is used."""
MAX_GRAPHS = 4
"""Graphs of one network; each holds the memory of its activations."""
_log = logging.getLogger(__name__)
Shape = tuple[int, ...]


class NetworkRunner:
    """Runs networks in evaluation mode on a GPU.

    A shape that occurs for the second time is captured as a CUDA graph: the kernels of the whole network are launched
    at once. The graph belongs to the thread that captured it, and other threads run the network without it.

    Parameters
    ----------
    graphs : bool
        Use CUDA graphs.
    fused : bool
        Use the fused layers of `tomostain.networks.kernels.accelerate_cuda`, in a copy of the network, if its class
        sets `fusable`.

    Notes
    -----
    The result of a graph is overwritten by the next call with the same shape. `tomostain.stain.translator` converts it
    to colours at once, in the same stream.
    """

    def __init__(self, *, graphs: bool = True, fused: bool = True) -> None:
        self.graphs, self.fused = graphs, fused
        self._graphs: WeakKeyDictionary[nn.Module, _Graphs] = WeakKeyDictionary()

    def __call__(self, network: nn.Module, images: Tensor) -> Tensor:
        """Return `network(images)`."""
        with torch.cuda.device(images.device) if images.is_cuda else nullcontext(), true_float32(images):
            graphs = self._graphs.get(network)
            if graphs is None:
                graphs = self._graphs[network] = _Graphs(threading.get_ident())
                if self.fused:
                    graphs.network = _fused(network, images)
            prepared = network if graphs.network is None else graphs.network
            small = self.graphs and images.is_cuda and _pixels(images) <= MAX_GRAPH_PX
            graph = graphs.graph_for(prepared, images) if small else None
            result: Tensor = prepared(images) if graph is None else graph.replay(images)
        return result

    @property
    def captured(self) -> int:
        """Number of graphs."""
        return sum(graph is not None for graphs in self._graphs.values() for graph in graphs.captured.values())

    def forget(self) -> None:
        """Free the memory of all graphs."""
        self._graphs.clear()


def _fused(network: nn.Module, images: Tensor) -> nn.Module | None:
    """Return a copy of a network with fused layers, or None if its class does not allow it or they do not run here.

    Here and not when the model is loaded: by now the statistics of a volume are fixed, if it is stained with them.
    """
    if not is_fusable(network):
        return None
    try:
        fast = accelerate_cuda(copy.deepcopy(network), frozen=True)
        fast(images)
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:  # Triton raises many kinds, for instance where there is no C compiler.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        warn_user(f"the fused layers do not run on this GPU ({reason}); torch's are used", ComputationWarning)
        return None
    return fast


class _TrueFloat32:
    """Switches TF32 off while any thread is inside: the setting of torch is that of the process."""

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, False

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = torch.backends.cudnn.allow_tf32
                torch.backends.cudnn.allow_tf32 = False
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                torch.backends.cudnn.allow_tf32 = self._before


_WITHOUT_TF32 = _TrueFloat32()


def true_float32(images: Tensor) -> AbstractContextManager[None]:
    """Multiply float32 as such: by default cuDNN rounds it to TF32, which has no more digits than float16."""
    return _WITHOUT_TF32 if images.dtype == torch.float32 else nullcontext()


def _pixels(images: Tensor) -> int:
    return len(images) * images.shape[-2] * images.shape[-1]


@dataclass
class _Graphs:
    """The graphs of one network, and the network with fused layers, if it has any."""

    thread: int
    network: nn.Module | None = None
    calls: Counter[Shape] = field(default_factory=Counter)
    captured: dict[Shape, "_Graph | None"] = field(default_factory=dict)
    cannot_capture: bool = False

    def graph_for(self, network: nn.Module, images: Tensor) -> "_Graph | None":
        if self.cannot_capture or threading.get_ident() != self.thread:
            return None
        shape = tuple(images.shape)
        self.calls[shape] += 1
        if self.calls[shape] > 1 and shape not in self.captured and len(self.captured) < MAX_GRAPHS:
            self.captured[shape] = graph = _capture(network, images)
            self.cannot_capture = graph is None
        return self.captured.get(shape)


@dataclass
class _Graph:
    graph: torch.cuda.CUDAGraph
    images: Tensor
    result: Tensor

    def replay(self, images: Tensor) -> Tensor:
        self.images.copy_(images)
        self.graph.replay()
        return self.result


def _capture(network: nn.Module, images: Tensor) -> _Graph | None:
    """Capture a network for images of one shape; None if it cannot be captured."""
    static = images.clone()
    try:
        current, side = torch.cuda.current_stream(images.device), torch.cuda.Stream(images.device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            network(static)  # chooses algorithms and allocates their memory, which a capture cannot
            # A capture that fails leaves the allocator and the generator of torch unusable: find out before it.
            with refusing_synchronisation():
                network(static)
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with capturing(graph, images.device):
            result = network(static)
    except torch.cuda.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        _log.info("no CUDA graph for %s, and none for this network from now on: %s", tuple(images.shape), reason)
        return None
    return _Graph(graph, static, result)
