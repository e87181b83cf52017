"""Stop every stage at random moments, and check whether the same command resumes to the same bits.

`python -m studies.trust.kills OUT --stage train prepare register stain export --times 50`

For each stage an undisturbed run gives the result and its duration. Then, again and again: the command is started in
an empty folder and stopped after a random time, up to three times in a row; its content is checked; the same
command is run to its end, and the result compared with that of the undisturbed run. The stages take turns in rounds
(`--round`), so that their numbers are equal whenever the time is over (`--until`). `OUT/kills.csv` grows with each
trial, and a second call adds to it. Ways to stop a command (`--how`): `kill` (SIGKILL), `term`, `interrupt` (Ctrl-C,
also to the processes that the command started), `full` (a disk of random size: a mounted tmpfs, or a limit of the file
size where nothing can be mounted), `readonly` (a folder that may not be written) and `vanish` (the input disappears).
"""

import argparse
import csv
import datetime
import hashlib
import multiprocessing.util
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from studies.trust.forked import TOO_EARLY, Limits, Outcome, run_function, warm_up
from studies.trust.hostile.case import VOXEL_UM
from studies.trust.hostile.world import make_world

EXISTS = "exists already"
"""In the message of a command whose output is complete."""
NOBODY = 65534
LIMITS = Limits(seconds=60)
HOW = ("kill", "term", "interrupt", "full", "readonly", "vanish")
SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "interrupt": signal.SIGINT}
# Files whose bytes depend on the clock, or that grow while the command works.
GROWING = (
    "best-*",
    "metrics.csv",
    "last",
    "zarr.json",
    ".zattrs",
    "SHA256SUMS",
    "scores.csv",
    "run.yaml",
    "recipe.yaml",
)


@dataclass(frozen=True)
class Stage:
    """A command and its result.

    Attributes
    ----------
    name : str
    command : tuple of str
        ``WORLD`` stands for the folder of good inputs; the command runs in an empty folder.
    inputs : tuple of str
        What is copied from the world, so that it can vanish.
    ignored : tuple of str
        Patterns of files that two undisturbed runs do not share bit for bit.
    clock_s : float or None
        Seconds between the checkpoints of a training (instead of 60).
    """

    name: str
    command: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    clock_s: float | None = None


LEVELS = ("--background", "10000", "--bone", "30000", "--voxel-um", str(VOXEL_UM))
TRAINING = ("events.*", "metrics.csv", "last", "run.yaml", "*.log")
STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            "train",
            ("train", "dataset", "run", "--recipe", "WORLD/recipe.yaml", "--max-steps", "24", "--resume"),
            ("dataset",),
            TRAINING,
            0.05,
        ),
        Stage("prepare", ("prepare", "specimens.csv", "out-dataset"), ("specimen", "specimens.csv")),
        Stage(
            "prepare-aligned",
            (
                "prepare",
                "--aligned",
                "ct",
                "he",
                "out-dataset",
                "--voxel-um",
                "20",
                "--normalise",
                "range",
                "--mask",
                "none",
            ),
            ("ct", "he"),
        ),
        Stage(
            "prepare-jobs",  # two worker processes, each with a global search
            ("prepare", "unregistered.csv", "out-dataset", "--config", "WORLD/prepare.yaml", "--jobs", "2"),
            ("specimen", "unregistered.csv"),
        ),
        Stage(
            "register",
            (
                "register",
                "specimen/volume",
                "specimen/slide.ome.tif",
                "pair",
                "--init",
                "specimen/truth/section.yaml",
                "--config",
                "WORLD/register.yaml",
                "--accept",
            ),
            ("specimen",),
        ),
        Stage(
            "stain",
            (
                "stain",
                "WORLD/model",
                "deep",
                "out.ome.zarr",
                *LEVELS,
                "--uncertainty",
                "uncertainty.ome.zarr",
                "--ensemble",
                "WORLD/other-model",
            ),
            ("deep",),
        ),
        Stage("stain-zyx", ("stain", "WORLD/model", "deep", "out.ome.zarr", *LEVELS, "--planes", "zyx"), ("deep",)),
        Stage("export", ("export", "stained.ome.zarr", "slices", "--to", "rgba-tiff"), ("stained.ome.zarr",)),
        Stage(
            "export-0.4",
            ("export", "stained.ome.zarr", "older.ome.zarr", "--to", "ome-zarr-0.4"),
            ("stained.ome.zarr",),
        ),
        Stage("export-nrrd", ("export", "stained.ome.zarr", "out.nrrd", "--to", "nrrd"), ("stained.ome.zarr",)),
        Stage("models", ("models", "copy", "WORLD/run/model", "my-model")),
        Stage(
            "resample",
            ("resample", "deep", "small.ome.zarr", "--input-voxel-um", str(VOXEL_UM), "--voxel-um", "25"),
            ("deep",),
        ),
        Stage("view", ("view", "stained.ome.zarr", "--out", "figures"), ("stained.ome.zarr",)),
        Stage(
            "evaluate",
            ("evaluate", "WORLD/run", "dataset", "evaluation", "--lpips", "none", "--patch-px", "16"),
            ("dataset",),
        ),
        Stage("phantom", ("phantom", "grown", "--size", "32", "--voxel-um", "60", "--pixel-um", "40")),
    )
}
# Stages whose command may be given again after it has ended well.
CONTINUING = ("train", "stain", "stain-zyx", "resample")


