"""Try hostile and broken inputs: `python -m studies.trust.hostile OUT [--kind tiff …] [--count N] [--seed S]`."""

import argparse
import collections
import csv
import datetime
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from studies.trust.forked import Limits, Outcome, run_command, run_function, warm_up
from studies.trust.hostile.case import Case, digest_of, probe_volume, volume_values
from studies.trust.hostile.watch import Watch
from studies.trust.hostile.world import make_outside, make_world

LIMITS = Limits(seconds=10, memory_bytes=1 << 30)
FOLDER = "case"


@dataclass
class Result:
    """The verdict on one command and one input. `verdict` is "good" or the name of a fault."""

    number: int
    kind: str
    operator: str
    command: str
    verdict: str
    code: int
    seconds: float
    megabytes: float
    message: str


def all_cases() -> list[Case]:
    """Return all cases, in a fixed order."""
    from studies.trust.hostile import (
        documents,
        hdf5_files,
        headers,
        images,
        models,
        stored,
        tiff_files,
        undamaged,
        volumes,
        zarr_stores,
    )

    modules = (undamaged, volumes, tiff_files, hdf5_files, zarr_stores, headers, images, documents, models, stored)
    return [case for module in modules for case in module.cases()]


def judged(case: Case, outcome: Outcome, opened: Sequence[str], marked: bool) -> str:
    """Return "good", or what is wrong with an outcome, whatever the case expects."""
    if outcome.forbidden or marked:
        return "executed"
    if opened and not case.outside:
        return "read outside"
    # The kernel ends a process that computes for too long by SIGXCPU.
    if outcome.timed_out or outcome.seconds > LIMITS.seconds or outcome.code == -signal.SIGXCPU:
        return "time"
    if outcome.memory > LIMITS.memory_bytes:
        return "memory"
    if outcome.code < 0:
        return "crash"
    if outcome.code == 1 or outcome.code > 90:
        return "internal error"
    if case.expect == "right" and outcome.code != 0:
        return "refused"
    lines = [line for line in outcome.lines if not line.startswith(("warning: ", "resampling: "))]
    if outcome.code in (2, 3) and (len(lines) != 1 or not lines[0].startswith("tomostain: ")):
        return "more than one line"
    if outcome.code == 0 and [line for line in lines if not line.startswith("tomostain: ")]:
        return "messages of a library"
    return "good"


def tried(number: int, case: Case, world: Path, watch: Watch, seed: int = 0) -> list[Result]:
    """Make a case, run its commands, and judge them."""
    place = world.parent / "cases"
    folder = place / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    case.make(folder, np.random.default_rng([seed, number]))
    watch.opened()
    results = []
    refused = checked = False

    def record(command: str, outcome: Outcome, verdict: str) -> None:
        message = (outcome.forbidden or outcome.lines or [""])[-1]
        results.append(
            Result(
                number,
                case.kind,
                case.operator,
                command,
                verdict,
                outcome.code,
                round(outcome.seconds, 3),
                round(outcome.memory / 1e6, 1),
                message[:300],
            )
        )

    if case.probe is not None:
        outcome = run_function(lambda: probe_volume(case.probe or ""), folder, limits=LIMITS)
        verdict = judged(case, outcome, watch.opened(), (folder / "executed").exists())
        refused = outcome.code == 2
        if verdict == "good" and outcome.code == 0:
            altered = outcome.out.strip() != GOOD
            if case.expect == "refuse":
                verdict = "accepted"
            elif altered:
                verdict = "good (altered)" if case.expect == "any" else "accepted"
        record("read", outcome, verdict)
    for words in case.commands:
        command = [word.replace("WORLD", str(world)) for word in words]
        outcome = run_command(command, folder, limits=LIMITS)
        verdict = judged(case, outcome, watch.opened(), (folder / "executed").exists())
        # A card is text: to show it, nothing else of the model is read.
        # A dry run reads headers, and the fault may be in the values.
        must_refuse = case.expect == "refuse" and words[:2] != ("models", "describe")
        must_refuse = must_refuse and not ((refused or checked) and "--dry-run" in words)
        checked = checked or (words[0] == "check" and outcome.code == 2)
        if verdict == "good" and outcome.code == 0 and (must_refuse or (refused and words[0] in ("stain", "resample"))):
            verdict = "accepted"
        record(" ".join(words), outcome, verdict)
    return results


GOOD = digest_of(volume_values())


