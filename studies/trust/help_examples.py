"""Record time and message of the examples of `--help`: `python -m studies.trust.help_examples OUT [--verb stain …]`.

`tests/cli/test_cli_help_examples.py` executes the same examples at toy size with the inputs of
`tests/support/help_inputs.py`. Here each one runs in a fork of this process. `OUT/examples.csv` grows with each
example; a second call runs only those that are not in it.
"""

import argparse
import csv
import shutil
import subprocess
from pathlib import Path

from studies.trust.forked import Limits, run_function, warm_up


def run_in_fork(line: str, inputs: Path, place: Path) -> tuple[int, float, str]:
    """Run one example; return exit code, processor time and its last line."""
    folder = place / "work"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()

    def command() -> int:
        from tests.support.help_examples import run_example

        return run_example(line, inputs, folder)

    outcome = run_function(command, folder, limits=Limits(seconds=300, memory_bytes=1 << 34, address_bytes=1 << 35))
    return outcome.code, outcome.seconds, (outcome.lines or [""])[-1][:200]


def main() -> None:
    """Run the examples and write the table."""
    from tests.support.help_examples import NOT_EXECUTED, help_examples
    from tests.support.help_inputs import help_inputs

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--verb", nargs="*", help="only the examples of these verbs")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    warm_up()
    inputs = help_inputs(out)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    table = out / "examples.csv"
    rows = list(csv.reader(table.open(newline=""))) if table.is_file() else []
    done = {row[1] for row in rows}
    for line in help_examples():
        verb = line.split()[0]
        if line in done or verb not in (arguments.verb or [verb]):
            continue
        if line in NOT_EXECUTED:
            row = [verb, line, "not run", "", NOT_EXECUTED[line], commit.stdout.strip()]
        else:
            code, seconds, message = run_in_fork(line, inputs, out)
            row = [verb, line, str(code), f"{seconds:.1f}", message, commit.stdout.strip()]
        rows.append(row)
        with table.open("a", newline="") as file:
            csv.writer(file).writerow(row)
        print(" | ".join(row), flush=True)
    ran = [row for row in rows if row[2] != "not run"]
    print(f"{len(ran)} examples run, {sum(row[2] == '0' for row in ran)} ended with 0; {len(rows) - len(ran)} not run")


if __name__ == "__main__":
    main()
