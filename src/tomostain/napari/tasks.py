"""Long work of a widget in a thread, with a progress bar and a button to cancel; and live previews.

`TaskWidget` runs one function at a time and reports it. `LatestOnly` computes previews while the user moves a control.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from qtpy.QtCore import QCoreApplication, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from tomostain.errors import InterruptedRunError, warnings_to
from tomostain.napari.main_thread import Run, close_runs, main_thread, when_destroyed
from tomostain.progress import Progress, ShouldStop

R = TypeVar("R")
Request = TypeVar("Request")
Work = Callable[[Progress, ShouldStop], R]
"""Work of a task: takes the listener of its progress, and a function that returns True once it should stop."""

STOPPED = "Stopped. Run it again to continue."
"""Shown after a request to stop, for work that continues where it stopped."""
STARTS_OVER = "Stopped. It starts over when you run it again."
"""The same for other work."""
# More reports per second than this only slow down the work.
_REPORT_S = 0.05


class TaskWidget(QWidget):
    """A progress bar with a button to cancel, for one long work at a time.

    It is hidden while nothing runs. The functions given to `start` are called in the main thread. Work that is
    interrupted is asked to stop at its next safe place; so is work whose widget or viewer is closed. Python waits for
    it before it ends.

    Parameters
    ----------
    parent : QWidget, optional
        Usually the widget that holds it in a layout.

    Attributes
    ----------
    started, finished : signal
        Emitted in the main thread before and after each work, to disable and enable buttons.
    """

    started = Signal()
    finished = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        main_thread()
        self._run: Run | None = None
        self._runs: list[Run] = []
        self.label = QLabel()
        self.label.setWordWrap(True)
        self.bar = QProgressBar()
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Stop at the next safe place.")
        self.cancel_button.clicked.connect(self.cancel)
        row = QHBoxLayout()
        row.addWidget(self.bar, 1)
        row.addWidget(self.cancel_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.label)
        layout.addLayout(row)
        self.hide()
        runs = self._runs
        when_destroyed(self, lambda: close_runs(runs))
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(lambda: close_runs(runs))

    @property
    def is_running(self) -> bool:
        """Whether work is running, or its result has not been delivered yet."""
        return self._run is not None

    def start(
        self,
        work: Work[R],
        *,
        label: str = "",
        on_result: Callable[[R], None] | None = None,
        on_error: Callable[[Exception], None] | None = None,
        on_warning: Callable[[str], None] | None = None,
    ) -> None:
        """Run a function in a thread.

        Parameters
        ----------
        work : callable
            Takes a `Progress` and a `ShouldStop`. It must not touch widgets or layers.
        label : str
            Shown until the first report.
        on_result : callable, optional
            Takes what `work` returns.
        on_error : callable, optional
            Takes the exception. After a request to stop, it is an `InterruptedRunError`.
        on_warning : callable, optional
            Takes the text of each `OutOfDistributionWarning` and its subclasses that `tomostain.errors.warn_user`
            issues in the thread of `work`, as this package does.

        Raises
        ------
        RuntimeError
            If work is running.
        """
        if self.is_running:
            raise RuntimeError("a task is running; wait for it, or cancel it")
        run = self._run = Run()
        self._runs[:] = [run]
        self._callbacks = (on_result, on_error, on_warning)
        self._begun: tuple[str, float, int] = ("", time.monotonic(), 0)
        self.label.setText(label)
        self.bar.setRange(0, 0)
        self.cancel_button.setEnabled(True)
        self.show()
        self.started.emit()
        # Not a daemon: Python waits for it at exit, so that a volume is left in a state that can be continued.
        threading.Thread(target=self._work, args=(work, run), name=f"tomostain {label}").start()

    def cancel(self) -> None:
        """Ask the work to stop at the next safe place."""
        if self._run is not None:
            self._run.stop.set()
            self.cancel_button.setEnabled(False)
            self.label.setText("Stopping at the next safe place …")

    def drop(self) -> None:
        """Ask the work to stop, and deliver nothing more; for a widget that is closed."""
        close_runs(self._runs)
        if self._run is not None:
            self._run = None
            self.hide()
            self.finished.emit()

    def _show_progress(self, label: str, done: int, total: int) -> None:
        if self._run is None or self._run.stop.is_set():
            return
        time_s = time.monotonic()
        if label != self._begun[0]:
            self._begun = (label, time_s, done)
        self.bar.setRange(0, max(total, 1))
        self.bar.setValue(done)
        left = time_left(time_s - self._begun[1], done - self._begun[2], total - self._begun[2])
        self.label.setText(f"{label}: {done} of {total}{f', {left} left' if left else ''}")

    def _show_warning(self, text: str) -> None:
        if self._callbacks[2] is not None:
            self._callbacks[2](text)

    def _end(self, result: Any, error: Exception | None) -> None:
        on_result, on_error, _ = self._callbacks
        self._run = None
        self.hide()
        self.finished.emit()
        if error is None and on_result is not None:
            on_result(result)
        elif error is not None and on_error is not None:
            on_error(error)
        elif error is not None and not isinstance(error, InterruptedRunError):
            raise error

    def _work(self, work: Work[Any], run: Run) -> None:
        """Run work in its thread, and report its progress, its warnings and its end."""
        last = ("", 0.0)

        def report(label: str, done: int, total: int) -> None:
            nonlocal last
            time_s = time.monotonic()
            if label != last[0] or done >= total or time_s - last[1] >= _REPORT_S:
                last = (label, time_s)
                run.later(self._show_progress, label, done, total)

        result: object = None
        error: Exception | None = None
        try:
            with warnings_to(lambda text: run.later(self._show_warning, text)):
                result = work(report, run.stop.is_set)
        except Exception as raised:  # shown by the widget
            error = raised
        run.later(self._end, result, error)


class LatestOnly(Generic[Request, R]):
    """Computations of which only the latest matters, such as previews while a slider moves.

    One computation runs at a time, in a thread. A newer request replaces one that waits.

    Parameters
    ----------
    work : callable
        Takes a request. It must not touch widgets or layers.
    on_result : callable
        Takes the result, in the main thread.
    on_error : callable, optional
        Takes the exception of the latest request, in the main thread.
    deliver_all : bool
        Deliver the result also if a newer request waits. False: drop it.
    """

    def __init__(
        self,
        work: Callable[[Request], R],
        on_result: Callable[[R], None],
        on_error: Callable[[Exception], None] | None = None,
        *,
        deliver_all: bool = False,
    ) -> None:
        self._work, self._on_result, self._on_error = work, on_result, on_error
        self._deliver_all = deliver_all
        self._waiting: list[Request] = []
        main_thread()
        self._run = Run()
        self._is_running = self._is_closed = False

    @property
    def is_running(self) -> bool:
        """Whether a computation runs or waits."""
        return self._is_running

    def request(self, request: Request) -> None:
        """Ask for a computation. It replaces one that waits."""
        if self._is_closed:
            return
        self._waiting = [request]
        if not self._is_running:
            self._begin()

    def drop(self) -> None:
        """Forget the request that waits, and the result of the one that runs."""
        self._waiting = []
        self._run.close()
        self._run = Run()
        self._is_running = False

    def close(self) -> None:
        """Drop everything and accept no more requests; for a widget that is closed."""
        self.drop()
        self._is_closed = True

    def _begin(self) -> None:
        request = self._waiting.pop()
        self._is_running = True
        threading.Thread(target=self._compute, args=(request, self._run), name="tomostain preview").start()

    def _compute(self, request: Request, run: Run) -> None:
        result: R | None = None
        error: Exception | None = None
        try:
            result = self._work(request)
        except Exception as raised:  # shown by the widget
            error = raised
        run.later(self._end, result, error)

    def _end(self, result: R, error: Exception | None) -> None:
        self._is_running = False
        is_latest = not self._waiting
        if self._waiting:
            self._begin()
        if error is None and (is_latest or self._deliver_all):
            self._on_result(result)
        elif error is not None and is_latest:
            if self._on_error is None:
                raise error
            self._on_error(error)


def time_left(elapsed_s: float, done: int, total: int) -> str:
    """Return the time that is left as text; "" if it cannot be estimated yet.

    Examples
    --------
    >>> time_left(10, 1, 13), time_left(30, 3, 4), time_left(3600, 1, 4), time_left(0.1, 1, 2)
    ('2 min', '10 s', '3.0 h', '')
    """
    if done <= 0 or done >= total or elapsed_s < 1:
        return ""
    left_s = elapsed_s / done * (total - done)
    if left_s < 90:
        return f"{left_s:.0f} s"
    return f"{left_s / 60:.0f} min" if left_s < 5400 else f"{left_s / 3600:.1f} h"
