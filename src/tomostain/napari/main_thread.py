"""Calls in the main thread of Qt, and calls when a widget is destroyed."""

import functools
import threading
from collections.abc import Callable

from qtpy.QtCore import QObject, Signal, Slot


class _MainThread(QObject):
    """Calls functions in the main thread. It lives as long as the process: a thread must not delete a `QObject`."""

    called = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.called.connect(self._call)

    def _call(self, function: Callable[[], object]) -> None:
        function()


@functools.cache
def main_thread() -> _MainThread:
    """Return the only object that calls functions in the main thread. It is made in that thread."""
    return _MainThread()


class _Guard(QObject):
    """Calls a function when another object is destroyed.

    A function of Python connected to ``destroyed`` would be freed by PyQt while it runs. A guard is never freed.
    """

    def __init__(self, function: Callable[[], object]) -> None:
        super().__init__()
        self._function: Callable[[], object] | None = function

    @Slot()
    def call(self) -> None:
        """Call the function, once."""
        function, self._function = self._function, None
        if function is not None:
            function()


_guards: list[_Guard] = []


def when_destroyed(widget: QObject, function: Callable[[], object]) -> None:
    """Call a function when a widget is destroyed, such as when the user closes it. It must not use the widget."""
    guard = _Guard(function)
    _guards.append(guard)
    widget.destroyed.connect(guard.call)


class Run:
    """One work of a task: whether it should stop, and whether its widget still exists."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.is_open = True

    def close(self) -> None:
        """Ask the work to stop, and deliver nothing more."""
        self.is_open = False
        self.stop.set()

    def later(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function in the main thread, if the widget still exists."""
        main_thread().called.emit(lambda: function(*arguments) if self.is_open else None)


def close_runs(runs: list[Run]) -> None:
    """Ask all runs to stop."""
    for run in runs:
        run.close()
