"""Work on the processor cores of this process: one pool of threads that reading, normalising and writing share.

NumPy, SciPy, decoders and compressors release the global interpreter lock while they work on large arrays.
"""

import functools
import os
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tomostain.installation import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")
_NAME = "tomostain-work"


def in_parallel(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Call a function with each item, on all cores, and return the results in order.

    Parameters
    ----------
    function : callable
        Called in threads of the pool, so it must not change what other calls use. With one core, with one item, or
        inside such a call, it is called in this thread.
    items : iterable

    Returns
    -------
    list

    Raises
    ------
    Exception
        The first error of `function`, in the order of the items. Calls that have not begun are left out.

    Examples
    --------
    >>> in_parallel(lambda number: number**2, range(4))
    [0, 1, 4, 9]
    """
    return list(iterate_in_parallel(function, items))


def iterate_in_parallel(function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result]:
    """Yield the results of `in_parallel` in order, each as soon as it and those before it are there.

    Examples
    --------
    >>> list(iterate_in_parallel(str.upper, "abc"))
    ['A', 'B', 'C']
    """
    pending = list(items)
    if len(pending) < 2 or available_cores() < 2 or in_pool():
        yield from map(function, pending)
        return
    futures: list[Future[Result]] = [_pool().submit(function, item) for item in pending]
    futures.reverse()
    try:
        while futures:
            yield futures.pop().result()
    finally:
        for future in futures:
            future.cancel()
        for future in futures:
            if not future.cancelled():
                future.exception()  # it may still use the arrays of the caller


def in_pool() -> bool:
    """Return whether this thread is one of the pool. Other pools that it would start would only compete with it."""
    return threading.current_thread().name.startswith(_NAME)


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """Return the pool of the process; its threads end when the process ends."""
    return ThreadPoolExecutor(available_cores(), _NAME)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