def main() -> int:
    """Run the cases and write the report; 1 if an answer is not good."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kind", nargs="*", default=None, help="only these kinds")
    parser.add_argument("--like", default="", help="only operators that contain this text")
    parser.add_argument("--count", type=int, default=0, help="a random sample of so many (0: all)")
    parser.add_argument("--per-kind", type=int, default=0, help="a random sample of so many of each kind (0: all)")
    parser.add_argument("--commands", type=int, default=0, help="only the first commands of each input (0: all)")
    parser.add_argument("--part", type=int, nargs=2, metavar=("K", "N"), help="only every N-th input from number K on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", type=Path, help="results.csv of an earlier run: only the inputs with faults in it")
    parser.add_argument("--keep-world", action="store_true", help="use the good inputs of the last run")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    warm_up()
    world = out / "world"
    if not (arguments.keep_world and world.is_dir()):
        make_world(world)
    make_outside(out / "cases/outside")
    chosen = [
        (number, case)
        for number, case in enumerate(all_cases())
        if (arguments.kind is None or case.kind in arguments.kind) and arguments.like in case.operator
    ]
    if arguments.part is not None:
        chosen = chosen[arguments.part[0] :: arguments.part[1]]
    if arguments.again is not None:
        with arguments.again.open(newline="") as file:
            faults = {
                (row["kind"], row["operator"]) for row in csv.DictReader(file) if not row["verdict"].startswith("good")
            }
        chosen = [(number, case) for number, case in chosen if (case.kind, case.operator) in faults]
    chosen = sampled(chosen, arguments.count, arguments.per_kind, arguments.seed)
    if arguments.commands:
        chosen = [(number, replace(case, commands=case.commands[: arguments.commands])) for number, case in chosen]
    results: list[Result] = []
    watch = Watch(out / "cases/outside")
    for number, case in chosen:
        try:
            results += tried(number, case, world, watch, arguments.seed)
        except Exception as error:
            print(f"{case.kind}, {case.operator}: cannot be made: {error!r}", file=sys.stderr)
        if number % 200 == 0 and results:
            write_report(out, results, show=False)
    write_report(out, results)
    return int(not results or any(not is_good(result) for result in results))


def sampled(cases: Sequence[tuple[int, Case]], count: int, per_kind: int, seed: int) -> list[tuple[int, Case]]:
    """Return a random sample, in the order of the cases: `per_kind` of each kind, and of these `count`. 0: all."""
    rng = np.random.default_rng(seed)
    chosen = [cases[pick] for pick in rng.permutation(len(cases))]
    if per_kind:
        seen: collections.Counter[str] = collections.Counter()
        selected = []
        for number, case in chosen:
            seen[case.kind] += 1
            if seen[case.kind] <= per_kind:
                selected.append((number, case))
        chosen = selected
    return sorted(chosen[: count or None], key=lambda each: each[0])


def write_report(out: Path, results: Sequence[Result], show: bool = True) -> None:
    """Write `results.csv` and `report.md`, and print the report."""
    with (out / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(results[0])))
        writer.writeheader()
        writer.writerows(asdict(result) for result in results)
    text = report(results)
    (out / "report.md").write_text(text)
    if show:
        print(text)


def report(results: Sequence[Result]) -> str:
    """Return the table by kind, and the list of faults."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    cases = dict.fromkeys(result.number for result in results)
    faulty = {result.number for result in results if not is_good(result)}
    lines = [
        f"{len(cases)} hostile inputs, {len(results)} commands, {sum(result.seconds for result in results):.0f} s of "
        f"processor time; {datetime.datetime.now():%Y-%m-%d}, commit {commit.stdout.strip()}, "
        f"Python {platform.python_version()}.",
        f"{len(cases) - len(faulty)} answered well, {len(faulty)} not.",
        "",
        "| kind | inputs | good | commands | refused | right or undetectable | faults |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in sorted({result.kind for result in results}):
        of_kind = [result for result in results if result.kind == kind]
        numbers = {result.number for result in of_kind}
        faults = collections.Counter(result.verdict for result in of_kind if not is_good(result))
        refused = sum(result.code in (2, 3) and is_good(result) for result in of_kind)
        right = sum(result.code == 0 and is_good(result) for result in of_kind)
        listed = ", ".join(f"{name} {count}" for name, count in faults.most_common())
        lines.append(
            f"| {kind} | {len(numbers)} | {len(numbers - faulty)} | {len(of_kind)} | {refused} | {right} | {listed} |"
        )
    lines += ["", "Faults:", ""]
    for result in results:
        if not is_good(result):
            what = f"{result.number} {result.kind} | {result.operator} | `{result.command[:80]}`"
            how = f"code {result.code}, {result.seconds} s, {result.megabytes} MB"
            lines.append(f"- {what} | **{result.verdict}** | {how} | {result.message[:160]}")
    return "\n".join(lines) + "\n"


def is_good(result: Result) -> bool:
    """Return whether nothing is wrong with an answer."""
    return result.verdict.startswith("good")


if __name__ == "__main__":
    sys.exit(main())
