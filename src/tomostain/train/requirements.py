"""The memory, disk and time that a training needs, estimated before it begins."""

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from tomostain.errors import InputError
from tomostain.memory import format_bytes, free_memory
from tomostain.networks.kernels import accelerate
from tomostain.paths import StrPath
from tomostain.train.cost import StepCost, Work, count_step
from tomostain.train.distributed import DistributedContext
from tomostain.train.recipe import Recipe

# The estimate may be too high by this factor; only certain excess is refused.
_TOLERANCE = 0.8
# Side of the image of a timed convolution, px: enough for all cores of a GPU, quick on a CPU.
_SIDE_PX = {"cpu": 64, "cuda": 256}
# The launch of an operation, s.
_LAUNCH_S = 2e-5


def check_requirements(recipe: Recipe, run: Path, context: DistributedContext, *, resumed: bool) -> None:
    """Check that memory and disk suffice for a training.

    Parameters
    ----------
    recipe : Recipe
    run : Path
    context : DistributedContext
    resumed : bool
        The checkpoint is on the disk already.

    Raises
    ------
    InputError
        Naming what is needed, what is free, and how to need less.
    """
    cost = count_step(recipe, context.size)
    free = free_device_memory(context.device)
    min_bytes = needed_bytes(recipe, cost, _TOLERANCE)
    if free is not None and min_bytes > free:
        raise InputError(
            f"recipe '{recipe.name}': a step needs about {format_bytes(needed_bytes(recipe, cost))} of memory, but "
            f"{format_bytes(free)} are free on {context.device}; lower batch or patch_px, set accumulate or "
            "checkpoint_activations, or use smaller networks",
            parameter="recipe",
        )
    needed, free = disk_bytes(recipe, cost, resumed=resumed), free_disk(run)
    if needed > free:
        raise InputError(
            f"{run}: the run needs about {format_bytes(needed)} on the disk, but {format_bytes(free)} are free; free "
            "some space or give another folder"
        )


def needed_bytes(recipe: Recipe, cost: StepCost, factor: float = 1.0) -> int:
    """Return the memory of a step on the device, bytes. bf16 halves the activations."""
    activations = cost.memory_bytes - cost.state_bytes
    # The patches of a whole batch, before and after augmentation, also where they go through the networks in parts.
    patches = 2 * 4 * recipe.batch * recipe.patch_px**2 * (recipe.ct_channels + 4)
    share = 0.5 if recipe.precision == "bf16-mixed" else 1
    return int(factor * (cost.state_bytes + activations * share + patches))


def disk_bytes(recipe: Recipe, cost: StepCost, *, resumed: bool = False) -> int:
    """Return the space that a run needs: `last`, which is replaced as a whole, the best weights, and the model."""
    buffers = recipe.buffer * recipe.patch_px**2 * 4 * (3 + recipe.in_channels * recipe.needs_reverse)
    last = cost.checkpoint_bytes + buffers * recipe.adversarial
    return last if resumed else 2 * last + (len(recipe.active) + 2) * cost.stored_bytes


def free_device_memory(device: torch.device) -> int | None:
    """Return the free memory of a device, bytes; None if it is not known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return free_memory()


def free_disk(path: StrPath) -> int:
    """Return the free bytes of the disk of `path`, which need not exist."""
    path = Path(path)
    folder = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.is_dir())
    return shutil.disk_usage(folder).free


@dataclass(frozen=True)
class Speed:
    """How fast a device works.

    Attributes
    ----------
    flops : float
        Floating-point operations of convolutions per second.
    written_bytes : float
        Bytes that elementwise operations write per second.
    """

    flops: float
    written_bytes: float

    def seconds(self, work: Work) -> float:
        """Return the time of a piece of work, s."""
        return work.flops / self.flops + work.written_bytes / self.written_bytes + work.operations * _LAUNCH_S


def measure_speed(recipe: Recipe, device: torch.device) -> Speed:
    """Time a convolution of the recipe's width, forwards and backwards, and an elementwise operation.

    Takes about a second. Random numbers of the process are not used.
    """
    side, channels = _SIDE_PX.get(device.type, 64), min(max(_width(recipe), 8), 256)
    dtype = torch.bfloat16 if recipe.precision == "bf16-mixed" else torch.float32
    with torch.device("meta"):
        layers = nn.Sequential(*(nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2)))
    network = layers.to_empty(device=device).to(dtype)
    for weight in network.parameters():
        nn.init.constant_(weight, 0.01)
    if device.type == "cpu" and recipe.kernels == "fast" and dtype == torch.float32:
        network = accelerate(network)
    image = torch.full((1, channels, side, side), 0.5, device=device, dtype=dtype, requires_grad=True)

    def convolve() -> Tensor:
        result: Tensor = network(image).sum()
        result.backward()
        return result

    flops = 2 * 3 * 2 * channels**2 * 9 * side**2
    plain = torch.full((64, 256, 256), 0.5, device=device, dtype=dtype)
    return Speed(
        flops / best_seconds(convolve, device),
        3 * plain.numel() * plain.element_size() / best_seconds(lambda: torch.relu(plain + 1) * 2, device),
    )


def _width(recipe: Recipe) -> int:
    width = recipe.generator.get("width", 64)
    return width if isinstance(width, int) else 64


def best_seconds(compute: Callable[[], object], device: torch.device, repeats: int = 4) -> float:
    """Return the shortest time of a function, s. Its first call is slower: it selects kernels."""
    best = math.inf
    for _ in range(repeats):
        began = time.perf_counter()
        compute()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
    return best
