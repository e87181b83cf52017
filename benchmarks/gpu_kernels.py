"""What a training step launches: kernels and their time on a card, operators and waits on the host."""

import statistics
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_items import Item, Options, Row
from benchmarks.gpu_size import Size
from benchmarks.gpu_training import PLAIN, recipe_of, seconds_of, trainer_of
from tests.support.operators import count_operators

RECIPES = ("paired-cyclegan", "tomostain", "pix2pix", "lean")
PROFILED_STEPS = 3
TOP = 12
_TRANSFERS = ("Memcpy", "Memset")


def kernels(size: Size, options: Options) -> Sequence[Item]:
    """Return the steps at the defaults of a card, and the operators of the plain ones."""
    batch = size.batches[0]
    names = RECIPES[:2] if size.toy else RECIPES
    return [
        *(Item(f"kernels of {name}", partial(_kernels, name, batch, size)) for name in names),
        *(Item(f"operators of {name}, plain", partial(_operators, name, batch, size)) for name in names[:2]),
    ]


def _warm(name: str, batch: int, size: Size, **changes: object) -> Callable[[], object]:
    """Return a step whose first calls are over."""
    trainer = trainer_of(recipe_of(name, size, batch, **changes), size)
    for _ in range(size.warm_steps):
        trainer.take_step()
    size.synchronise()
    return trainer.take_step


def _kernels(name: str, batch: int, size: Size) -> Iterator[Row]:
    step = _warm(name, batch, size)
    if size.device != "cuda":  # a CPU has operators, which contain one another in a profile
        operators = count_operators(partial(_several, step, PROFILED_STEPS)).total / PROFILED_STEPS
        yield {"name": name, "batch": batch, "operators_a_step": operators}
        return
    yield {"name": name, "batch": batch, "waits_a_step": waits(step)}
    wall = statistics.median(seconds_of(partial(_several, step, size.steps), size) for _ in range(2)) / size.steps
    with profile(activities={ProfilerActivity.CPU, ProfilerActivity.CUDA}) as profiled:
        _several(step, PROFILED_STEPS)
        size.synchronise()
    yield from _summary(name, batch, wall, list(profiled.events() or []))


def _several(step: Callable[[], object], number: int) -> None:
    for _ in range(number):
        step()


def _summary(name: str, batch: int, wall_s: float, events: list[Any]) -> Iterator[Row]:
    """Yield the number of kernels, the busy share and the kernels that take the longest."""
    device = [event for event in events if event.device_type == DeviceType.CUDA and not _is_annotation(event)]
    spans = [(event.time_range.start, event.time_range.end) for event in device]
    busy_ms = covered(spans) / 1000 / PROFILED_STEPS
    launched = [event for event in device if not event.name.startswith(_TRANSFERS)]
    yield {
        "name": name,
        "batch": batch,
        "ms": 1000 * wall_s,
        "kernels_a_step": len(launched) / PROFILED_STEPS,
        "copies_a_step": (len(device) - len(launched)) / PROFILED_STEPS,
        "busy_ms": busy_ms,
        "busy_share": busy_ms / (1000 * wall_s),
    }
    times, number = Counter[str](), Counter[str]()
    for event in device:
        times[event.name] += event.time_range.end - event.time_range.start
        number[event.name] += 1
    for kernel, microseconds in times.most_common(TOP):
        yield {
            "name": name,
            "kernel": kernel[:100],
            "kernel_ms": microseconds / 1000 / PROFILED_STEPS,
            "launches": number[kernel] / PROFILED_STEPS,
        }


def _is_annotation(event: Any) -> bool:
    return bool(getattr(event, "is_user_annotation", False)) or event.name.startswith(("ProfilerStep", "Optimizer."))


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Return the length of the union of intervals.

    Examples
    --------
    >>> covered([(0, 2), (1, 3), (5, 6)])
    4.0
    """
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def waits(step: Callable[[], object], steps: int = 10) -> float:
    """Return how often the host waits for a card in a step: of ten steps, so that the losses are read once."""
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            _several(step, steps)
        finally:
            torch.cuda.set_sync_debug_mode(mode)
    return sum("called a synchronizing" in str(warning.message) for warning in seen) / steps


def _operators(name: str, batch: int, size: Size) -> Row:
    """Count the operators of ten plain steps."""
    step = _warm(name, batch, size, **PLAIN)
    counted = count_operators(partial(_several, step, 10))
    return {
        "name": f"{name}, plain",
        "batch": batch,
        "operators_a_step": counted.total / 10,
        "host_reads_a_step": counted.synchronisations / 10,
    }
