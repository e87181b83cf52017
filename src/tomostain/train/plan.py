"""The plan of a training: its steps, time, memory and disk. No step is taken."""

from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import torch

from tomostain.dataset.dataset import Split
from tomostain.dataset.loaded import LoadedDataset, PairSource
from tomostain.memory import format_bytes
from tomostain.networks.tile_invariance import is_tile_invariant
from tomostain.paths import StrPath
from tomostain.train.begin import TrainKeywords, TrainOptions
from tomostain.train.cost import StepCost, count_step
from tomostain.train.default_recipe import choose_recipe
from tomostain.train.distributed import DistributedContext
from tomostain.train.initial_model import InitialModel
from tomostain.train.limits import NO_LIMIT
from tomostain.train.pair_registration import pairs_at_once
from tomostain.train.recipe import Recipe
from tomostain.train.requirements import (
    Speed,
    best_seconds,
    disk_bytes,
    free_device_memory,
    free_disk,
    measure_speed,
    needed_bytes,
)
from tomostain.train.residual_registration import align

# Pairs whose size is read; the others are taken to have their mean size.
_SAMPLED_PAIRS = 5
_MAX_TIMED_PX = 256
# Blended patches overlap by half.
_OVERLAP = 4


def plan_training(dataset: PairSource, *, run: StrPath | None = None, **options: Unpack[TrainKeywords]) -> list[str]:
    """Return a summary of a training, one line per fact: pairs, networks, steps, memory, disk and time.

    The operations of a step are counted on tensors without values, and their time is predicted from a timed
    convolution. This takes seconds for any recipe.

    Parameters
    ----------
    dataset, run, **options
        As for `train_model`.
    """
    chosen = TrainOptions(**options)
    initial = None if chosen.init is None else InitialModel.open(chosen.init)
    choice = choose_recipe(chosen.recipe, device=chosen.device, initial=initial, resumed=run if chosen.resume else None)
    context = DistributedContext(chosen.device)
    recipe = choice.recipe.for_device(context.device, context.size)
    data = LoadedDataset.open(dataset)
    if initial is not None:
        initial.check(recipe)
        initial.warn_about_voxel_size(data.voxel_um, str(data.path))
    context.check_batch(recipe.batch, recipe.accumulate)
    split = data.split(chosen.fold)
    pixels = _pixels(data, split)
    cost, speed = count_step(recipe, context.size), measure_speed(recipe, context.device)
    estimate = _Estimate(recipe, cost, speed, pixels, context)
    steps_per_epoch = recipe.steps_per_epoch(len(split.train))
    total = chosen.limits.total_steps(steps_per_epoch * recipe.epochs)
    held_out = f"pairs:      {len(split.train)} for training, {len(split.validation)} for validation"
    together = (
        f", the first of {context.size} processes with {recipe.batch // context.size} patches each"
        if context.size > 1
        else ""
    )
    terms = ", ".join(f"{name} {weight:g}" for name, weight in recipe.active.items())
    free = free_device_memory(context.device)
    memory = needed_bytes(recipe, cost) + 6 * sum(pixels)
    disk, free_space = disk_bytes(recipe, cost), free_disk(run or Path())
    return [
        f"{held_out}, {len(split.test)} held out",
        f"recipe:     {choice}: {terms}",
        *([] if initial is None else [f"initial:    {initial}"]),
        f"networks:   {cost.parameters / 1e6:.2f} million parameters; `last` takes at least "
        f"{cost.checkpoint_bytes / 1e6:.0f} MB",
        f"device:     {context.device}{together}",
        f"memory:     about {format_bytes(memory)} in addition to the libraries{_of(memory, free)}",
        f"disk:       about {format_bytes(disk)}{_of(disk, free_space)}",
        f"steps:      {'until the time ends' if total == NO_LIMIT else total} of {recipe.batch} patches of "
        f"{recipe.patch_px} px; {steps_per_epoch} per epoch",
        *estimate.lines(chosen, total),
    ]


@dataclass(frozen=True)
class _Estimate:
    """The predicted time of a training."""

    recipe: Recipe
    cost: StepCost
    speed: Speed
    pixels: list[int]
    context: DistributedContext

    def lines(self, options: TrainOptions, total: int) -> list[str]:
        """Return the lines about time and residual registration."""
        step = self.speed.seconds(self.cost.step)
        interval = self.recipe.residual_registration
        pair, at_once = (self._pair_seconds(), pairs_at_once(self.recipe, self.pixels)) if interval else (0.0, 0)
        per_step = step + pair * at_once / (interval or 1) / self.context.size
        limits = [limit for limit in (options.max_seconds, options.max_cpu_seconds) if limit is not None]
        if total == NO_LIMIT:
            seconds = min(limits)
            time_line = f"time:       {duration(seconds)} at most, about {seconds / per_step:.0f} steps"
        else:
            registrations = total // interval if interval else 0
            registered = len(self.pixels) * min(registrations, 1) + at_once * max(registrations - 1, 0)
            seconds = min([step * total + pair * registered / self.context.size, *limits])
            time_line = f"time:       about {duration(seconds)}"
        lines = [f"{time_line} at {step:.2g} s per step, predicted from a timed convolution"]
        if interval:
            lines.append(
                f"registered: {at_once} of {len(self.pixels)} pairs every {interval} steps, about "
                f"{pair * at_once / self.context.size:.2g} s each time"
            )
        return lines

    def _pair_seconds(self) -> float:
        """Return the time in which one pair is stained and registered."""
        recipe, pixels = self.recipe, sum(self.pixels) / len(self.pixels)
        overlap = 1 if is_tile_invariant(recipe.generator_spec()) else _OVERLAP
        stained = self.speed.seconds(self.cost.patch) * pixels / recipe.patch_px**2 * overlap
        side = min(int(pixels**0.5), _MAX_TIMED_PX)
        image = torch.linspace(-1, 1, 3 * side**2, device=self.context.device).reshape(3, side, side)
        pair = image, image.roll(1, -1), torch.ones_like(image[:1]), torch.zeros(2, 3, device=image.device)
        return stained + best_seconds(lambda: align(*pair), self.context.device, repeats=2) * pixels / side**2


def _pixels(data: LoadedDataset, split: Split) -> list[int]:
    """Return the pixels of each training pair, estimated from the first ones."""
    sampled = [data.load(pair_id).mask.size for pair_id in split.train[:_SAMPLED_PAIRS]]
    mean = sum(sampled) // len(sampled) if sampled else 1
    return [*sampled, *[mean] * (len(split.train) - len(sampled))]


def _of(needed: int, free: int | None) -> str:
    if free is None:
        return ""
    return f" ({format_bytes(free)} are free{'' if needed <= free else ': not enough'})"


def duration(seconds: float) -> str:
    """Return a duration as text.

    Examples
    --------
    >>> duration(42), duration(600), duration(9000), duration(10**6)
    ('42 s', '10 min', '2.5 h', '12 days')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"
