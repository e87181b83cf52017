"""What a part of the GPU benchmark is made of, and the process that measures the parts.

The process writes one line of JSON to a file at each start and end. `benchmarks.gpu` reads the file. Where the process
dies or an item takes too long, `benchmarks.gpu` starts another one that leaves out what the file holds.
"""

import gc
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_size import Size

Row = dict[str, Any]
"""A row of a table: column to value."""

MAX_ERROR = 2000


@dataclass(frozen=True)
class Item:
    """One measurement: a function that returns rows, or yields them as they are measured."""

    name: str
    measure: Callable[[], Row | Iterable[Row]]


@dataclass(frozen=True)
class Options:
    """Options of the parts in addition to the size.

    Attributes
    ----------
    peer : Path or None
        Checkout of PyTorch-GAN.
    test_s : float
        Time limit of the GPU tests.
    ends : float
        Time, as by `time.time`, at which the process is stopped.
    out : Path
        Folder for logs.
    """

    peer: Path | None = None
    test_s: float = 120.0
    ends: float = float("inf")
    out: Path = Path()


Part = Callable[[Size, Options], Sequence[Item]]


class Journal:
    """A file of events, one JSON object a line.

    Events: "started" and "ended" of a part's item, "row" and "error".
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, **event: object) -> None:
        """Append an event."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event | {"time": time.time()}, default=str) + "\n")

    def read(self) -> list[Row]:
        """Return the events so far. A line that is not complete yet is left out."""
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").split("\n")[:-1]
        return [json.loads(line) for line in lines if line]


def started_items(events: Iterable[Row]) -> set[tuple[str, str]]:
    """Return the items that were started."""
    return {(str(event["part"]), str(event["item"])) for event in events if event["event"] == "started"}


class DeviceLostError(RuntimeError):
    """The device only returns errors. Only a new process can continue."""


def work(
    parts: Mapping[str, Part], limits: Mapping[str, float], size: Size, options: Options, journal: Journal
) -> None:
    """Measure the items of all parts that the journal does not hold."""
    for name, part in parts.items():
        done, part_began = started_items(journal.read()), _part_began(journal.read(), name)
        for item in _items(name, part, size, options, journal):
            if (name, item.name) in done:
                continue
            if time.time() - part_began > limits[name]:
                journal.write(event="started", part=name, item=item.name)
                _fail(journal, name, item, f"the part's {limits[name]:.0f} s are over")
                continue
            journal.write(event="started", part=name, item=item.name)
            _measure(name, item, size, journal)
            _free(size)
        journal.write(event="part ended", part=name)


def _items(name: str, part: Part, size: Size, options: Options, journal: Journal) -> Sequence[Item]:
    try:
        return part(size, options)
    except Exception as error:  # its module cannot be imported
        _fail(journal, name, Item("", dict), f"{type(error).__name__}: {error}", traceback.format_exc())
        return []


def _part_began(events: Sequence[Row], part: str) -> float:
    times = [event["time"] for event in events if event.get("part") == part and event["event"] == "started"]
    return times[0] if times else time.time()


def _measure(part: str, item: Item, size: Size, journal: Journal) -> None:
    began = time.perf_counter()
    try:
        for row in _rows(item.measure()):
            journal.write(event="row", part=part, item=item.name, row=row)
    except Exception as error:  # each item stands for itself: the others are measured in any case
        _fail(journal, part, item, f"{type(error).__name__}: {error}", traceback.format_exc())
        if size.device == "cuda" and isinstance(error, RuntimeError):
            _check_device(size)
    journal.write(event="ended", part=part, item=item.name, seconds=time.perf_counter() - began)


def _rows(result: Row | Iterable[Row]) -> Iterator[Row]:
    return iter([result]) if isinstance(result, dict) else iter(result)


def _fail(journal: Journal, part: str, item: Item, message: str, trace: str = "") -> None:
    journal.write(
        event="error", part=part, item=item.name, error=message[:MAX_ERROR], traceback=trace[-2 * MAX_ERROR :]
    )


def _check_device(size: Size) -> None:
    """Raise DeviceLostError if even an addition fails after an error."""
    try:
        torch.ones(1, device=size.device).add(1).item()
        size.synchronise()
    except RuntimeError as error:
        raise DeviceLostError(str(error)) from error


def _free(size: Size) -> None:
    """Give back the memory of the last item."""
    gc.collect()
    if "torch._dynamo" in sys.modules:  # otherwise nothing was compiled, and the import takes seconds
        torch.compiler.reset()
        gc.collect()
    if size.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
