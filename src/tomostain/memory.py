"""Keep freed memory in the process instead of returning it to the system page by page.

A convolution of 1024² pixels fills blocks of hundreds of megabytes and frees them again. Above 32 MiB the GNU C library
requests each block from the system and returns it at once, and the system clears every page again. In staining on a CPU
this takes a quarter of the time (docs/explanation/speed.md).
"""

import ctypes
import os
import platform

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