@dataclass
class Trial:
    """One command that is stopped, and what came of it. `faults` is empty if all is well.

    Attributes
    ----------
    stage, how : str
    number : int
        Determines, with `seed`, the moment and how often in a row the command is stopped.
    after_s : float
        Moment of the first stop, seconds.
    code : int
        Exit code of the last command that was to be stopped.
    stops : int
        Stops that met the command while it ran.
    commit : str
    """

    stage: str
    how: str
    number: int
    after_s: float
    code: int
    stops: int = 0
    commit: str = ""
    faults: list[str] = field(default_factory=list)
    message: str = ""


class Harness:
    """Runs the commands of one stage."""

    def __init__(self, stage: Stage, world: Path, place: Path) -> None:
        self.stage, self.world, self.place = stage, world, place
        self.folder = place / "work"
        self.expected: dict[str, str] = {}
        self.durations: list[float] = []

    @property
    def seconds(self) -> float:
        """The median wall time of the last five commands that ran to their end."""
        return float(np.median(self.durations[-5:]))

    def fresh(self, folder: Path | None = None) -> None:
        """Make the working folder with copies of the inputs."""
        folder = folder or self.folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tmp").mkdir()
        self.give_inputs(folder)

    def give_inputs(self, folder: Path) -> None:
        for name in self.stage.inputs:
            source = self.world / name
            if source.is_dir():
                shutil.copytree(source, folder / name, dirs_exist_ok=True)
            else:
                shutil.copy(source, folder / name)

    def run(self, folder: Path | None = None, **options: object) -> Outcome:
        """Run the command in the working folder."""
        folder = folder or self.folder
        words = [word.replace("WORLD", str(self.world)) for word in self.stage.command]

        # Before the fork: a stop during these imports would say nothing about the command.
        import tomostain.train.loop
        from tomostain.cli.interruption import end_by_signals
        from tomostain.cli.main import run
        from tomostain.interrupts import end_at_signals

        def command() -> int:
            tempfile.tempdir = str(folder / "tmp")
            os.environ["TMPDIR"] = str(folder / "tmp")
            if self.stage.clock_s is not None:
                tomostain.train.loop.CHECKPOINT_EVERY_S = self.stage.clock_s
            end_at_signals()  # as the program does
            code = run(["--quiet", *words])
            end_by_signals()
            multiprocessing.util._exit_function()  # type: ignore[attr-defined]  # a fork ends without it
            return code

        return run_function(command, folder, **{"limits": LIMITS} | options)  # type: ignore[arg-type]

    def result(self, folder: Path | None = None) -> dict[str, str]:
        """Return the digests of all files of the result."""
        folder = folder or self.folder
        files = {}
        for path in sorted(folder.rglob("*")):
            name = str(path.relative_to(folder))
            if (
                name.split("/")[0] in (*self.stage.inputs, "tmp")
                or path.is_dir()
                or any(path.match(each) for each in self.stage.ignored)
            ):
                continue
            files[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return files

    def undisturbed(self) -> None:
        """Run the command to its end, twice: the two results must be equal, or the comparison means nothing."""
        results = []
        for _ in range(2):
            self.fresh()
            outcome = self.run()
            if outcome.code != 0:
                raise SystemExit(f"{self.stage.name}: does not work undisturbed ({outcome.code}): {outcome.err[-600:]}")
            self.durations.append(outcome.wall)
            results.append(self.result())
        differing = sorted(
            name for name in results[0].keys() | results[1].keys() if results[0].get(name) != results[1].get(name)
        )
        if differing:
            raise SystemExit(f"{self.stage.name}: two undisturbed runs differ in {differing[:5]}")
        self.expected = results[0]

    def half_written(self, folder: Path | None = None) -> list[str]:
        """Return the files under their final names that are neither absent nor as they must be."""
        present = self.result(folder)
        return [
            name
            for name, digest in present.items()
            if name in self.expected
            and digest != self.expected[name]
            and not any(Path(name).match(pattern) for pattern in GROWING)
        ]

    def leftovers(self, folder: Path | None = None) -> list[str]:
        """Return hidden files, locks and temporary files that are not part of the result."""
        folder = folder or self.folder
        names = [
            str(path.relative_to(folder))
            for path in folder.rglob("*")
            if not path.is_dir() or path.name.startswith(".")
        ]
        known = self.expected.keys()
        return sorted(
            name
            for name in names
            if name not in known
            and (
                name.startswith("tmp/")
                or Path(name).name.startswith(".")
                or name.endswith((".lock", ".tmp", ".partial"))
                or "/." in name
            )
            and name.split("/")[0] not in self.stage.inputs
        )

    def finish(self, trial: Trial, folder: Path | None = None) -> None:
        """Run the same command to its end, and compare."""
        untouched = not self.result(folder)
        outcome = self.run(folder)
        if outcome.code == 0 and untouched:
            self.durations.append(outcome.wall)
        if outcome.code != 0 and EXISTS in outcome.err and self.result(folder) == self.expected:
            return  # it was stopped after its last step
        if outcome.code != 0:
            trial.faults.append(f"does not go on ({outcome.code}): {(outcome.lines or [''])[-1][:200]}")
            return
        result = self.result(folder)
        differing = sorted(
            name for name in result.keys() | self.expected.keys() if result.get(name) != self.expected.get(name)
        )
        hidden = self.leftovers(folder)
        differing = [name for name in differing if name not in hidden]
        if differing:
            trial.faults.append(f"another result: {', '.join(differing[:4])}")
        if hidden:
            trial.faults.append(f"leftovers: {', '.join(hidden[:4])}")


def one_line(outcome: Outcome) -> bool:
    """Return whether a command said in one line why it ended."""
    lines = [line for line in outcome.lines if not line.startswith("warning: ")]
    return len(lines) == 1 and lines[0].startswith("tomostain: ")


def signalled(harness: Harness, trial: Trial, moment: float) -> None:
    """SIGKILL, SIGTERM or Ctrl-C, up to three times in a row, then the same command to its end."""
    number = SIGNALS[trial.how]
    harness.fresh()
    for part in (1.0, 0.6, 0.4)[: 1 + trial.number % 3]:
        outcome = harness.run(kill_after=moment * part, kill_signal=number)
        trial.code, trial.message = outcome.code, (outcome.lines or [""])[-1][:200]
        trial.stops += outcome.code != 0 and TOO_EARLY not in outcome.err
        if trial.how != "kill" and outcome.code not in (0, 130, 128 + number, -number):
            trial.faults.append(f"exit code {outcome.code}")
        if trial.how != "kill" and outcome.code in (130, 128 + number) and not one_line(outcome):
            trial.faults.append("more than one line")
        if trial.how == "term" and outcome.code == -number:
            trial.message = "ended by the signal"
        if outcome.survivors:
            trial.faults.append(f"{len(outcome.survivors)} processes survive: {outcome.survivors[0][:120]}")
        half = harness.half_written()
        if half:
            trial.faults.append(f"half-written: {', '.join(half[:3])}")
        if outcome.code == 0:
            break
    # Stopped after its last write, a command that does not continue has nothing left to do.
    complete = harness.result() == harness.expected
    if complete or (outcome.code == 0 and harness.stage.name not in CONTINUING):
        if not complete:
            trial.faults.append("another result, though it ended well")
        return
    harness.finish(trial)


def full_disk(harness: Harness, trial: Trial, share: float) -> None:
    """A disk too small for the result; then there is room."""
    disk = harness.place / "disk"
    disk.mkdir(exist_ok=True)
    subprocess.run(["umount", str(disk)], capture_output=True, check=False)
    mounted = (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)], capture_output=True, check=False
        ).returncode
        == 0
    )
    folder = disk / "work"
    try:
        harness.fresh(folder)
        if mounted:
            used = sum(path.stat().st_blocks * 512 for path in disk.rglob("*"))
            subprocess.run(
                ["mount", "-o", f"remount,size={int(used + share * harness_size(harness))}", str(disk)], check=True
            )
            outcome = harness.run(folder, log_folder=harness.place)  # which must not be full
            subprocess.run(["mount", "-o", "remount,size=256m", str(disk)], check=True)
        else:
            outcome = harness.run(folder, limits=Limits(seconds=60, file_bytes=max(1, int(2e5 * share))))
        trial.code, trial.message = outcome.code, (outcome.lines or [""])[-1][:200]
        if outcome.code != 0 and (outcome.code != 2 or not one_line(outcome)):
            trial.faults.append(f"exit code {outcome.code}, {len(outcome.lines)} lines")
        elif outcome.code == 2 and not any(word in outcome.err for word in ("full", "quota", "space")):
            trial.faults.append("does not name the full disk")
        half = harness.half_written(folder)
        if half:
            trial.faults.append(f"half-written: {', '.join(half[:3])}")
        harness.finish(trial, folder)
    finally:
        subprocess.run(["umount", "-l", str(disk)], capture_output=True, check=False)


