"""Everything a run needs to continue to the same bits, in one file; and weights alone for the best of each term.

Files hold tensors and plain containers only and are read with ``weights_only=True``: no pickle of code is ever run.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tomostain.errors import InputError
from tomostain.io.atomic import atomic_file
from tomostain.train.buffer import ImageBuffer
from tomostain.train.objective import Networks

LAST = "last"


@dataclass
class State:
    """The moving parts of a run.

    Attributes
    ----------
    networks : Networks
    optimisers : dict of str to Optimizer
        "generators" and "discriminators".
    buffers : dict of str to ImageBuffer
        "d_y" and "d_x".
    draws : torch.Generator
        Every draw of patches and buffers comes from it.
    step : int
        Steps done.
    seconds : float
        Training time so far.
    sums : dict of str to float
        Sums of the terms over the steps of the epoch that is under way.
    best : dict of str to float
        Least mean of each term over an epoch so far.
    places : list of Tensor (2, 3)
        Where each training pair's histology was laid anew; empty as long as it was not.
    """

    networks: Networks
    optimisers: dict[str, torch.optim.Optimizer]
    buffers: dict[str, ImageBuffer]
    draws: torch.Generator
    step: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    places: list[torch.Tensor] = field(default_factory=list)


def named_networks(networks: Networks) -> dict[str, nn.Module]:
    """Return the networks that exist, by name."""
    others = {name: net for name in ("field", "average") if (net := getattr(networks, name)) is not None}
    return networks.generators() | networks.discriminators() | others


def save_last(run: Path, state: State) -> None:
    """Write `run`/last whole, over the one before."""
    device = next(state.networks.g_xy.parameters()).device
    values = {
        "networks": {name: network.state_dict() for name, network in named_networks(state.networks).items()},
        "optimisers": {name: optimiser.state_dict() for name, optimiser in state.optimisers.items()},
        "buffers": {name: buffer.state_dict() for name, buffer in state.buffers.items()},
        "draws": state.draws.get_state(),
        "torch": torch.get_rng_state(),  # dropout draws from it, on a GPU from the GPU's own
        "cuda": [torch.cuda.get_rng_state(device)] if device.type == "cuda" else [],
        "step": state.step,
        "seconds": state.seconds,
        "sums": state.sums,
        "best": state.best,
        "places": state.places,
    }
    with atomic_file(run / LAST) as temporary, temporary.open("wb") as file:
        torch.save(values, file)


def load_last(run: Path, state: State) -> None:
    """Put the state of `run`/last into `state`.

    Raises
    ------
    InputError
        If there is none, or it is broken or of other networks.
    """
    path = run / LAST
    values = read_checkpoint(path)
    try:
        for name, network in named_networks(state.networks).items():
            network.load_state_dict(values["networks"][name])
        for name, optimiser in state.optimisers.items():
            optimiser.load_state_dict(values["optimisers"][name])
        device = next(state.networks.g_xy.parameters()).device
        for name, buffer in state.buffers.items():
            buffer.load_state_dict(values["buffers"][name], device)
        state.draws.set_state(values["draws"])
        torch.set_rng_state(values["torch"])
        if device.type == "cuda" and (states := values["cuda"]):
            # Runs of before kept one for each GPU. In a team all have the same, each on its own GPU.
            torch.cuda.set_rng_state(states[min(device.index or 0, len(states) - 1)], device)
        state.step, state.seconds = int(values["step"]), float(values["seconds"])
        state.sums, state.best = dict(values["sums"]), dict(values["best"])
        state.places = [place.to(device) for place in values.get("places", [])]
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: does not fit this run ({str(error).splitlines()[0]}); train anew with --overwrite"
        ) from None


def save_best(run: Path, term: str, state: State) -> None:
    """Write the generators' weights as `run`/best-<term>."""
    networks = state.networks
    kept = networks.generators() | ({"average": networks.average} if networks.average is not None else {})
    weights = {name: network.state_dict() for name, network in kept.items()}
    with atomic_file(run / f"best-{term}") as temporary, temporary.open("wb") as file:
        torch.save({"networks": weights, "step": state.step}, file)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read `last` or `best-<term>`: tensors and plain containers only.

    Raises
    ------
    InputError
        If it is missing or broken, or holds anything else.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; the run has not got that far, or this is no run")
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken zip, a refused class: torch has many words for it
        raise InputError(f"{path}: broken, or not a checkpoint ({type(error).__name__})") from None
    if not isinstance(values, dict) or "networks" not in values:
        raise InputError(f"{path}: not a checkpoint of tomostain")
    return values
