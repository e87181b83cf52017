"""Progress on the terminal: bars with the time left, or occasional lines where stderr is not a terminal."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_EVERY_S = 10.0
_MIN_FRACTION = 0.05
"""The part of the work after which a line states the time left. Earlier estimates are often wrong by a factor."""


class Bars:
    """A `tomostain.progress.Progress` that shows one bar per label on stderr, with count, elapsed time and time left.

    Where stderr is not a terminal (a log file, a batch job), it prints a line every ten seconds and at each end.

    Parameters
    ----------
    quiet : bool
        Show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True)
        self.quiet = quiet
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, tuple[float, int]] = {}
        self._last_line: dict[str, float] = {}
        self._ended: dict[str, tuple[int, int]] = {}
        self._bars = Progress(
            TextColumn("{task.description:<34}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
        )

    def __enter__(self) -> Self:
        if self.console.is_terminal and not self.quiet:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars.live.is_started:
            self._bars.stop()

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        if not self.quiet:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def __call__(self, label: str, done: int, total: int) -> None:
        """Show that `done` of `total` units of `label` are done; nothing without units, and an end only once."""
        if self.quiet or total == done == 0 or self._ended.get(label) == (done, total):
            return
        self._ended.pop(label, None)
        if done >= total:
            self._ended[label] = done, total
        if self.console.is_terminal:
            if label not in self._tasks:
                self._tasks[label] = self._bars.add_task(label, total=total)
            self._bars.update(self._tasks[label], completed=done, total=total)
        else:
            self._line(label, done, total)

    def _line(self, label: str, done: int, total: int) -> None:
        time_s = time.monotonic()
        started, first = self._started.setdefault(label, (time_s, done))
        finished = done >= total
        if not finished and time_s - max(self._last_line.get(label, started), started) < LINE_EVERY_S:
            return
        self._last_line[label] = time_s
        elapsed = time_s - started
        # A resumed work has units that were done before.
        is_measured = done > first and done - first >= _MIN_FRACTION * (total - first)
        left = ""
        if is_measured and not finished:
            left = f", about {_duration(elapsed / (done - first) * (total - done))} left"
        self.console.print(f"{label}: {done}/{total}, {elapsed:.0f} s{left}", highlight=False, soft_wrap=True)
        if finished:
            self._started.pop(label)


def _duration(seconds: float) -> str:
    """Format a duration.

    Examples
    --------
    >>> _duration(42.0), _duration(939.0)
    ('42 s', '16 min')
    """
    return f"{seconds:.0f} s" if round(seconds) < 100 else f"{seconds / 60:.0f} min"
