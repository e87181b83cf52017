"""Memory that was freed stays at hand for the next layer, in place of going back to the system page by page.

A convolution of 1024² pixels fills blocks of hundreds of megabytes and frees them again. Above 32 MiB the GNU C library
takes each from the system and gives it back at once; the system clears every page anew. In staining on a CPU that is a
quarter of the time (docs/explanation/speed.md).
"""

import ctypes
import os
import platform

# <malloc.h>: what the two do is told there, and in mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1
OVERRULED_BY = ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Have this process keep freed blocks of any size until it ends, where the C library is GNU's.

    A variable of the environment that sets malloc's options goes before. For programs, not for libraries: the whole
    process is concerned.

    Returns
    -------
    bool
        Whether it does now.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in OVERRULED_BY):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _NEVER))
