"""Ctrl-C, or a batch system's signal to end, heard at a safe place: between steps, between slabs."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tomostain.errors import InterruptedRunError
from tomostain.progress import Progress

# Not every system has all of them.
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]


@contextmanager
def listen_for_interrupt() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C, SIGTERM or SIGUSR1 into an event that the loop asks after; a second one stops at once.

    A batch system sends SIGTERM before it kills, or what it was asked to send (SLURM: ``--signal=USR1@300``). Outside
    the main thread, where signals cannot be caught, the event is never set.

    Examples
    --------
    >>> with listen_for_interrupt() as asked:
    ...     signal.raise_signal(signal.SIGINT)
    ...     asked.is_set()
    True
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    old = {number: signal.getsignal(number) for number in _SIGNALS}

    def ask(number: int, frame: Any) -> None:
        asked.set()
        signal.signal(number, old[signal.Signals(number)])

    for number in _SIGNALS:
        signal.signal(number, ask)
    try:
        yield asked
    finally:
        for number, before in old.items():
            signal.signal(number, before)


def stop_when_requested(progress: Progress, asked: threading.Event, where: object) -> Progress:
    """Return a listener that raises `InterruptedRunError` once an end is asked for and work is left.

    For work that may be broken off wherever it tells of itself, and is gone on with later.

    Parameters
    ----------
    progress : Progress
        Is told first.
    asked : threading.Event
        From `listen_for_interrupt`.
    where : object
        Named in the message.

    Examples
    --------
    >>> from tomostain.progress import silent
    >>> asked = threading.Event()
    >>> listener = stop_when_requested(silent, asked, "out.ome.zarr")
    >>> listener("pyramid", 1, 3)
    >>> asked.set()
    >>> listener("pyramid", 3, 3)  # nothing is left
    >>> listener("pyramid", 2, 3)
    Traceback (most recent call last):
        ...
    tomostain.errors.InterruptedRunError: out.ome.zarr: pyramid: 2 of 3 are done; run the same command again to continue
    """

    def tell(label: str, done: int, total: int) -> None:
        progress(label, done, total)
        if asked.is_set() and done < total:
            raise InterruptedRunError(
                f"{where}: {label}: {done} of {total} are done; run the same command again to continue"
            )

    return tell
