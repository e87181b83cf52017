"""Paired, interleaved timing in CPU-seconds at one thread, and what a page of results must say of the machine.

Other work on the machine lengthens wall time by whatever share it takes, so that wall time says nothing here.
CPU-seconds suffer less (shared caches and memory remain), and what is left falls on all candidates alike, because they
take turns: what counts is the ratio within a round.
"""

import gc
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Timing:
    """CPU-seconds of one candidate over the rounds, and its speed relative to the first candidate.

    Attributes
    ----------
    median_s, min_s, max_s : float
    ratio, min_ratio, max_ratio : float
        Of the first candidate's CPU-seconds to this one's in the same round: median and range.
    rounds : int
    flop : int
        Floating-point operations by the plain definition (a multiply-add is two); 0 where they were not counted.
    """

    median_s: float
    min_s: float
    max_s: float
    ratio: float
    min_ratio: float
    max_ratio: float
    rounds: int
    flop: int = 0


def paired(
    candidates: Mapping[str, Callable[[], Any]],
    rounds: int,
    *,
    warm: bool = True,
    flop: int | Mapping[str, int] = 0,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, Timing]:
    """Time candidates in turn, round by round.

    Parameters
    ----------
    candidates : mapping of str to callable
        The others are compared with the first.
    rounds : int
    warm : bool
        Call each once beforehand.
    flop : int or mapping of str to int
        Floating-point operations by the definition, of all or of each.
    clock : callable
        `time.process_time`, or something that counts children too.

    Examples
    --------
    >>> ticks = iter([0, 8, 8, 10, 10, 18, 18, 22])
    >>> found = paired({"slow": int, "quick": int}, 2, clock=lambda: next(ticks))
    >>> found["slow"].ratio, found["quick"].ratio, found["quick"].max_ratio
    (1.0, 3.0, 4.0)
    """
    if warm:
        for run in candidates.values():
            run()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            gc.collect()
            began = clock()
            run()
            seconds[name].append(clock() - began)
    first = seconds[next(iter(candidates))]
    results = {}
    for name, spent in seconds.items():
        ratios = [one / other for one, other in zip(first, spent, strict=True)]
        counted = flop if isinstance(flop, int) else flop.get(name, 0)
        results[name] = Timing(
            statistics.median(spent),
            min(spent),
            max(spent),
            statistics.median(ratios),
            min(ratios),
            max(ratios),
            rounds,
            counted,
        )
    return results


def gemm_peak(side: int = 2048, rounds: int = 5) -> float:
    """Return the highest speed of a square float32 matrix product, FLOP per CPU-second."""
    a, b = torch.rand(side, side), torch.rand(side, side)
    spent = paired({"product": lambda: a @ b}, rounds)["product"]
    return 2 * side**3 / spent.min_s


def peak_mb() -> float:
    """Return this process's peak resident memory so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def about() -> dict[str, Any]:
    """Return machine, software, date and commit."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        named = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = f"{named[0]}, {len(named)} cores" if named else model
    try:
        git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
        commit = git.stdout.strip()
    except OSError:  # no git
        commit = ""
    return {
        "machine": model,
        "torch": torch.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "date": str(date.today()),
        "commit": commit,
    }


def about_device(device: str, commit: str = "") -> dict[str, str]:
    """Return the device, its driver, the software, date and commit.

    Parameters
    ----------
    device : {"cpu", "cuda"}
    commit : str
        For a copy without git.
    """
    facts = about()
    described = {"device": facts["machine"]}
    if device == "cuda":
        described = {"device": torch.cuda.get_device_name(), "host": facts["machine"], "driver": _driver()}
        described["cuda"] = str(torch.version.cuda)
    try:
        described |= {"triton": version("triton")}
    except PackageNotFoundError:
        described |= {"triton": "none"}
    return described | {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": str(facts["date"]),
        "commit": commit or str(facts["commit"]) or "unknown",
    }


def _driver() -> str:
    """Return the version of the NVIDIA driver."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.split("\n")[0].strip()


def as_rows(timings: Mapping[str, Timing]) -> list[dict[str, Any]]:
    """Return timings as values for JSON."""
    return [{"name": name, **asdict(timing)} for name, timing in timings.items()]
