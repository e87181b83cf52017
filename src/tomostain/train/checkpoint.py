"""Checkpoints: one file with everything that a run needs to continue to the same bits, and the best weights per term.

Files hold tensors and plain containers only. They are read with ``weights_only=True``, so that no code is run.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import nn

from tomostain.errors import InputError
from tomostain.io.atomic import atomic_file
from tomostain.train.buffer import ImageBuffer
from tomostain.train.determinism import RandomState
from tomostain.train.step import Networks
from tomostain.train.terms import RENAMED

LAST = "last"
_MAX_STEP = 2**53


@dataclass
class State:
    """Everything that changes during a run.

    Attributes
    ----------
    networks : Networks
    optimisers : dict of str to Optimizer
        "generators" and "discriminators".
    buffers : dict of str to ImageBuffer
        "d_y" and "d_x".
    draws : torch.Generator
        Draws patches and the images of the buffers.
    random : RandomState
        Torch's global generators, for dropout.
    step : int
        Number of steps done.
    seconds, cpu_seconds : float
        Training time and processor time so far.
    sums : dict of str to float
        Sums of the terms over the steps of the current epoch.
    best : dict of str to float
        Minimum of the mean of each term over an epoch so far.
    affines : list of Tensor (2, 3)
        Residual registration of each training pair; empty until the first one.
    rejected : list of int
        Indices of the training pairs that are not used (`tomostain.train.pair_rejection`).
    correlations : list of float
        Correlation of each training pair with the output when it was last registered, if pairs are rejected.
    """

    networks: Networks
    optimisers: dict[str, torch.optim.Optimizer]
    buffers: dict[str, ImageBuffer]
    draws: torch.Generator
    random: RandomState
    step: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    affines: list[torch.Tensor] = field(default_factory=list)
    rejected: list[int] = field(default_factory=list)
    correlations: list[float] = field(default_factory=list)


def named_networks(networks: Networks) -> dict[str, nn.Module]:
    """Return the networks that a checkpoint holds, by name."""
    average = {} if networks.average is None else {"average": networks.average}
    return networks.discriminators() | networks.optimised("generators") | average


def save_last(run: Path, state: State) -> None:
    """Write `run`/last, and replace an existing one as a whole."""
    values = {
        "networks": {name: network.state_dict() for name, network in named_networks(state.networks).items()},
        "optimisers": {name: optimiser.state_dict() for name, optimiser in state.optimisers.items()},
        "buffers": {name: buffer.state_dict() for name, buffer in state.buffers.items()},
        "draws": state.draws.get_state(),
        "torch": state.random.cpu,
        "cuda": [] if state.random.cuda is None else [state.random.cuda],
        "step": state.step,
        "seconds": state.seconds,
        "cpu_seconds": state.cpu_seconds,
        "sums": state.sums,
        "best": state.best,
        "places": state.affines,
        "rejected": state.rejected,
        "correlations": state.correlations,
    }
    _write(run / LAST, values)


def load_last(run: Path, state: State) -> None:
    """Read `run`/last into `state`.

    Raises
    ------
    InputError
        If it is missing or broken, or has other networks.
    """
    path = run / LAST
    values = read_checkpoint(path)
    device = state.random.device
    try:
        for name, network in named_networks(state.networks).items():
            network.load_state_dict(values["networks"][name])
        for name, optimiser in state.optimisers.items():
            optimiser.load_state_dict(values["optimisers"][name])
        for name, buffer in state.buffers.items():
            buffer.load_state_dict(values["buffers"][name], device)
        state.draws.set_state(values["draws"])
        state.random.cpu = values["torch"]
        if device.type == "cuda" and (states := values["cuda"]):
            # Older runs stored the state of each GPU. In a distributed training all ranks have the same state.
            state.random.cuda = states[min(device.index or 0, len(states) - 1)]
        state.step, state.seconds = int(values["step"]), float(values["seconds"])
        if not 0 <= state.step <= _MAX_STEP or not 0 <= state.seconds < math.inf:
            raise ValueError(f"step {state.step:.3g} after {state.seconds:.3g} s")
        state.cpu_seconds = float(values.get("cpu_seconds", 0.0))
        state.sums, state.best = _by_current_name(values["sums"]), _by_current_name(values["best"])
        state.affines = [affine.to(device) for affine in values.get("places", [])]
        state.rejected = [int(number) for number in values.get("rejected", [])]
        state.correlations = [float(number) for number in values.get("correlations", [])]
    except (KeyError, RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise InputError(
            f"{path}: does not fit this run ({str(error).splitlines()[0]}); train again with `overwrite=True`"
        ) from None


def _by_current_name(values: Mapping[str, float]) -> dict[str, float]:
    """Return numbers of terms by the current names of the terms, which older runs do not use."""
    return {RENAMED.get(name, name): value for name, value in values.items()}


def save_best(run: Path, term: str, state: State) -> None:
    """Write the weights of the generators as `run`/best-<term>."""
    networks = state.networks
    saved = networks.generators() | ({} if networks.average is None else {"average": networks.average})
    weights = {name: network.state_dict() for name, network in saved.items()}
    _write(run / f"best-{term}", {"networks": weights, "step": state.step})


class _File:
    """A file for `torch.save` that remembers the error of a write, which torch replaces by one without a reason."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        """Write bytes."""
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        """Write what is buffered."""
        self.file.flush()


def _write(path: Path, values: Mapping[str, object]) -> None:
    """Write a checkpoint atomically.

    Raises
    ------
    OSError
        If it cannot be written, with the reason.
    """
    with atomic_file(path) as temporary, temporary.open("wb") as opened:
        file = _File(opened)
        try:
            torch.save(dict(values), file)  # type: ignore[arg-type]  # torch needs no more of a file
        except RuntimeError:
            if file.error is None:
                raise
            raise OSError(file.error.errno, file.error.strerror, str(path)) from None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read `last` or `best-<term>`: tensors and plain containers only.

    Raises
    ------
    InputError
        If it is missing or broken, or holds anything else.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; the run has not reached it yet, or this is not a run")
    try:
        with warnings.catch_warnings():  # of another protocol than that of torch
            warnings.simplefilter("ignore", UserWarning)
            values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds of errors for a broken archive or a refused class
        raise InputError(f"{path}: broken, or not a checkpoint ({type(error).__name__})") from None
    if not isinstance(values, dict) or "networks" not in values:
        raise InputError(f"{path}: not a checkpoint of tomostain")
    return values