def harness_size(harness: Harness) -> int:
    """Return roughly how many bytes the command needs on a disk."""
    return SIZES.setdefault(harness.stage.name, _size_of_result(harness))


SIZES: dict[str, int] = {}


def _size_of_result(harness: Harness) -> int:
    harness.fresh()
    harness.run()
    files = [
        path
        for path in harness.folder.rglob("*")
        if str(path.relative_to(harness.folder)).split("/")[0] not in harness.stage.inputs
    ]
    return sum(path.stat().st_blocks * 512 for path in files) or 4096


def read_only(harness: Harness, trial: Trial, _: float) -> None:
    """A folder in which this user may not write."""
    harness.fresh()
    harness.folder.chmod(0o555)
    (harness.folder / "tmp").chmod(0o777)
    outcome = harness.run(user=NOBODY if os.getuid() == 0 else None)
    harness.folder.chmod(0o755)
    trial.code, trial.message = outcome.code, (outcome.lines or [""])[-1][:200]
    if outcome.code != 2 or not one_line(outcome):
        trial.faults.append(f"exit code {outcome.code}, {len(outcome.lines)} lines")
    harness.finish(trial)


def vanished(harness: Harness, trial: Trial, moment: float) -> None:
    """The input disappears while the command runs; later it is there again."""
    if not harness.stage.inputs:
        return
    harness.fresh()
    names = harness.stage.inputs

    def remove() -> None:
        for name in names:
            path = harness.folder / name
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    # Removed by another process, because this one must not have threads when it forks.
    remover = os.fork()
    if remover == 0:
        import time

        time.sleep(moment)
        remove()
        os._exit(0)
    outcome = harness.run()
    os.waitpid(remover, 0)
    trial.code, trial.message = outcome.code, (outcome.lines or [""])[-1][:200]
    if outcome.code not in (0, 2) or (outcome.code == 2 and not one_line(outcome)):
        trial.faults.append(f"exit code {outcome.code}, {len(outcome.lines)} lines")
    harness.give_inputs(harness.folder)
    if outcome.code == 0:
        return
    half = harness.half_written()
    if half:
        trial.faults.append(f"half-written: {', '.join(half[:3])}")
    harness.finish(trial)


