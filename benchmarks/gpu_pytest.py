"""The tests that need a card, in a process of their own."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.gpu_items import Item, Options, Row
from benchmarks.gpu_size import Size

_SUMMARY = re.compile(r"^(PASSED|FAILED|ERROR|SKIPPED) (?:\[\d+\] )?(\S+)(?: - (.*))?")
# With several processes "[gw0] [ 50%] PASSED tests/a.py::b"; with one "tests/a.py::b PASSED [ 50%]".
_OUTCOME = re.compile(r"\b(?:PASSED|FAILED|ERROR|SKIPPED)\b")
_LAST_LINES = 60
_PROCESSES = 8
_TO_STOP_S = 10.0
_INTERRUPTED = 2  # what pytest returns
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
    plain = ["-o", "addopts=--strict-markers", "-p", "no:cacheprovider", "-v", "-rfE", "--tb=short", "--durations=10"]
    # In several processes: the host takes most of the time, and an error of the device stops only one of them.
    several = ["-n", str(_PROCESSES), "--dist", "worksteal"] if find_spec("xdist") and not size.toy else []
    began = time.perf_counter()
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pytest", "-m", "gpu", f"--basetemp={folder}/tests", *plain, *several, *files]
        output, ended = run_limited(command, limit_s, options.out / "tests.log")
    counts, failed = read_summary(output)
    yield {"name": "tests", **counts, "seconds": time.perf_counter() - began, "ended": ended}
    for test, reason in failed:
        yield {"name": "failed", "test": test, "reason": reason}
    if failed or not ended or not counts.get("passed"):
        yield {"name": "last lines", "output": "\n".join(output.splitlines()[-_LAST_LINES:])}


def run_limited(command: Sequence[str], limit_s: float, log: Path) -> tuple[str, bool]:
    """Run a command; return its output, which is also in `log`, and whether it ended within the time."""
    threads = str(max(1, (os.cpu_count() or 1) // _PROCESSES))
    environment = os.environ | {"OMP_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1"}
    ended = False
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
        # The first signal lets pytest report what it has.
        for seconds, end in ((limit_s, lambda: process.send_signal(signal.SIGINT)), (_TO_STOP_S, process.kill)):
            try:
                process.wait(timeout=seconds)
                break
            except subprocess.TimeoutExpired:
                end()
        else:
            process.wait()
        ended = process.returncode not in (-signal.SIGINT, -signal.SIGKILL, _INTERRUPTED)
    return log.read_text(encoding="utf-8", errors="replace"), ended


def read_summary(output: str) -> tuple[dict[str, int], list[tuple[str, str]]]:
    r"""Return the numbers of passed, failed and skipped tests, and the failed ones with a reason.

    Examples
    --------
    >>> read_summary("FAILED tests/a.py::b - assert 0\n1 failed, 3 passed in 2.0s")
    ({'failed': 1, 'passed': 3}, [('tests/a.py::b', 'assert 0')])
    >>> read_summary("[gw1] [ 50%] PASSED tests/a.py::b")  # it was stopped
    ({'passed': 1}, [])
    """
    lines = output.splitlines()
    found = [match.groups() for line in lines if (match := _SUMMARY.match(line))]
    last = lines[-1] if lines else ""
    if " in " not in last:  # it was stopped
        counted = Counter(match.group() for line in lines if (match := _OUTCOME.search(line)))
        return {name.lower(): number for name, number in counted.items()}, _failed(found)
    counts = {name: int(number) for number, name in re.findall(r"(\d+) (passed|failed|skipped|errors?)", last)}
    return counts, _failed(found)


def _failed(found: Sequence[tuple[str, str, str | None]]) -> list[tuple[str, str]]:
    return [(test, reason or "") for outcome, test, reason in found if outcome in ("FAILED", "ERROR")]
