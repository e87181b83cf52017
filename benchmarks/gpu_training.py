"""Training steps on a card: time, memory and share of the peak, and patches of the sampler."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch

from benchmarks.gpu_items import Item, Options, Row
from benchmarks.gpu_size import Size
from benchmarks.sampling import random_pair
from tests.support.training import tiny_recipe
from tomostain.train import Augment, LoadedDataset, PatchSampler, Recipe, Trainer, load_recipe
from tomostain.train.cost import count_step

# The plain step: single precision, no compilation.
PLAIN = {"precision": "32-true", "compile": False}
# The number of recipes with wanted figures; they are measured at all batch sizes before the others.
_WANTED = 3


def recipe_of(name: str, size: Size, batch: int, **changes: object) -> Recipe:
    """Return a recipe with its defaults for a card; at toy size with small networks and patches."""
    sizes: dict[str, Any] = {"batch": batch, "patch_px": size.patch_px}
    if size.toy:
        return tiny_recipe(name, **sizes | changes)
    return Recipe.from_dict(load_recipe(name).model_dump() | sizes | changes)


def trainer_of(recipe: Recipe, size: Size) -> Trainer:
    """Return the training of a recipe on random pairs in memory."""
    data = LoadedDataset.from_pairs([random_pair(number, size.pair_px) for number in range(size.pairs)])
    return Trainer(recipe, data, None, 0, size.device)


def seconds_of(run: Callable[[], object], size: Size) -> float:
    """Return the wall time of a call until the device has done its work."""
    size.synchronise()
    began = time.perf_counter()
    run()
    size.synchronise()
    return time.perf_counter() - began


def time_steps(step: Callable[[], object], size: Size) -> Row:
    """Return the times of the first steps, and the median time of a step over blocks of steps without a wait."""
    first = [seconds_of(step, size) for _ in range(size.warm_steps)]
    steps = max(1, min(size.steps, int(size.block_s / first[-1])))

    def block() -> None:
        for _ in range(steps):
            step()

    times = [seconds_of(block, size) / steps for _ in range(size.blocks)]
    return {
        "ms": 1000 * statistics.median(times),
        "min_ms": 1000 * min(times),
        "max_ms": 1000 * max(times),
        "steps_in_a_block": steps,
        "first_step_s": first[0],
        "first_steps_s": sum(first),
        "warm_steps": len(first),
    }


def peak_gb(size: Size) -> float | None:
    """Return the peak memory of the device, GB; None for a CPU."""
    return torch.cuda.max_memory_allocated() / 1e9 if size.device == "cuda" else None


def product_flop_s(size: Size) -> float:
    """Return the speed of a square bf16 matrix product of random numbers, FLOP/s."""
    a, b = (torch.randn(size.product, size.product, device=size.device).bfloat16() for _ in range(2))
    run = partial(torch.mm, a, b)
    for _ in range(3):
        run()

    def several() -> None:
        for _ in range(10):
            run()

    seconds = statistics.median(seconds_of(several, size) / 10 for _ in range(3))
    return 2 * size.product**3 / seconds


def measure_step(name: str, batch: int, size: Size, changes: dict[str, Any], peak: Callable[[], float]) -> Row:
    """Time the step of a recipe."""
    recipe = recipe_of(name, size, batch, **changes)
    built = time.perf_counter()
    trainer = trainer_of(recipe, size)
    build_s = time.perf_counter() - built
    timed = time_steps(trainer.take_step, size)
    row = {"name": name, "batch": batch, "precision": trainer.recipe.precision, "compile": str(trainer.recipe.compile)}
    losses = trainer.take_step()
    # None where the step is launched plainly because it cannot be a graph.
    row["graph"] = getattr(trainer._run_step, "_graph", None) is not None
    row |= timed | {"samples_s": 1000 * batch / timed["ms"], "peak_gb": peak_gb(size), "build_s": build_s}
    # Counted at the smallest batch, by the operators of the plain step.
    flop = count_step(recipe_of(name, size, size.batches[0], **PLAIN)).step.flops * batch / size.batches[0]
    flop_s = flop / (timed["ms"] / 1000)
    return row | {
        "tflop": flop / 1e12,
        "of_peak": flop_s / peak(),
        "finite": all(abs(value) < float("inf") for value in losses.values()),
    }


class _Peak:
    """The speed of the matrix product, measured once."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self.flop_s = 0.0

    def __call__(self) -> float:
        self.flop_s = self.flop_s or product_flop_s(self.size)
        return self.flop_s

    def row(self) -> Row:
        """Return it as a row."""
        return {"name": f"bf16 matrix product {self.size.product}^3", "tflop_s": self() / 1e12}


def training(size: Size, options: Options) -> Sequence[Item]:
    """Return the steps at the defaults of a card."""
    peak = _Peak(size)
    items = [Item("product", peak.row)]
    for recipes in (size.recipes[:_WANTED], size.recipes[_WANTED:]):
        for batch in size.batches:
            for name in recipes:
                items.append(Item(f"{name}, batch {batch}", partial(measure_step, name, batch, size, {}, peak)))
    return items


def plain(size: Size, options: Options) -> Sequence[Item]:
    """Return the same steps in single precision without compilation, for comparison."""
    peak = _Peak(size)
    return [
        Item(f"{name}, batch {batch}", partial(measure_step, name, batch, size, PLAIN, peak))
        for batch in size.batches
        for name in size.recipes
    ]


def sampler(size: Size, options: Options) -> Sequence[Item]:
    """Return the patches of the sampler."""
    return [Item("sampler", partial(_sampled, size))]


def _sampled(size: Size) -> Iterator[Row]:
    pairs = [random_pair(number, size.pair_px) for number in range(size.pairs)]
    for batch in size.sampler_batches:
        cut = PatchSampler(pairs, patch_px=size.patch_px, batch=batch, augment=Augment(), device=size.device)
        draws = torch.Generator().manual_seed(0)
        timed = time_steps(partial(cut.draw, draws), size)
        milliseconds = timed["ms"]
        yield {"name": "sampler", "batch": batch, "ms": milliseconds, "patches_s": 1000 * batch / milliseconds}
