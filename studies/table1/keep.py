"""Store the measurements of all patches of the runs in one file, from which the tables can be printed again.

    python -m studies.table1.keep OUT [--file studies/table1/results/runs.zip]
    python -m studies.table1.report studies/table1/results/runs.zip

Adds the evaluations in OUT that the file does not contain yet. Stored evaluations are not replaced. Models and images
are not stored.
"""

import argparse
import csv
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studies.table1.report import METRICS, MORE_METRICS, VIEWS

RESULTS = Path(__file__).parent / "results" / "runs.zip"
MEASURED = (*METRICS, *MORE_METRICS)
COLUMNS = ("model", "pair", "row", "column", *MEASURED)
_DATE = (1980, 1, 1, 0, 0, 0)  # the same content gives the same bytes


def finished(out: Path) -> Iterator[tuple[str, str]]:
    """Yield name and content of the files to store, of the runs that are trained and evaluated."""
    for cost_file in sorted((out / "runs").glob("*/*/*/*.json")):
        run = cost_file.relative_to(out / "runs").with_suffix("")
        evaluations = sorted((out / "evaluations" / run.parent).glob(f"*/{run.name}"))
        if not evaluations or not all((evaluation / "evaluate.yaml").is_file() for evaluation in evaluations):
            continue
        yield str(cost_file.relative_to(out)), cost_file.read_text(encoding="utf-8")
        for evaluation in evaluations:
            for name in VIEWS.values():
                if (evaluation / name).is_file():
                    yield str(evaluation.relative_to(out) / name), shortened(evaluation / name)
            for name in ("images.csv", "sets.csv"):
                if (table := evaluation / name).is_file():
                    yield str(table.relative_to(out)), table.read_text(encoding="utf-8")
            if (tissue := evaluation / "tissue.json").is_file():
                yield str(tissue.relative_to(out)), json.dumps(rounded(json.loads(tissue.read_text(encoding="utf-8"))))


def shortened(path: Path) -> str:
    """Return a table of patches with the columns of the report, with six decimals."""
    text = io.StringIO()
    rows = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    rows.writeheader()
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            rows.writerow(line | {metric: f"{float(line[metric]):.6f}" for metric in MEASURED if line.get(metric)})
    return text.getvalue()


def rounded(value: Any) -> Any:
    """Return a nested value with all floats rounded to six decimals.

    Examples
    --------
    >>> rounded({"a": [0.1234567, "p22", 3]})
    {'a': [0.123457, 'p22', 3]}
    """
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return round(value, 6) if isinstance(value, float) else value


def keep(out: Path, file: Path) -> int:
    """Add missing runs to the file; return their number."""
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        stored = set(archive.namelist())
        new = [(name, text) for name, text in finished(out) if name not in stored]
        for name, text in new:
            archive.writestr(zipfile.ZipInfo(name, _DATE), text, zipfile.ZIP_DEFLATED)
    return sum(name.startswith("runs/") for name, _ in new)


def main() -> None:
    """Store the runs and print their number."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--file", type=Path, default=RESULTS)
    options = parser.parse_args()
    print(f"{keep(options.out, options.file)} runs added to {options.file}")


if __name__ == "__main__":
    main()