WAYS: Mapping[str, Callable[[Harness, Trial, float], None]] = {
    "kill": signalled,
    "term": signalled,
    "interrupt": signalled,
    "full": full_disk,
    "readonly": read_only,
    "vanish": vanished,
}


def try_stage(
    harness: Harness, how: str, numbers: Iterable[int], *, seed: int = 0, commit: str = ""
) -> Iterator[Trial]:
    """Stop a stage in one way, once for each number."""
    for number in numbers:
        if not harness.expected:
            harness.undisturbed()
        rng = np.random.default_rng([seed, HOW.index(how), list(STAGES).index(harness.stage.name), number])
        value = float(rng.random())
        moment = value if how == "full" else value * 1.02 * harness.seconds
        trial = Trial(harness.stage.name, how, number, round(moment, 3), 0, commit=commit)
        WAYS[how](harness, trial, moment)
        if how not in SIGNALS:
            trial.stops = int(trial.code != 0)
        yield trial


def add_to_world(world: Path) -> None:
    """Add what only these stages need: a deep volume, aligned pictures, a table of specimens."""
    import tifffile

    from studies.trust.hostile.images import aligned_base
    from tests.support.toys import toy_model

    toy_model(world / "other-model", seed=1, voxel_um=VOXEL_UM)
    rng = np.random.default_rng(3)
    blocks = np.kron(rng.random((32, 4, 34)) < 0.5, np.ones((1, 8, 8), bool))
    deep = np.where(blocks, 30000, 10000).astype(np.uint16) + rng.integers(0, 300, blocks.shape).astype(np.uint16)
    (world / "deep").mkdir()
    for index, image in enumerate(deep):
        tifffile.imwrite(world / f"deep/s_{index:03d}.tif", image, metadata=None)
    aligned_base(world)
    rows = "".join(f"s{n},specimen/volume,specimen/slide.ome.tif,specimen/truth/section.yaml\n" for n in range(3))
    (world / "specimens.csv").write_text("specimen,volume,slide,section\n" + rows)
    rows = "".join(f"s{n},specimen/volume,specimen/slide.ome.tif\n" for n in range(2))
    (world / "unregistered.csv").write_text("specimen,volume,slide\n" + rows)
    options = ("material: dense", "side: 16", "step_deg: 30.0", "candidates: 50", "max_voxels: 64", "restarts: 2")
    quick = "".join(f"{option}\n" for option in (*options, "thorough: false"))
    (world / "register.yaml").write_text(quick)
    accepted = "".join(f"  {line}\n" for line in (*quick.splitlines(), "threshold: 0.0"))
    (world / "prepare.yaml").write_text(f"registration:\n{accepted}")


