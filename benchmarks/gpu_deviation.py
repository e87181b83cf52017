"""The largest deviation of a card from a CPU: losses of ten steps, gradients of the first, and stained bytes.

A machine without a card compares its fast kernels with those of torch.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu_items import Item, Options, Row
from benchmarks.gpu_size import Size
from tests.support.toys import grey_values, toy_model
from tests.support.training import DROPOUT, REGISTERED, RESIDUAL, toy_pair, toy_recipe
from tomostain.imaging.intensity import IntensityReference
from tomostain.stain import StainConfig, load_stainer
from tomostain.train import LoadedDataset, Recipe, Trainer

STEPS = 10
# Adam makes a step of this size of any rounding of a small gradient.
LEARNING_RATE = 1e-4
OBJECTIVES: dict[str, dict[str, Any]] = {
    "cycles": {},
    "conditional": DROPOUT | {"generator": {"name": "unet", "width": 2, "downs": 4, "dropout": 0.0}},
    "registered": REGISTERED,
    "residual": RESIDUAL,
}
NETWORKS: dict[str, dict[str, Any]] = {
    "resnet": {"name": "resnet", "in_channels": 1, "width": 16, "blocks": 2},
    "unet, channel norm": {"name": "unet", "in_channels": 1, "width": 16, "downs": 4, "norm": "channel"},
}


@contextmanager
def single_precision() -> Iterator[None]:
    """Switch TF32 off: a card then multiplies in float32, as a CPU does."""
    products, convolutions = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = products, convolutions


def deviation(size: Size, options: Options) -> Sequence[Item]:
    """Return the comparisons."""
    return [
        # The steps take longer, so a busy machine may measure only some of them.
        *(Item(f"stained, {name}", partial(_stained, name, network, size)) for name, network in NETWORKS.items()),
        *(Item(f"steps, {name}", partial(_steps, name, changes, size)) for name, changes in OBJECTIVES.items()),
    ]


def steps_of(recipe: Recipe, device: str) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
    """Return the losses of the steps, and the gradients of the generators in the first one."""
    data = LoadedDataset.from_pairs([toy_pair("a", 0), toy_pair("b", 1)])
    trainer = Trainer(recipe, data, None, 0, device)
    losses, gradients = [trainer.take_step()], {}
    for name, network in trainer.state.networks.optimised("generators").items():
        for key, value in network.named_parameters():
            if value.grad is not None:
                gradients[f"{name}.{key}"] = value.grad.detach().cpu().clone()
    losses += [trainer.take_step() for _ in range(STEPS - 1)]
    return [dict(each) for each in losses], gradients


def _steps(name: str, changes: dict[str, Any], size: Size) -> Row:
    recipe = toy_recipe(**changes, precision="32-true", learning_rate=LEARNING_RATE)
    reference = recipe.model_copy(update={"kernels": "plain"}) if size.device == "cpu" else recipe
    with single_precision():
        losses, gradients = steps_of(recipe, size.device)
        expected, expected_gradients = steps_of(reference, "cpu")
    apart = [
        max(abs(mine[key] - other[key]) / max(abs(other[key]), 1e-3) for key in other)
        for mine, other in zip(losses, expected, strict=True)
    ]
    both = [(gradients[key], gradient) for key, gradient in expected_gradients.items() if key in gradients]
    largest = max((float((mine - other).abs().max()) for mine, other in both), default=None)
    scale = max((float(other.abs().max()) for _, other in both), default=None)
    return {
        "name": f"ten steps, {name}",
        "loss_1": apart[0],
        "loss_10": apart[-1],
        "largest_loss": max(apart),
        "largest_gradient": largest / scale if largest is not None and scale else None,
        "gradients": len(both),
    }


def _stained(name: str, network: dict[str, Any], size: Size) -> Iterator[Row]:
    ct = grey_values((size.slice_px, size.slice_px), sigma=3.0)
    levels = IntensityReference(background=100.0, bone=900.0)
    with TemporaryDirectory() as folder, single_precision():
        model = toy_model(Path(folder) / "model", network)
        expected = load_stainer(model, device="cpu", config=StainConfig(precision="float32"))(ct, intensity=levels)
        precisions = ("float32", "float16") if size.device == "cuda" else ("float32", "bfloat16")
        for precision in precisions:
            stainer = load_stainer(model, device=size.device, config=StainConfig(precision=precision))
            apart = np.abs(stainer(ct, intensity=levels).astype(int) - expected.astype(int))
            yield {
                "name": f"stained, {name}",
                "precision": precision,
                "largest_grey_levels": int(apart.max()),
                "mean_grey_levels": float(apart.mean()),
                "differ": float((apart > 0).mean()),
                "range": int(np.ptp(expected)),
            }
