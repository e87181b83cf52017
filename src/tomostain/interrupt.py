"""Ctrl-C, or a batch system's signal to end, heard at a safe place: between steps, between slabs."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
