"""Ctrl-C that is heard at a safe place: between steps, between slabs."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def listen_for_interrupt() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into an event that the loop asks after; a second one stops at once.

    Outside the main thread, where signals cannot be caught, the event is never set.

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
    old = signal.getsignal(signal.SIGINT)

    def ask(number: int, frame: Any) -> None:
        asked.set()
        signal.signal(signal.SIGINT, old)

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, old)
