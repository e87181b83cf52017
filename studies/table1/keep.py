"""Store the measurements of the runs, patch by patch, so that the tables can be made again and extended elsewhere.

    python -m studies.table1.keep OUT [--file studies/table1/results/runs.zip]
    python -m studies.table1.report studies/table1/results/runs.zip

Adds the evaluations in OUT that the file does not hold yet; of those that it holds it keeps the first. Models and
pictures stay in OUT.
"""

import argparse
import csv
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studies.table1.report import METRICS, VIEWS

KEPT = Path(__file__).parent / "results" / "runs.zip"
COLUMNS = ("model", "pair", "row", "column", *METRICS)
_DATE = (1980, 1, 1, 0, 0, 0)  # the same content gives the same bytes


def finished(out: Path) -> Iterator[tuple[str, str]]:
    """Return name and content of the files to store of runs that are trained and evaluated."""
    for note in sorted((out / "runs").glob("*/*/*/*.json")):
        run = note.relative_to(out / "runs").with_suffix("")
        places = sorted((out / "evaluations" / run.parent).glob(f"*/{run.name}"))
        if not places or not all((place / "evaluate.yaml").is_file() for place in places):
            continue
        yield str(note.relative_to(out)), note.read_text(encoding="utf-8")
        for place in places:
            for name in VIEWS.values():
                if (place / name).is_file():
                    yield str(place.relative_to(out) / name), shortened(place / name)
            if (tissue := place / "tissue.json").is_file():
                yield str(tissue.relative_to(out)), json.dumps(rounded(json.loads(tissue.read_text(encoding="utf-8"))))


def shortened(path: Path) -> str:
    """Return a table of patches with the columns that the report needs, six digits after the point."""
    text = io.StringIO()
    rows = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    rows.writeheader()
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            rows.writerow(line | {metric: f"{float(line[metric]):.6f}" for metric in METRICS if line[metric]})
    return text.getvalue()


def rounded(value: Any) -> Any:
    """Return the same with six digits after the point.

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
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as kept:
        there = set(kept.namelist())
        new = [(name, text) for name, text in finished(out) if name not in there]
        for name, text in new:
            kept.writestr(zipfile.ZipInfo(name, _DATE), text, zipfile.ZIP_DEFLATED)
    return sum(name.startswith("runs/") for name, _ in new)


def main() -> None:
    """Store the runs and print their number."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--file", type=Path, default=KEPT)
    options = parser.parse_args()
    print(f"{keep(options.out, options.file)} runs added to {options.file}")


if __name__ == "__main__":
    main()
