"""Signals that ask a program to stop, for the command line: the work stops at the next safe place.

Library functions install no signal handlers. They take ``should_stop`` (`tomostain.progress.never` by default), and the
command line gives them ``is_set`` of the event of `listen_for_interrupt`.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Not every system has all of them.
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]

NOT_BEGUN = "interrupted before it began; run the same command again"


def end_at_signals() -> None:
    """Let Ctrl-C and SIGTERM end the program at once with one line, while there is nothing to clean up.

    For the imports of the command line: an exception would be a traceback there, and some imports hide exceptions.
    Signals that are ignored or handled already are left as they are.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a job in the background ignores it
        signal.signal(signal.SIGINT, end_at_once)
    if hasattr(signal, "SIGTERM") and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end_at_once)


def end_at_once(number: int, frame: FrameType | None) -> None:
    """Handle a signal that arrives before the command begins."""
    os.write(2, f"tomostain: {NOT_BEGUN}\n".encode())
    os._exit(128 + number)


def follow_main_process() -> None:
    """Initialise a worker process: leave Ctrl-C to the main process, and end when that process has ended.

    A main process that is killed cannot end its workers. They would wait for work for ever, or write the same files as
    those of the next command.
    """
    import multiprocessing  # not for the start of the command line

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main_process = multiprocessing.parent_process()
    if main_process is None:
        return

    def end() -> None:
        main_process.join()
        os._exit(1)

    threading.Thread(target=end, daemon=True, name="tomostain-main-process").start()


@contextmanager
def interrupt_blocked() -> Iterator[None]:
    """Block Ctrl-C in this thread while it starts worker processes, which inherit that.

    The terminal sends Ctrl-C to them, too. Before `follow_main_process` they would answer it with a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def listen_for_interrupt() -> Iterator[threading.Event]:
    """Turn the first SIGINT (Ctrl-C), SIGTERM or SIGUSR1 into an event; the second one has its usual effect.

    A batch system sends SIGTERM before it ends a job, or the signal that the job asked for (SLURM:
    ``--signal=USR1@300``). Signals can only be handled in the main thread. In another thread the event is never set.

    Examples
    --------
    >>> with listen_for_interrupt() as stop_requested:
    ...     signal.raise_signal(signal.SIGINT)
    ...     stop_requested.is_set()
    True
    """
    stop_requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop_requested
        return
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}

    def request(number: int, frame: FrameType | None) -> None:
        stop_requested.set()
        signal.signal(number, handlers[signal.Signals(number)])

    for number in _SIGNALS:
        signal.signal(number, request)
    try:
        yield stop_requested
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
