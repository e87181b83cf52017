"""Measure the speed of tomostain on a GPU, and run the tests that need one.

    python -m benchmarks.gpu OUT [--peer PATH] [--only training staining …]

OUT is a folder: `gpu.json`, `gpu.md` (tables) and `gpu.log`, written after each measurement. The parts run in order of
importance, each within its time limit. A part that fails is recorded with its error, and the rest runs.
Without a GPU the same runs at toy size. This shows that it works, and measures nothing.

--peer is a checkout of https://github.com/eriklindernoren/PyTorch-GAN.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from benchmarks.gpu_deviation import deviation
from benchmarks.gpu_items import Item, Journal, Options, Part, started_items, work
from benchmarks.gpu_kernels import kernels
from benchmarks.gpu_peer import peer
from benchmarks.gpu_pytest import card_tests
from benchmarks.gpu_report import tables, write_results
from benchmarks.gpu_size import CARD, TOY, Size, size_here
from benchmarks.gpu_training import plain, sampler, training
from benchmarks.measure import about_device


def _of_module(name: str, size: Size, options: Options) -> Sequence[Item]:
    """Return the part that `benchmarks.gpu_<name>` measures."""
    module = f"benchmarks.gpu_{name}"
    if find_spec(module) is None:
        return []
    measure: Callable[[Size], object] = import_module(module).measure
    return [Item(name, partial(measure, size))]  # type: ignore[arg-type]


# In this order. First come the figures that no card has shown to be reached.
PARTS: dict[str, Part] = {
    "sampler": sampler,
    "volume": partial(_of_module, "volume"),
    "training": training,
    "staining": partial(_of_module, "staining"),
    "registration": partial(_of_module, "registration"),
    "deviation": deviation,
    "peer": peer,
    "tests": card_tests,
    "kernels": kernels,
    "layers": partial(_of_module, "layers"),
    "plain": plain,
}
# Seconds; together at most TOTAL_S. An item that is under way at the limit has GRACE_S to end.
LIMITS = {
    "sampler": 5.0,
    "volume": 40.0,
    "training": 65.0,
    "staining": 20.0,
    "registration": 30.0,
    "deviation": 20.0,
    "peer": 20.0,
    "tests": 60.0,
    "kernels": 20.0,
    "layers": 10.0,
    "plain": 10.0,
}
GRACE_S = 30.0
# An item takes no longer, but for those that are a part as a whole.
ITEM_S = 60.0
TOTAL_S = 300.0
POLL_S = 0.2


@dataclass(frozen=True)
class Run:
    """A run of the benchmark: its parts, its time limit and its output."""

    out: Path
    parts: Sequence[str]
    size: Size
    total_s: float
    commit: str
    peer: Path | None

    @property
    def journal(self) -> Journal:
        """The events so far."""
        return Journal(self.out / "gpu.jsonl")

    def command(self, parts: Sequence[str], seconds: float) -> list[str]:
        """Return the command that measures parts in a separate process."""
        peer = [] if self.peer is None else ["--peer", str(self.peer)]
        about = ["--size", self.size.name, "--seconds", f"{seconds:.0f}", *peer]
        return [sys.executable, "-m", "benchmarks.gpu", str(self.out), "--only", *parts, *about, "--here"]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the results; those of an earlier run are replaced")
    parser.add_argument("--peer", type=Path, help="checkout of PyTorch-GAN")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--seconds", type=float, default=TOTAL_S, help="time limit of the whole run (default: 300)")
    parser.add_argument("--commit", default="", help="commit that is measured, if git is not available")
    parser.add_argument("--size", choices=("auto", "card", "toy"), default="auto", help=argparse.SUPPRESS)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 1 if nothing was measured."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    size = {"auto": size_here, "card": lambda: CARD, "toy": lambda: TOY}[options.size]()
    run = Run(options.out, options.only, size, options.seconds, options.commit, options.peer)
    if options.here:
        chosen = {name: PARTS[name] for name in run.parts}
        about = Options(options.peer, LIMITS["tests"], time.time() + run.total_s, run.out)
        work(chosen, LIMITS, size, about, run.journal)
        return 0
    run.out.mkdir(parents=True, exist_ok=True)
    for name in ("gpu.jsonl", "gpu.log", "gpu.json", "gpu.md", "tests.log"):
        (run.out / name).unlink(missing_ok=True)
    supervise(run)
    print(tables(json.loads((run.out / "gpu.json").read_text(encoding="utf-8"))))
    return 0 if any(event["event"] == "row" for event in run.journal.read()) else 1


def supervise(run: Run) -> None:
    """Start a process for all parts; where it dies or is stopped, another one for the rest."""
    began, about = time.monotonic(), about_device(run.size.device, run.commit) | {"size": run.size.name}
    waiting = list(run.parts)
    while waiting:
        left = run.total_s - (time.monotonic() - began)
        if left <= 0:
            for part in waiting:
                run.journal.write(event="error", part=part, item="", error=f"{run.total_s:.0f} s are over")
            break
        known = len(started_items(run.journal.read()))
        _attend(run, waiting, left, about)
        ended = {event["part"] for event in run.journal.read() if event["event"] == "part ended"}
        waiting = [part for part in waiting if part not in ended]
        if waiting and len(started_items(run.journal.read())) == known:
            # It died before any measurement: the next process would do the same.
            part = waiting.pop(0)
            run.journal.write(event="error", part=part, item="", error="the process ended early; see gpu.log")
    write_results(run.out, run.journal.read(), about)


def _attend(run: Run, parts: Sequence[str], left: float, about: dict[str, str]) -> None:
    """Run one process until it ends, an item takes too long, or the time is over."""
    ends = time.monotonic() + left
    with (run.out / "gpu.log").open("ab") as log:
        # A separate group, so that its children end with it.
        command = run.command(parts, left)
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        written = -1
        while process.poll() is None:
            time.sleep(POLL_S)
            events = run.journal.read()
            if len(events) != written:
                written = len(events)
                write_results(run.out, events, about)
            reason = f"{run.total_s:.0f} s are over" if time.monotonic() > ends else overdue(events)
            if reason:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                _record_end(run, f"stopped: {reason}")
                return
    if process.returncode:
        _record_end(run, f"the process ended with {process.returncode}; see gpu.log")


def _record_end(run: Run, reason: str) -> None:
    """Record what the item under way ended with."""
    events = run.journal.read()
    under_way = started_items(events) - {(e["part"], e["item"]) for e in events if e["event"] in ("ended", "error")}
    for part, item in under_way:
        run.journal.write(event="error", part=part, item=item, error=reason)


def overdue(events: Sequence[dict[str, object]]) -> str:
    """Return why the item under way must be stopped; empty if it may continue."""
    # An item that was stopped has an error and no end: the next process must not be stopped for it.
    kinds = ("started", "ended", "error", "part ended")
    last = next((event for event in reversed(events) if event["event"] in kinds), None)
    if last is None or last["event"] != "started":
        return ""
    part = str(last["part"])
    first = next(event for event in events if event["event"] == "started" and event["part"] == part)
    whole, item = (time.time() - float(str(event["time"])) for event in (first, last))
    if whole > LIMITS[part] + GRACE_S:
        return f"the part took {whole:.0f} s"
    return f"it took {item:.0f} s" if item > max(ITEM_S, LIMITS[part] / 2) and part != "tests" else ""


if __name__ == "__main__":
    sys.exit(main())
