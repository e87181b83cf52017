"""The memory of the process: how much is free, whether an error says that there is none, and what is freed.

Freed memory stays in the process instead of being returned to the system page by page: a convolution of 1024² pixels
fills blocks of hundreds of megabytes and frees them again. Above 32 MiB the GNU C library requests each block from the
system and returns it at once, and the system clears every page again. In staining on a CPU this takes a quarter of the
time (docs/explanation/speed.md).
"""

import ctypes
import os
import platform
from pathlib import Path

from tomostain.errors import InputError

# Parameter numbers from <malloc.h>; see mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1
OVERRULED_BY = ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Make this process keep freed blocks of any size until it ends, if it uses the GNU C library.

    Environment variables that configure malloc take precedence. This is for programs, not for libraries: it concerns
    the whole process.

    Returns
    -------
    bool
        Whether the setting was changed.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in OVERRULED_BY):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _NEVER))


def free_memory() -> int | None:
    """Return the bytes that this process can still allocate; None if the system does not say.

    On Linux the memory that is available without swapping, or less if a control group (a container, a batch job) or a
    limit of the process (``ulimit -v``) allows less.

    Examples
    --------
    >>> (free_memory() or 1) > 0
    True
    """
    limits = [_available(), *_control_group(), _address_space()]
    stated = [limit for limit in limits if limit is not None]
    return max(min(stated), 0) if stated else None


def check_memory(needed: int, what: str, remedy: str) -> None:
    """Raise before memory is allocated that the machine does not have.

    Parameters
    ----------
    needed : int
        Bytes.
    what : str
        The file or the work, for the message.
    remedy : str
        How to need less, as an order: "lower `batch`".

    Raises
    ------
    InputError
        If less is free (`free_memory`).

    Examples
    --------
    >>> check_memory(10**18, "scan.png", "give a smaller image")
    Traceback (most recent call last):
    ...
    tomostain.errors.InputError: scan.png: needs about 1e+09 GB of memory, but ... GB are free; give a smaller image
    """
    free = free_memory()
    if free is not None and needed > free:
        raise InputError(
            f"{what}: needs about {format_bytes(needed)} of memory, but {format_bytes(free)} are free; {remedy}"
        )


def format_bytes(n_bytes: float) -> str:
    """Return a number of bytes as text.

    Examples
    --------
    >>> format_bytes(3_456_000_000), format_bytes(12_000_000)
    ('3.46 GB', '12 MB')
    """
    return f"{n_bytes / 1e9:.3g} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.3g} MB"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory could not be allocated, on the CPU or on a GPU.

    torch raises a RuntimeError, which has a separate class only for GPUs. NumPy raises a MemoryError.

    Examples
    --------
    >>> is_out_of_memory(RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"))
    True
    >>> is_out_of_memory(RuntimeError("shapes do not match"))
    False
    """
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    named = any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)
    text = str(error).lower()
    return named or any(phrase in text for phrase in _OUT_OF_MEMORY)


# What torch says on a CPU, on Windows, and from CUDA's libraries.
_OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "invalid buffer size",
    "storage size calculation overflowed",
)


def _available() -> int | None:
    """Return the memory that Linux can provide without swapping; elsewhere the physical memory that is free."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return None
    except OSError:
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


# Files of control groups (version 2, version 1): the limit, the use, and the statistics with the cache of files.
_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat", "inactive_file"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
        "total_inactive_file",
    ),
)


def _control_group() -> list[int]:
    """Return what the control groups of this process leave. The cache of files is returned on demand: it is free."""
    remaining_bytes = []
    for limit, use, statistics, cache in _GROUPS:
        try:
            values = dict(line.split() for line in Path(statistics).read_text(encoding="ascii").splitlines())
            free = int(Path(limit).read_text(encoding="ascii")) - int(Path(use).read_text(encoding="ascii"))
            remaining_bytes.append(free + int(values.get(cache, 0)))
        except (OSError, ValueError):  # no such group, or the limit is "max"
            continue
    return remaining_bytes


def _address_space() -> int | None:
    """Return what a limit of the address space (``ulimit -v``) leaves."""
    try:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit == resource.RLIM_INFINITY:
            return None
        return limit - int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (ImportError, OSError, ValueError):
        return None
