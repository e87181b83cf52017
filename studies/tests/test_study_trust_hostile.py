"""A small part of `studies.trust.hostile`: the harness notices every kind of fault."""

import functools
import mmap
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from studies.trust.forked import Limits, Outcome, run_function
from studies.trust.hostile.__main__ import LIMITS, all_cases, judged, sampled
from studies.trust.hostile.case import Case
from studies.trust.hostile.watch import Watch

CASES = functools.cache(all_cases)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and inotify")


def verdict(function, folder: Path, limits: Limits = LIMITS, opened=(), expect="same") -> str:
    """Return the verdict on what a function does in a fork."""
    case = Case("test", "test", lambda path, rng: None, (), expect)
    return judged(case, run_function(function, folder, limits=limits), opened, (folder / "executed").exists())


def spoken(*lines: str, code: int = 2):
    def function() -> int:
        for line in lines:
            print(line, file=sys.stderr)
        return code

    return function


def fill(size: int) -> int:
    """Use new memory: a fork of a process that has freed memory would use that one first."""
    block = np.frombuffer(mmap.mmap(-1, size), np.uint8)
    block[:] = 1
    return int(block[-1] == 0)


def test_the_harness_notices_every_fault(tmp_path):
    folder = tmp_path / "case"
    folder.mkdir()

    def hungry() -> int:
        return fill(LIMITS.memory_bytes * 4 // 3)

    def busy() -> int:
        while True:
            pass

    def waiting() -> int:
        os.mkfifo(folder / "fifo")
        return len((folder / "fifo").read_bytes())

    def starts_a_program() -> int:
        return subprocess.run(["true"], check=False).returncode

    def asks_for_a_machine() -> int:
        import socket

        try:
            socket.create_connection(("192.0.2.1", 9), timeout=0.01)
        except OSError:
            return 0
        return 0

    good = "tomostain: a.tif: is damaged; copy it again"
    assert verdict(spoken(good), folder) == "good"
    assert verdict(spoken(good, "ITK warning"), folder) == "more than one line"
    assert verdict(spoken("Traceback"), folder) == "more than one line"
    assert verdict(spoken("RuntimeWarning: overflow", code=0), folder) == "messages of a library"
    assert verdict(spoken(good, code=1), folder) == "internal error"
    assert verdict(spoken(good), folder, opened=["secret.raw"]) == "read outside"
    assert verdict(spoken(good), folder, expect="right") == "refused"
    assert verdict(hungry, folder) == "memory"
    assert verdict(busy, folder, Limits(seconds=1)) == "time"
    assert verdict(waiting, folder) == "time"
    assert verdict(starts_a_program, folder) == "executed"
    assert verdict(asks_for_a_machine, folder) == "executed"
    assert verdict(lambda: os.kill(os.getpid(), signal.SIGKILL), folder) == "crash"


def test_opening_a_file_is_noticed(tmp_path):
    (tmp_path / "secret").write_text("secret")
    watch = Watch(tmp_path)
    assert watch.opened() == []
    (tmp_path / "secret").read_text()
    assert watch.opened() == ["secret"]
    assert watch.opened() == []


def test_there_are_enough_different_inputs():
    cases = CASES()
    kinds = {case.kind for case in cases} - {"undamaged"}
    files = {"tiff", "tiff folder", "hdf5", "zarr", "nrrd", "mha", "nifti", "slide", "aligned"}
    assert kinds == files | {"csv", "yaml", "recipe", "model", "run", "dataset", "stained volume"}
    assert len([case for case in cases if case.kind != "undamaged"]) > 2000


def test_an_outcome_states_processor_time_and_memory(tmp_path):
    folder = tmp_path / "case"
    folder.mkdir()
    outcome: Outcome = run_function(lambda: fill(160_000_000), folder)
    assert outcome.code == 0
    assert 150e6 < outcome.memory < 260e6
    assert 0 < outcome.seconds < 10


def test_a_sample_of_all_kinds_is_answered_well(tmp_path):
    """Four inputs of each kind, with one command each: one line and exit code 2, or the right result.

    The process of the tests has threads, which do not survive a fork; so the harness runs in a separate process.
    """
    command = ["-m", "studies.trust.hostile", str(tmp_path), "--per-kind", "4", "--commands", "1", "--seed", "22"]
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, check=False)
    assert done.stderr == ""
    counts = re.match(r"(\d+) hostile inputs, .*\n(\d+) answered well, 0 not\.", done.stdout)
    assert counts is not None, done.stdout
    assert int(counts[1]) == int(counts[2]) == 68
    assert done.returncode == 0


def test_a_sample_depends_on_the_seed_alone():
    cases = list(enumerate(CASES()))
    first, again, other = (sampled(cases, 0, 4, seed) for seed in (22, 22, 23))
    assert [number for number, _ in first] == [number for number, _ in again]
    assert [number for number, _ in first] != [number for number, _ in other]
    assert Counter(case.kind for _, case in first) == dict.fromkeys({case.kind for _, case in cases}, 4)
    assert len(sampled(cases, 10, 0, 1)) == 10
