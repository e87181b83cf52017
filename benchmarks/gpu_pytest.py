"""The tests that need a card, in a separate process."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.gpu_items import Item, Options, Row
from benchmarks.gpu_size import Size

# With several processes "[gw0] [ 50%] PASSED tests/a.py::b"; with one "tests/a.py::b PASSED [ 50%]".
_SEVERAL = re.compile(r"\[gw\d+\] \[ *\d+%\] (?P<outcome>PASSED|FAILED|ERROR|SKIPPED) (?P<test>.+)")
_ONE = re.compile(r"(?P<test>tests/.+?) (?P<outcome>PASSED|FAILED|ERROR|SKIPPED)\b")
_BLOCK = re.compile(r"____ (?P<test>tests/.+) ____$")
_LAST_LINES = 60
_PROCESSES = min(12, max(1, (os.cpu_count() or 1) - 2))
_TO_STOP_S = 10.0
_POLL_S = 0.5
_LONG = ("test_register_device", "test_train_memory_options", "test_train_gpu", "test_stain_gpu")


def card_tests(size: Size, options: Options) -> Sequence[Item]:
    """Return the run of the tests. Without a card it is one file, whose tests are skipped."""
    return [Item("pytest -m gpu", partial(_run, size, options))]


def files_with_gpu_tests(root: Path = Path("tests")) -> list[str]:
    """Return the test files that use the marker, those with long tests first. The others need not be imported."""
    paths = sorted(path for path in root.rglob("test_*.py") if "mark.gpu" in path.read_text(encoding="utf-8"))
    return [str(path) for path in sorted(paths, key=lambda path: path.stem not in _LONG)]


def _run(size: Size, options: Options) -> Iterator[Row]:
    limit_s = min(options.test_s, options.ends - time.time() - _TO_STOP_S - 2)
    if limit_s < _TO_STOP_S:
        raise TimeoutError(f"{max(limit_s, 0):.0f} s are left for the tests; raise --seconds")
    files = files_with_gpu_tests()
    if size.toy:
        files = [path for path in files if path.endswith("test_conftest.py")]
    plain = [
        "-o",
        "addopts=--strict-markers",
        "-p",
        "no:cacheprovider",
        "-p",
        "benchmarks.gpu_failures",
        "-v",
        "-rfE",
        "--tb=short",
        "--durations=10",
    ]
    # In several processes: the host takes most of the time, and an error of the device stops only one of them.
    several = ["-n", str(_PROCESSES), "--dist", "worksteal"] if find_spec("xdist") and not size.toy else []
    began = time.perf_counter()
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pytest", "-m", "gpu", f"--basetemp={folder}/tests", *plain, *several, *files]
        output, ended = run_limited(command, limit_s, options.out / "tests.log")
    counts, failures = read_outcomes(output)
    yield {"name": "tests", **counts, "seconds": time.perf_counter() - began, "ended": ended}
    for test, lines in failures.items():
        yield {"name": "failed", "test": test, "reason": _reason(lines)}
    if failures:
        blocks = [line for test, lines in failures.items() for line in (test, *lines[-_LAST_LINES:])]
        yield {"name": "failures", "output": "\n".join(blocks)}
    elif not ended or not counts.get("passed"):
        yield {"name": "last lines", "output": "\n".join(output.splitlines()[-_LAST_LINES:])}


def run_limited(command: Sequence[str], limit_s: float, log: Path) -> tuple[str, bool]:
    """Run a command; return its output, which is also in `log`, and whether it ended within the time."""
    threads = str(max(1, (os.cpu_count() or 1) // _PROCESSES))
    environment = os.environ | {"OMP_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
        whole = _wait(process, log, time.monotonic() + limit_s)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)  # pytest then reports what it has
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=_TO_STOP_S)
        if process.poll() is None:
            process.kill()
            process.wait()
    return _text(log), whole


def _wait(process: "subprocess.Popen[bytes]", log: Path, ends: float) -> bool:
    """Wait for a process; return whether all tests ended. A process of tests may never end after the last one."""
    last = float("inf")
    while process.poll() is None and time.monotonic() < min(ends, last + _TO_STOP_S):
        time.sleep(_POLL_S)
        if last == float("inf") and "[100%]" in _text(log):
            last = time.monotonic()
    return process.poll() is not None or last < float("inf")


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


def read_outcomes(output: str) -> tuple[dict[str, int], dict[str, list[str]]]:
    r"""Return the number of tests by outcome, and the lines about each failure, also where the run was stopped.

    Examples
    --------
    >>> read_outcomes("tests/a.py::b[c d] PASSED [ 50%]\ntests/a.py::e FAILED\n____ tests/a.py::e ____\nE  assert")
    ({'passed': 1, 'failed': 1}, {'tests/a.py::e': ['E  assert']})
    """
    lines = output.splitlines()
    matches = [match for line in lines if (match := _outcome(line))]
    outcomes = {match["test"].strip(): match["outcome"].lower() for match in matches}
    failures: dict[str, list[str]] = {test: [] for test, outcome in outcomes.items() if outcome in ("failed", "error")}
    block: list[str] = []
    for line in lines:
        if match := _BLOCK.match(line):
            block = failures.setdefault(match["test"], [])
        elif _outcome(line) or line.startswith("====="):
            block = []
        else:
            block.append(line)
    return dict(Counter(outcomes.values())), failures


def _outcome(line: str) -> "re.Match[str] | None":
    return _SEVERAL.match(line) or _ONE.match(line)


def _reason(lines: Sequence[str]) -> str:
    """Return the first line of an error in the lines about a failure."""
    return next((line[1:].strip() for line in lines if line.startswith("E ")), "")
