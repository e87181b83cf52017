"""Memory that is freed but not returned: counted by the pages that the kernel provides."""

import os
import platform
import subprocess
import sys

import pytest

from tomostain.memory import OVERRULED_BY, keep_freed_memory

BLOCKS = """
import resource, sys
import numpy as np
from tomostain.memory import keep_freed_memory
print(keep_freed_memory() if sys.argv[1] == "keep" else None)
def fill():
    np.ones(64 * 2**20, np.uint8)
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


def faults(how, **environment):
    clean = {name: value for name, value in os.environ.items() if name not in OVERRULED_BY}
    told = subprocess.run(
        [sys.executable, "-c", BLOCKS, how], capture_output=True, text=True, check=True, env=clean | environment
    )
    kept, pages = told.stdout.split()
    return kept, int(pages)


@glibc
def test_large_blocks_are_used_again_and_not_taken_from_the_system_each_time():
    kept, pages = faults("keep")
    assert kept == "True"
    assert pages * 10 < faults("not")[1]


@glibc
@pytest.mark.parametrize("name", OVERRULED_BY[:2])
def test_the_environment_goes_before(name):
    assert faults("keep", **{name: "65536"})[0] == "False"


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert keep_freed_memory() is False
