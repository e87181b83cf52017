"""What the command line says about a command that Ctrl-C or SIGTERM ended: what is left of it, and what to do next."""

import os
import signal
import sys
import time
from _thread import interrupt_main, start_new_thread
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from tomostain.interrupts import NOT_BEGUN, end_at_once

AGAIN = "run the same command again"
CONTINUE = f"{AGAIN} to continue"
_RAISED_AGAIN_AFTER_S = 0.01

State = tuple[int, int] | None


class EndedBySignal(SystemExit):
    """The end of the process by a signal, as an exception, so that temporary files are removed.

    Parameters
    ----------
    number : int
        The signal. The exit code is 128 more.
    sentence : str
        What is left, and what to do next.
    """

    def __init__(self, number: int, sentence: str = NOT_BEGUN) -> None:
        super().__init__(128 + number)
        self.number = number
        self.sentence = sentence


_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name)]
_handled: list[int] = []
"""Signals that this process handles as exceptions."""
_raised: list[int] = []
"""Signals that were raised as exceptions in this process. Imports of C extensions may replace such an exception."""
_hook_before: list[Callable[[Any], object]] = []
"""The hook for exceptions that cannot be raised, which `raise_signals` replaces until `end_by_signals`."""


def raise_signals() -> None:
    """Let Ctrl-C and SIGTERM raise `KeyboardInterrupt` and `EndedBySignal`, and remember that they did.

    Only in a program whose signals `tomostain.interrupts.end_at_signals` handles so far: a program that calls the
    command line as a function handles its signals itself. Verbs that stop at a safe place
    (`tomostain.interrupts.listen_for_interrupt`) handle the first signal themselves.
    """
    _handled[:] = [number for number in _SIGNALS if signal.getsignal(number) is end_at_once]
    if not _handled:
        return
    owner = os.getpid()
    _raised.clear()

    def interrupt(number: int, frame: FrameType | None) -> None:
        _raised.append(number)
        if _is_in_hook(frame):
            return _raise_again(number)
        raise KeyboardInterrupt

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a fork ends as it would without this function
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
        _raised.append(number)
        if _is_in_hook(frame):
            return _raise_again(number)
        raise EndedBySignal(number)

    for number in _handled:
        signal.signal(number, interrupt if number == signal.SIGINT else end)
    if sys.unraisablehook is not _raise_later:
        _hook_before[:] = [sys.unraisablehook]
        sys.unraisablehook = _raise_later


def ignore_signals() -> None:
    """Ignore the signals that `raise_signals` handles, while the first one is reported."""
    for number in _handled:
        signal.signal(number, signal.SIG_IGN)


def end_by_signals() -> None:
    """Let signals end the process as usual when the command has ended, also one that runs no verb, such as --help."""
    for number in _SIGNALS:
        if number in _handled or signal.getsignal(number) is end_at_once:
            signal.signal(number, signal.SIG_DFL)
    if sys.unraisablehook is _raise_later:
        sys.unraisablehook = _hook_before[0]


def _raise_later(unraisable: Any) -> None:
    """Raise a signal again whose exception was lost, since it was raised in a finaliser or a callback of an import."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt | EndedBySignal):
        _hook_before[0](unraisable)
        return
    _raise_again(getattr(unraisable.exc_value, "number", signal.SIGINT))


def _is_in_hook(frame: FrameType | None) -> bool:
    """Return whether `_raise_later` is running in a frame or its callers. An exception there would be lost, too."""
    while frame is not None and frame.f_code is not _raise_later.__code__:
        frame = frame.f_back
    return frame is not None


def _raise_again(number: int) -> None:
    """Send a signal to this process a little later."""

    def send() -> None:
        time.sleep(_RAISED_AGAIN_AFTER_S)
        interrupt_main(signal.Signals(number))

    start_new_thread(send, ())  # without the locks of `threading`, which the main thread may hold


def raised_signal(error: BaseException) -> int | None:
    """Return the signal that ended a command with this exception; None if the command failed by itself."""
    if isinstance(error, EndedBySignal):
        return error.number
    if isinstance(error, KeyboardInterrupt):
        return signal.SIGINT
    return _raised[-1] if _raised and isinstance(error, Exception) else None


@dataclass(frozen=True)
class Output:
    """The output of a command, as it was when the command began.

    Attributes
    ----------
    path : Path or None
        The file or folder; None if the command writes none, or chooses its name itself.
    before : tuple of int or None
        Inode and time of change, ns; None if it did not exist.
    """

    path: Path | None
    before: State

    @classmethod
    def of(cls, name: str, values: Mapping[str, Any]) -> "Output":
        """Return the output that the parameter `name` names, from the values of all parameters."""
        value = None if values.get("dry_run") else values.get(name)
        if isinstance(value, list | tuple):
            value = value[-1] if value else None
        path = None if value is None else Path(value)
        return cls(path, _state(path))

    def describe_interruption(self, values: Mapping[str, Any], *, continues: bool = False) -> str:
        """Return one sentence about an interruption.

        Parameters
        ----------
        values : mapping of str to object
            The values of the parameters.
        continues : bool
            The same command continues.

        Examples
        --------
        >>> values = {"out": "a-name-that-is-free.tif"}
        >>> Output.of("out", values).describe_interruption(values)
        'interrupted; nothing was written to a-name-that-is-free.tif; run the same command again'
        """
        if values.get("dry_run"):
            return f"interrupted; nothing was written; {AGAIN}"
        if "resume" in values:
            return f"interrupted; {CONTINUE if values['resume'] else f'{AGAIN} with --resume to continue'}"
        if continues:
            return f"interrupted; {CONTINUE}"
        if self.path is None:
            return f"interrupted; {AGAIN}"
        if _state(self.path) == self.before:
            return f"interrupted; nothing was written to {self.path}; {AGAIN}"
        again = AGAIN if values.get("overwrite", True) else f"{AGAIN} with --overwrite"
        return f"interrupted; {self.path} may be incomplete; {again}"


def continues_zarr(values: Mapping[str, Any]) -> bool:
    """Return whether the same command continues: an OME-Zarr does, other outputs are written as a whole.

    Examples
    --------
    >>> continues_zarr({"out": "stained.ome.zarr", "overwrite": False})
    True
    """
    return str(values["out"]).rstrip("/").endswith(".zarr") and not values["overwrite"]


def _state(path: Path | None) -> State:
    try:
        status = None if path is None else path.lstat()
    except OSError:
        return None
    return None if status is None else (status.st_ino, status.st_mtime_ns)