def main() -> None:
    """Run the stages and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--stage", nargs="*", default=list(STAGES), choices=list(STAGES))
    parser.add_argument("--how", nargs="*", default=["kill"], choices=HOW)
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--round", type=int, default=10, help="trials of a stage before the next one has its turn")
    parser.add_argument("--until", help="start no trial after this time of the day, HH:MM")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    warm_up()
    world = out / "world"
    if not world.is_dir():
        shutil.rmtree(out / "world-in-work", ignore_errors=True)
        make_world(out / "world-in-work")
        add_to_world(out / "world-in-work")
        (out / "world-in-work").rename(world)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    table = out / "kills.csv"
    trials = read_trials(table)
    harnesses = {name: Harness(STAGES[name], world, out / "place" / name) for name in arguments.stage}
    for name, how, numbers in turns(arguments, trials):
        try:
            for trial in try_stage(harnesses[name], how, numbers, seed=arguments.seed, commit=commit):
                trials.append(trial)
                add_trial(table, trial)
                if arguments.until and datetime.datetime.now().strftime("%H:%M") >= arguments.until:
                    break
        except SystemExit as error:
            print(error, file=sys.stderr)
        (out / "kills.md").write_text(report(trials))
        if arguments.until and datetime.datetime.now().strftime("%H:%M") >= arguments.until:
            break
    print(report(trials))


def turns(arguments: argparse.Namespace, trials: list[Trial]) -> Iterator[tuple[str, str, list[int]]]:
    """Yield stage, way and numbers of the trials that are still to be run, in rounds."""
    ran = {(trial.stage, trial.how, trial.number) for trial in trials}
    for start in range(0, arguments.times, arguments.round):
        for how in arguments.how:
            for name in arguments.stage:
                numbers = range(start, min(start + arguments.round, arguments.times))
                yield name, how, [number for number in numbers if (name, how, number) not in ran]


def read_trials(table: Path) -> list[Trial]:
    """Return the trials of an earlier call."""
    if not table.exists():
        return []
    with table.open(newline="") as file:
        return [
            Trial(
                stage=row["stage"],
                how=row["how"],
                number=int(row["number"]),
                after_s=float(row["after_s"]),
                code=int(row["code"]),
                stops=int(row["stops"]),
                commit=row["commit"],
                faults=[fault for fault in row["faults"].split(" | ") if fault],
                message=row["message"],
            )
            for row in csv.DictReader(file)
        ]


def add_trial(table: Path, trial: Trial) -> None:
    """Append a trial to the table."""
    begun = table.exists()
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(trial)))
        if not begun:
            writer.writeheader()
        writer.writerow(asdict(trial) | {"faults": " | ".join(trial.faults)})


def report(trials: list[Trial]) -> str:
    """Return a table by stage and way, and the list of faults."""
    commits = ", ".join(sorted({trial.commit for trial in trials if trial.commit}))
    lines = [
        f"{len(trials)} trials, {sum(trial.stops for trial in trials)} stops; {datetime.datetime.now():%Y-%m-%d}, "
        f"commit {commits}, Python {platform.python_version()}.",
        "",
        "| stage | how | trials | stops | good | faults |",
        "|---|---|---|---|---|---|",
    ]
    for stage, how in dict.fromkeys((trial.stage, trial.how) for trial in trials):
        group = [trial for trial in trials if (trial.stage, trial.how) == (stage, how)]
        stops = sum(trial.stops for trial in group)
        good = sum(not trial.faults for trial in group)
        lines.append(f"| {stage} | {how} | {len(group)} | {stops} | {good} | {len(group) - good} |")
    lines += ["", "Faults:", ""]
    lines += [
        f"- {t.stage}, {t.how} {t.number} after {t.after_s}: {'; '.join(t.faults)} [{t.code}: {t.message}]"
        for t in trials
        if t.faults
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
