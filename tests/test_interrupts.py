"""Worker processes: they end with their main process, and leave Ctrl-C to it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tomostain.interrupts import interrupt_blocked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc and POSIX signals")

_POOL = """
import multiprocessing, os, sys, time
from concurrent.futures import ProcessPoolExecutor
from tomostain.interrupts import follow_main_process, interrupt_blocked

if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn, initializer=follow_main_process) as pool:
        with interrupt_blocked():
            running = [pool.submit(time.sleep, 0.2) for _ in range(2)]
            print("submitted", flush=True)
        for future in running:
            future.result()
        print("works", flush=True)
        time.sleep(600)
"""


def members(session: int) -> list[int]:
    """Return the processes of a session that have not ended."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            is_zombie = (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            if os.getsid(int(process.name)) == session and not is_zombie:
                found.append(int(process.name))
        except OSError:
            continue
    return found


def begin(tmp_path: Path) -> subprocess.Popen:
    (tmp_path / "pool.py").write_text(_POOL)
    return subprocess.Popen(
        [sys.executable, str(tmp_path / "pool.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_no_worker_survives_a_kill_of_the_main_process(tmp_path: Path) -> None:
    with begin(tmp_path) as process:
        assert [process.stdout.readline() for _ in range(2)] == ["submitted\n", "works\n"]
        assert len(members(process.pid)) >= 3
        process.kill()
    until = time.monotonic() + 60
    while (left := members(process.pid)) and time.monotonic() < until:
        time.sleep(0.05)
    for each in left:
        os.kill(each, signal.SIGKILL)
    assert left == []


def test_workers_that_start_say_nothing_after_ctrl_c(tmp_path: Path) -> None:
    """The terminal sends it to all processes; workers need a while to start."""
    with begin(tmp_path) as process:
        assert process.stdout.readline() == "submitted\n"
        os.killpg(process.pid, signal.SIGINT)
        err = process.communicate(timeout=600)[1]
    assert err.count("Traceback") == 1  # of this main process, which does not handle it
    assert err.rstrip().endswith("KeyboardInterrupt")


def test_the_block_ends_and_nothing_is_lost() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    reached = []

    def work() -> None:
        with interrupt_blocked():
            signal.raise_signal(signal.SIGINT)
            reached.append("the end of the block")

    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        signal.signal(signal.SIGINT, before)
    assert reached == ["the end of the block"]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
