"""Warnings of a task, which are shown in its widget."""

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tomostain.errors import OutOfDistributionWarning

_sinks: dict[int, Callable[[str], object]] = {}


@contextmanager
def warnings_to(sink: Callable[[str], object]) -> Iterator[None]:
    """Send each `OutOfDistributionWarning` of this thread to a function. Other threads and warnings are not affected.

    `warnings.catch_warnings` would change the filters of all threads.
    """
    thread = threading.get_ident()
    if not getattr(warnings.showwarning, "_by_thread", False):
        warnings.showwarning = _dispatcher(warnings.showwarning)
    warnings.filterwarnings("always", category=OutOfDistributionWarning)
    _sinks[thread] = sink
    try:
        yield
    finally:
        del _sinks[thread]


def _dispatcher(show: Callable[..., None]) -> Callable[..., None]:
    def dispatch(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: object = None,
        line: str | None = None,
    ) -> None:
        sink = _sinks.get(threading.get_ident())
        if sink is not None and issubclass(category, OutOfDistributionWarning):
            sink(str(message))
        else:
            show(message, category, filename, lineno, file, line)

    dispatch._by_thread = True  # type: ignore[attr-defined]
    return dispatch
