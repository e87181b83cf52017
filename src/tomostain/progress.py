"""How long work tells of itself: stages call a plain function, the edge decides what is shown.

A stage takes ``progress: Progress = silent`` and calls ``progress(label, done, total)``. Nothing in a stage prints.
"""

from collections.abc import Iterable, Iterator, Sized
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """A listener: called with a label, the units done so far and the units in all."""

    def __call__(self, label: str, done: int, total: int) -> None: ...


def silent(label: str, done: int, total: int) -> None:
    """Listen to nothing (the default in the Python API)."""


def track(items: Iterable[T], label: str, progress: Progress, total: int | None = None) -> Iterator[T]:
    """Pass items on and report after each one.

    Parameters
    ----------
    items : iterable
        What to pass on. If it has no length, give `total`.
    label : str
        What the work is, as the user should read it.
    progress : Progress
        The listener.
    total : int, optional
        Number of items, if `items` cannot say.

    Examples
    --------
    >>> seen = []
    >>> list(track("ab", "letters", lambda label, done, total: seen.append((done, total))))
    ['a', 'b']
    >>> seen
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
