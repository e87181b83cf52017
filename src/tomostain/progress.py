"""Progress reports and requests to stop: stages call plain functions, the caller decides what they do.

A stage takes ``progress: Progress = silent`` and calls ``progress(label, done, total)``. A stage that can be resumed
also takes ``should_stop: ShouldStop = never`` and asks it between two units of work. Nothing in a stage prints or
installs a signal handler.
"""

from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Protocol, TypeVar

from tomostain.errors import InterruptedRunError

T = TypeVar("T")

ShouldStop = Callable[[], bool]
"""A function that returns True once the work should stop at the next safe place."""


class Progress(Protocol):
    """A listener: called with a label, the units done so far and the total number of units.

    An exception that it raises ends the work, and the caller of the stage receives it.
    """

    def __call__(self, label: str, done: int, total: int) -> None: ...


def silent(label: str, done: int, total: int) -> None:
    """Ignore the report (the default in the Python API)."""


def never() -> bool:
    """Return False: do not stop (the default in the Python API)."""
    return False


AGAIN = "run the same command again"
CONTINUE = f"{AGAIN} to continue"
"""What to do after a stop, where the finished part is kept."""


def how_to_continue(*, overwrite: bool) -> str:
    """Return what to do after a stop of work that `overwrite` begins from the start.

    Examples
    --------
    >>> how_to_continue(overwrite=True)
    'run the same command again without `overwrite=True` to continue'
    """
    return CONTINUE.replace("again", "again without `overwrite=True`") if overwrite else CONTINUE


def raising_on_stop(
    progress: Progress, should_stop: ShouldStop, where: object, *, next_step: str = CONTINUE
) -> Progress:
    """Return a listener that raises `InterruptedRunError` after a request to stop, unless the work is complete.

    For work that may be interrupted at any progress report.

    Parameters
    ----------
    progress : Progress
        Receives each report first.
    should_stop : callable
    where : object
        Named in the message.
    next_step : str
        End of the message: what to do next.

    Examples
    --------
    >>> listener = raising_on_stop(silent, lambda: True, "out.ome.zarr")
    >>> listener("pyramid", 3, 3)
    >>> listener("pyramid", 2, 3)
    Traceback (most recent call last):
        ...
    tomostain.errors.InterruptedRunError: out.ome.zarr: pyramid: 2 of 3 are done; run the same command again to continue
    """

    def report(label: str, done: int, total: int) -> None:
        progress(label, done, total)
        if done < total and should_stop():
            raise InterruptedRunError(f"{where}: {label}: {done} of {total} are done; {next_step}")

    return report


def track(items: Iterable[T], label: str, progress: Progress, total: int | None = None) -> Iterator[T]:
    """Yield items and report after each one.

    Parameters
    ----------
    items : iterable
        If it has no length, give `total`.
    label : str
        Name of the work, for the user.
    progress : Progress
        The listener.
    total : int, optional
        Number of items, if `items` has no length.

    Examples
    --------
    >>> reports = []
    >>> list(track("ab", "letters", lambda label, done, total: reports.append((done, total))))
    ['a', 'b']
    >>> reports
    [(0, 2), (1, 2), (2, 2)]
    """
    if total is None:
        if not isinstance(items, Sized):
            raise TypeError("track() needs total= for items without a length")
        total = len(items)
    progress(label, 0, total)
    for done, item in enumerate(items, start=1):
        yield item
        progress(label, done, total)
