"""The capture of CUDA graphs on any of several GPUs."""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# torch allows one capture at a time in a process.
_CAPTURING = threading.Lock()


@contextmanager
def capturing(graph: torch.cuda.CUDAGraph, device: torch.device) -> Iterator[None]:
    """Capture what is launched on a device in this block.

    Parameters
    ----------
    graph : torch.cuda.CUDAGraph
        Holds the kernels afterwards. They are not run.
    device : torch.device
        A GPU.

    Notes
    -----
    By default torch captures a stream of the GPU on which the first capture of the process was. For another GPU the
    graph would be empty, and its launches would do nothing. Calls of other threads do not end the capture.
    """
    with (
        _CAPTURING,
        torch.cuda.device(device),
        torch.cuda.graph(graph, stream=_stream(device), capture_error_mode="thread_local"),
    ):
        yield


@functools.cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
