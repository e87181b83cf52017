"""Work on the processor cores of this process: one pool of threads that reading, normalising and writing share.

NumPy, SciPy, decoders and compressors release the global interpreter lock while they work on large arrays.
"""

import functools
import os
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from tomostain.installation import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")
_NAME = "tomostain-work"


def in_parallel(
    function: Callable[[Item], Result], items: Iterable[Item], *, at_once: int | None = None
) -> list[Result]:
    """Call a function with each item, on all cores, and return the results in order.

    Parameters
    ----------
    function : callable
        Called in this thread and in threads of the pool, so it must not change what other calls use. It may call
        `in_parallel` itself.
    items : iterable
    at_once : int, optional
        Largest number of calls at the same time, where each needs much memory. By default the number of cores.

    Returns
    -------
    list

    Raises
    ------
    Exception
        The first error of `function`, in the order of the items. Items after it are left out.

    Examples
    --------
    >>> in_parallel(lambda number: number**2, range(4))
    [0, 1, 4, 9]
    """
    work = _Work(function, list(items))
    # This thread takes items too, and then waits only for items that other threads have taken: nested calls cannot
    # wait for one another.
    threads = min(available_cores(), len(work.items), at_once or len(work.items))
    helpers = [_pool().submit(work.help) for _ in range(threads - 1)]
    try:
        work.help()
    finally:
        work.stop()
        for helper in helpers:
            if not helper.cancel():
                helper.exception()  # it may still use the arrays of the caller
    return work.results()


class _Work(Generic[Item, Result]):
    """Items that several threads take in order."""

    def __init__(self, function: Callable[[Item], Result], items: list[Item]) -> None:
        self.function, self.items = function, items
        self._results: dict[int, Result] = {}
        self._errors: dict[int, BaseException] = {}
        self._left = iter(range(len(items)))
        self._lock = threading.Lock()

    def help(self) -> None:
        """Take items until none is left."""
        while (index := self._take()) is not None:
            try:
                self._results[index] = self.function(self.items[index])
            except BaseException as error:
                self._errors[index] = error
                self.stop()

    def _take(self) -> int | None:
        with self._lock:
            return next(self._left, None)

    def stop(self) -> None:
        """Leave out the items that no thread has taken."""
        with self._lock:
            self._left = iter(range(0))

    def results(self) -> list[Result]:
        """Return the results in order, or raise the first error."""
        if self._errors:
            try:
                raise self._errors[min(self._errors)]
            finally:
                self._errors.clear()  # its traceback refers to this object
        return [self._results[index] for index in range(len(self.items))]


def iterate_in_parallel(function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result]:
    """Yield the results of `in_parallel` in order, each as soon as it and those before it are there.

    The items are taken by the threads of the pool, while this thread uses the results.

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
                future.exception()


def in_pool() -> bool:
    """Return whether this thread is one of the pool. Other pools that it would start would only compete with it."""
    return threading.current_thread().name.startswith(_NAME)


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """Return the pool of the process; its threads end when the process ends."""
    return ThreadPoolExecutor(available_cores(), _NAME)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
