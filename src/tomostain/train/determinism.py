"""Reproducible draws of torch's global random generators, without a lasting effect on the process.

Dropout draws from the global generator of the device. A training keeps its own state of these generators, and installs
it only while it computes.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch


class RandomState:
    """A state of torch's global generators, on the CPU and on one GPU, that belongs to one training.

    Parameters
    ----------
    seed : int
        Seed of both generators.
    device : torch.device or str
        Device of the training.
    ordered : bool
        Also sum gradients in a fixed order on a GPU (``torch.use_deterministic_algorithms``), which is slower. Torch
        warns of operations for which it has no fixed order.

    Attributes
    ----------
    cpu : Tensor of uint8
        State of the generator of the CPU.
    cuda : Tensor of uint8 or None
        State of the generator of the GPU, if the training has one.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu", *, ordered: bool = False) -> None:
        self.device = torch.device(device)
        self.ordered = ordered and self.device.type == "cuda"
        self._active = False
        self.cpu = torch.Generator().manual_seed(seed).get_state()
        self.cuda: torch.Tensor | None = None
        if self.device.type == "cuda":
            self.cuda = torch.Generator(self.device).manual_seed(seed).get_state()

    @contextmanager
    def activate(self) -> Iterator[None]:
        """Install this state and select deterministic cuDNN kernels; on exit, keep the advanced state.

        The previous state of the process is then restored. Within itself it has no effect.
        """
        if self._active:
            yield
            return
        cpu, cuda = _get_states(self.device)
        deterministic = torch.backends.cudnn.deterministic
        _set_states(self.cpu, self.cuda, self.device)
        torch.backends.cudnn.deterministic = True
        self._active = True
        try:
            with fixed_order() if self.ordered else nullcontext():
                yield
        finally:
            self._active = False
            self.cpu, self.cuda = _get_states(self.device)
            torch.backends.cudnn.deterministic = deterministic
            _set_states(cpu, cuda, self.device)


@contextmanager
def fixed_order() -> Iterator[None]:
    """Make torch use operations with a fixed order of summation where it has them; restore its setting on exit."""
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)


@contextmanager
def deterministic(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed torch's global generators and select deterministic cuDNN kernels; restore both on exit.

    Parameters
    ----------
    seed : int
    device : torch.device or str
        A GPU has a separate generator.

    Examples
    --------
    >>> with deterministic(3):
    ...     first = torch.rand(2)
    >>> with deterministic(3):
    ...     print(torch.equal(torch.rand(2), first))
    True
    """
    with RandomState(seed, device).activate():
        yield


def _get_states(device: torch.device) -> tuple[torch.Tensor, torch.Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_states(cpu: torch.Tensor, cuda: torch.Tensor | None, device: torch.device) -> None:
    torch.set_rng_state(cpu)
    if cuda is not None:
        torch.cuda.set_rng_state(cuda, device)
