"""Memory that is freed but not returned: counted by the pages that the kernel provides."""

import os
import platform
import subprocess
import sys

import pytest

from tomostain import memory
from tomostain.errors import InputError
from tomostain.memory import OVERRULED_BY, check_memory, free_memory, is_out_of_memory, keep_freed_memory

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
    process = subprocess.run(
        [sys.executable, "-c", BLOCKS, how], capture_output=True, text=True, check=True, env=clean | environment
    )
    setting, pages = process.stdout.split()
    return setting, int(pages)


@glibc
def test_large_blocks_are_used_again_and_not_taken_from_the_system_each_time():
    setting, pages = faults("keep")
    assert setting == "True"
    assert pages * 10 < faults("not")[1]


@glibc
@pytest.mark.parametrize("name", OVERRULED_BY[:2])
def test_environment_variables_take_precedence(name):
    assert faults("keep", **{name: "65536"})[0] == "False"


def test_the_allocator_of_another_c_library_is_not_changed(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert keep_freed_memory() is False


LIMITED = """
import resource
from tomostain.memory import free_memory
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
print(free_memory())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_free_memory_is_that_of_the_system_within_the_limits_of_the_process():
    free = free_memory()
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < free <= physical
    process = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True)
    assert 0 < int(process.stdout) < 2**30


def test_a_control_group_limits_the_memory(tmp_path, monkeypatch):
    for name, text in {"max": "5000", "current": "3000", "stat": "anon 2000\ninactive_file 700\n"}.items():
        (tmp_path / name).write_text(text)
    group = (*(str(tmp_path / name) for name in ("max", "current", "stat")), "inactive_file")
    monkeypatch.setattr(memory, "_GROUPS", (group,))
    assert free_memory() == 2700  # the cache of files is given back on demand
    (tmp_path / "max").write_text("max\n")
    assert free_memory() > 10**6


def test_arrays_above_the_memory_are_refused_before_allocation(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 3 * 10**9)
    check_memory(3 * 10**9, "picture.png", "give a smaller image")
    with pytest.raises(InputError, match=r"picture.png: needs about 4 GB of memory, but 3 GB are free; give a smaller"):
        check_memory(4 * 10**9, "picture.png", "give a smaller image")
    monkeypatch.setattr(memory, "free_memory", lambda: None)
    check_memory(10**18, "picture.png", "give a smaller image")


def test_the_errors_of_an_allocation_are_known():
    import numpy as np
    import torch

    with pytest.raises(RuntimeError) as of_torch:
        torch.empty(2**60, dtype=torch.uint8)
    with pytest.raises(MemoryError) as of_numpy:
        np.empty(2**60, np.uint8)
    assert is_out_of_memory(of_torch.value)
    assert is_out_of_memory(of_numpy.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))
