"""Optimiser steps that do not wait for the device: fused Adam that leaves out bad gradients, and a running average."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn


def adam(values: Sequence[nn.Parameter], learning_rate: float, betas: tuple[float, float]) -> torch.optim.Adam:
    """Return Adam as one operator for all weights (Kingma and Ba 2015, arXiv:1412.6980)."""
    return torch.optim.Adam(values, lr=learning_rate, betas=betas, fused=True)


def step_if_finite(optimiser: torch.optim.Optimizer, max_norm: float) -> Tensor:
    """Clip the norm of all gradients, and take a step; where the norm is not finite, take none.

    The device decides, and the host does not wait. A step that is not taken changes neither weights nor moments nor the
    number of steps.

    Parameters
    ----------
    optimiser : Optimizer
        From `adam`, or the wrapper of Fabric around it.
    max_norm : float
        The norm to which larger gradients are scaled; infinity: not scaled.

    Returns
    -------
    Tensor of float32, shape ()
        1 if the step was not taken, else 0; on the device.
    """
    # Fabric's wrapper has the optimiser; torch's gradient scaler sets the same attribute of fused optimisers.
    fused = cast(Any, find_optimiser(optimiser))
    values = [value for group in optimiser.param_groups for value in group["params"]]
    gradients = [value.grad for value in values if value.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if max_norm < float("inf"):
        nn.utils.clip_grads_with_norm_(values, max_norm, norm)
    is_skipped = fused.found_inf = norm.isfinite().logical_not().to(torch.float32)
    try:
        optimiser.step()
    finally:
        del fused.found_inf
    return is_skipped


@torch.no_grad()
def update_average(means: Sequence[Tensor], values: Sequence[Tensor], weight: float | Tensor) -> None:
    """Move each mean towards its value: m ← m + weight (v - m), as one operator, or three with a weight on the device.

    Parameters
    ----------
    means, values : sequence of Tensor
    weight : float or Tensor
        0 to 1. A tensor has no axes and is on the device of the values.
    """
    if isinstance(weight, Tensor):
        differences = torch._foreach_sub(list(values), list(means))
        torch._foreach_mul_(differences, weight)
        torch._foreach_add_(list(means), differences)
    else:
        torch._foreach_lerp_(list(means), list(values), weight)


def find_optimiser(optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Return the optimiser itself, without the wrapper of Fabric."""
    return cast(torch.optim.Optimizer, getattr(optimiser, "optimizer", optimiser))
