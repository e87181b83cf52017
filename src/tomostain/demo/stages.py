"""The stages of the demo: their descriptions, their durations, and an estimate of the remaining time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from tomostain.config import read_yaml
from tomostain.demo.config import DemoConfig
from tomostain.errors import InputError
from tomostain.io.atomic import write_text
from tomostain.progress import Progress, silent

OVERALL = "the whole demo, %"
RECORD = "stages.yaml"
# Seconds of each stage on two idle x86-64 cores at the default size: see `studies/demo`.
_SPECIMEN_S, _REGISTRATION_S, _PAIR_S = 4.0, 7.0, 0.6
_STEP_S, _STAINED_MVOXEL_S, _TRUTH_SLICE_S, _REPORT_S = 0.065, 0.6, 1.0, 7.0
_DEFAULT_VOXELS = 64 * 256 * 256


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes
    ----------
    name : str
    doing : str
        What it does, for the user.
    seconds : float
        Expected time on two idle cores, s.
    """

    name: str
    doing: str
    seconds: float


@dataclass(frozen=True)
class StageNotice:
    """The beginning of a stage.

    Attributes
    ----------
    number, total : int
        Counted from 1, of `total`.
    stage : Stage
    reused : bool
        The result exists already.
    left_s : float
        Expected time until the end of the demo, s.
    """

    number: int
    total: int
    stage: Stage
    reused: bool
    left_s: float

    def __str__(self) -> str:
        """Return one line for the user."""
        head = f"stage {self.number} of {self.total}, {self.stage.name}: "
        if self.reused:
            return f"{head}done before"
        return f"{head}{self.stage.doing}; about {_duration(self.left_s)} left in all"


Announce = Callable[[StageNotice], None]
"""A function that is called at the beginning of each stage."""


def silently(notice: StageNotice) -> None:
    """Ignore the notice (the default in the Python API)."""


def plan_stages(config: DemoConfig) -> tuple[Stage, ...]:
    """Return the stages of the demo in their order."""
    number, size = len(config.specimens), float(np.prod(config.shape))
    relative = size / _DEFAULT_VOXELS
    search = "find the section of each slide in its volume, in any orientation" if config.find_sections else ""
    begin = f"fine-tune {config.init}" if config.init else f"train {config.recipe or 'a model'} from random weights"
    return (
        Stage(
            "specimens",
            f"generate {number} synthetic bone-implant specimens, each a µCT volume and a slide",
            _SPECIMEN_S * number * relative,
        ),
        Stage(
            "registration",
            search or "use the known section of each slide",
            _REGISTRATION_S * number if config.find_sections else 1,
        ),
        Stage("pairs", "cut, normalise and mask the pairs of µCT and histology", _PAIR_S * number),
        Stage("training", f"{begin} on {number - 1} pairs, {config.steps} steps", 5 + _STEP_S * config.steps),
        Stage("staining", "stain the µCT volume that was not used for training", 3 + _STAINED_MVOXEL_S * size / 1e6),
        Stage(
            "evaluation",
            "compare the stained volume with the truth, and with three baselines",
            2 + _TRUTH_SLICE_S * config.truth_slices * relative,
        ),
        Stage("report", "render the volume and write one page", _REPORT_S),
    )


@dataclass
class StageRunner:
    """Runs the stages one after another: announces each, forwards its progress, and records its time.

    Attributes
    ----------
    stages : tuple of Stage
    progress : Progress
        Receives the reports of the stages with ``3/7`` before the label, and the overall progress in percent.
    record : Path
        The YAML file that holds the seconds of each stage. The time of an interrupted attempt counts.
    announce : Announce
    clock : callable
        The time, s.
    seconds : dict of str to float
        The seconds of each stage so far.
    """

    stages: tuple[Stage, ...]
    record: Path
    progress: Progress = silent
    announce: Announce = silently
    clock: Callable[[], float] = time.monotonic
    seconds: dict[str, float] = field(default_factory=dict)
    _measured: float = 0.0
    _expected: float = 0.0

    def __post_init__(self) -> None:
        self.seconds = read_seconds(self.record)

    @contextmanager
    def stage(self, name: str, *, reused: bool = False) -> Iterator[Progress]:
        """Announce a stage, and record how long the block takes.

        Yields
        ------
        Progress
            The listener for this stage.
        """
        number = [stage.name for stage in self.stages].index(name)
        stage = self.stages[number]
        self.announce(StageNotice(number + 1, len(self.stages), stage, reused, self._left(number)))
        start = self.clock()
        try:
            yield self._listener(number)
        finally:
            if not reused:
                elapsed = self.clock() - start
                self._add(name, elapsed)
                self._measured += elapsed
                self._expected += stage.seconds
        self._report_overall(number, 1.0)

    def _add(self, name: str, elapsed: float) -> None:
        """Add the time of an attempt to the record, which is in the order of the stages."""
        self.seconds[name] = self.seconds.get(name, 0.0) + elapsed
        names = [stage.name for stage in self.stages if stage.name in self.seconds]
        self.seconds = {name: self.seconds[name] for name in names}
        rounded = {name: round(value, 1) for name, value in self.seconds.items()}
        write_text(self.record, yaml.safe_dump(rounded, sort_keys=False))

    def _left(self, number: int) -> float:
        """Return the expected time of this stage and those that follow, at the speed of those that were run."""
        speed = self._measured / self._expected if self._expected else 1.0
        return speed * sum(stage.seconds for stage in self.stages[number:])

    def _listener(self, number: int) -> Progress:
        """Return a listener that names the stage, and reports the overall progress too."""
        first: str | None = None

        def report(label: str, done: int, total: int) -> None:
            nonlocal first
            first = first or label
            self.progress(f"{number + 1}/{len(self.stages)} {label}", done, total)
            # Later labels of the same stage are short.
            if label == first:
                self._report_overall(number, done / max(total, 1))

        return report

    def _report_overall(self, number: int, fraction: float) -> None:
        seconds = [stage.seconds for stage in self.stages]
        done = sum(seconds[:number]) + fraction * seconds[number]
        self.progress(OVERALL, round(100 * done / sum(seconds)), 100)


def read_seconds(record: Path) -> dict[str, float]:
    """Return the seconds of each stage that a `StageRunner` recorded; an empty dict without a record."""
    try:
        return {str(name): float(value) for name, value in read_yaml(record).items()} if record.is_file() else {}
    except (InputError, TypeError, ValueError):
        return {}


def _duration(seconds: float) -> str:
    """Format a duration.

    Examples
    --------
    >>> _duration(42.0), _duration(200.0)
    ('42 s', '3 min 20 s')
    """
    whole = round(seconds)
    return f"{whole} s" if whole < 100 else f"{whole // 60} min {whole % 60} s"
