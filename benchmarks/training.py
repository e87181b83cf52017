"""A training step of the paper's networks: fast kernels and bfloat16 against torch's own kernels."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.measure import as_rows, paired
from benchmarks.sampling import random_pair
from tomostain.dataset.dataset import load_dataset
from tomostain.dataset.writer import save_dataset
from tomostain.memory import keep_freed_memory
from tomostain.train import Recipe, Trainer, load_recipe


def our_step(patch: int, **changes: str) -> Callable[[], Any]:
    """Return `Trainer.take_step` with the paper's networks and eq. (4), one patch per batch."""
    values = load_recipe("cyclegan").model_dump() | {"patch_px": patch, "batch": 1} | changes
    with TemporaryDirectory() as folder:
        data = save_dataset(Path(folder) / "dataset", [random_pair(n, 512) for n in range(2)], test=[], folds=[])
        return Trainer(Recipe.from_dict(values), load_dataset(data.path), None, 0, "cpu").take_step


def our_steps(patch: int) -> dict[str, Callable[[], Any]]:
    """Return the steps that this processor can take."""
    steps = {"tomostain, plain kernels": our_step(patch, kernels="plain"), "tomostain": our_step(patch)}
    if torch.cpu.get_capabilities().get("amx_bf16"):
        steps["tomostain, precision: bf16-mixed"] = our_step(patch, precision="bf16-mixed")
    return steps


def measure(rounds: int, patch: int = 128) -> dict[str, Any]:
    """Time the steps in turn."""
    keep_freed_memory()  # as the command line does
    return {"patch_px": patch, "timings": as_rows(paired(our_steps(patch), rounds))}
