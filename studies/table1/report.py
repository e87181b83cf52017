"""Tables of the study in Markdown: medians, 95 % intervals over specimens, differences from the paper's model.

python -m studies.table1.report OUT [--view paper]

OUT is a folder of `studies.table1.run`, or a file of `studies.table1.keep`.
"""

import argparse
import csv
import json
import math
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from studies.pet_mri.run import LABEL as PET_MRI_LABEL
from studies.table1.editions import DIFFICULTIES
from studies.table1.run import BUDGETS, LONG, PET_MRI, tested_on
from tomostain.evaluate.intervals import Interval, median_interval, paired_difference

METRICS = ("ssim", "lpips", "psnr")
VIEWS = {
    "paper": "metrics.csv",
    "without-screw": "metrics-without-screw.csv",
    "shift-tolerant": "metrics-shift-tolerant.csv",
}
# In the tables if a run has measured them.
MORE_METRICS = ("st_lpips", "dists")
REFERENCE = "paired-cyclegan"
BUDGET_NAMES = {"seconds": "same seconds", "samples": "same samples", "long": f"{LONG} × the seconds"}
BASELINES = ("raw µCT", "mean training image", "grey-value look-up")
# Fold, unit of the bootstrap, pair, row, column.
Key = tuple[str, str, str, str, str]


def patches(out: Path, budget: str, difficulty: str, on: str, view: str) -> dict[str, dict[Key, dict[str, float]]]:
    """Read the patches of all folds, by model, then by fold, pair and position."""
    rows: dict[str, dict[Key, dict[str, float]]] = defaultdict(dict)
    base = out / "evaluations" / budget / difficulty
    for path in sorted(base.glob(f"*/{on}/*/{VIEWS[view]}")):
        fold = path.parents[2].name
        with path.open(newline="", encoding="utf-8") as file:
            for line in csv.DictReader(file):
                # A pair of the second table is a slice. Its subject is the id without the last three digits.
                cluster = line["pair"][:-3] if difficulty == PET_MRI else line["pair"]
                key = (fold, cluster, line["pair"], line["row"], line["column"])
                measured = (*METRICS, *MORE_METRICS)
                rows[line["model"]][key] = {metric: float(line[metric]) for metric in measured if line.get(metric)}
    return dict(rows)


def interval(values: dict[Key, dict[str, float]], metric: str) -> Interval:
    """Return the median of a metric, with its interval over specimens."""
    keys = [key for key in values if metric in values[key]]
    return median_interval([values[key][metric] for key in keys], [key[1] for key in keys])


def difference(a: dict[Key, dict[str, float]], b: dict[Key, dict[str, float]], metric: str) -> Interval:
    """Return the median of a - b over the patches that both have."""
    keys = [key for key in a if key in b and metric in a[key] and metric in b[key]]
    return paired_difference([a[k][metric] for k in keys], [b[k][metric] for k in keys], [k[1] for k in keys])


def table(rows: dict[str, dict[Key, dict[str, float]]], costs: dict[str, str], reference: str = REFERENCE) -> str:
    """Return a line for each model: metrics, differences from a reference model, and the cost of its training."""
    more = [
        name for name in MORE_METRICS if any(name in patch for values in rows.values() for patch in values.values())
    ]
    metrics = (*METRICS, *more)
    head = ("", *(m.upper() for m in metrics), *(f"Δ {m.upper()}" for m in metrics), "steps, patches, seconds")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    order = sorted(rows, key=lambda name: (name in BASELINES, name != reference, name))
    for name in order:
        cells = [str(interval(rows[name], metric)) if _shown(rows[name], metric) else "" for metric in metrics]
        for metric in metrics:
            if name == reference or reference not in rows or not _shown(rows[name], metric):
                cells.append("")
                continue
            delta = difference(rows[name], rows[reference], metric)
            cells.append(f"{delta}{' *' if delta.excludes_zero else ''}")
        lines.append(f"| {name} | {' | '.join(cells)} | {costs.get(name, '')} |")
    return "\n".join(lines)


def _has(values: dict[Key, dict[str, float]], metric: str) -> bool:
    return any(metric in patch for patch in values.values())


def _shown(values: dict[Key, dict[str, float]], metric: str) -> bool:
    return metric in METRICS or _has(values, metric)


def costs_of(out: Path, budget: str, difficulty: str) -> dict[str, str]:
    """Return the median cost of the trainings of each model: steps, patches, seconds."""
    records_by_row: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted((out / "runs" / budget / difficulty).glob("*/*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        records_by_row[record["row"]].append(record)
    return {
        row: ", ".join(f"{np.median([r[key] for r in records]):.0f}" for key in ("steps", "samples", "seconds"))
        + f" ({len(records)} folds or seeds)"
        for row, records in records_by_row.items()
    }


def tissue_table(out: Path, budget: str, difficulty: str, on: str) -> str:
    """Return ΔE2000 and Dice by tissue, and the resolution, medians over test specimens and folds."""
    records_by_row: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted((out / "evaluations" / budget / difficulty).glob(f"*/{on}/*/tissue.json")):
        records_by_row[path.parent.name] += json.loads(path.read_text(encoding="utf-8"))
    if not records_by_row:
        return ""
    tissues = list(next(iter(records_by_row.values()))[0]["delta_e"])
    lines = [f"| ΔE2000, Dice | {' | '.join(tissues)} | resolution, µm |", "|---" * (len(tissues) + 2) + "|"]
    for row, records in sorted(records_by_row.items()):
        cells = [
            f"{_median(r['delta_e'][n] for r in records):.1f}, {_median(r['dice'][n] for r in records):.2f}"
            for n in tissues
        ]
        lines.append(f"| {row} | {' | '.join(cells)} | {_median(r['frc_um']['stained'] for r in records):.0f} |")
    first_records = next(iter(records_by_row.values()))
    real = [f"0, {_median(r['dice_real'][n] for r in first_records):.2f}" for n in tissues]
    lines.append(f"| real histology | {' | '.join(real)} | {_median(r['frc_um']['real'] for r in first_records):.0f} |")
    lines.append(f"| µCT |{' |' * len(tissues)} {_median(r['frc_um']['ct'] for r in first_records):.0f} |")
    return "\n".join(lines)


def _median(values: Iterable[float]) -> float:
    finite = [value for value in values if not math.isnan(value)]
    return float(np.median(finite)) if finite else math.nan


def report(out: Path, views: Sequence[str] = tuple(VIEWS), reference: str = REFERENCE) -> str:
    """Return all tables for which there are results."""
    name = "the paper's model" if reference == REFERENCE else reference
    parts = [f"Medians with 95 % intervals over test specimens; Δ: paired difference from {name}, * excludes 0."]
    for budget in BUDGETS:
        for difficulty in (*(d.name for d in DIFFICULTIES), PET_MRI):
            for on in tested_on(difficulty):
                for view in views:
                    rows = patches(out, budget, difficulty, on, view)
                    if rows:
                        parts += [PET_MRI_LABEL] if difficulty == PET_MRI else []
                        title = f"Trained on {difficulty}, {BUDGET_NAMES[budget]}; tested on {on}, view {view}"
                        parts.append(f"### {title}\n\n{table(rows, costs_of(out, budget, difficulty), reference)}")
                tissue = tissue_table(out, budget, difficulty, on)
                parts += [tissue] if tissue else []
    return "\n\n".join(parts)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="Folder of the runs, or the zip file with their results.")
    parser.add_argument("--view", nargs="+", choices=VIEWS, default=list(VIEWS))
    parser.add_argument("--reference", default=REFERENCE, help="The row that the others are compared with.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.out.is_file():
            zipfile.ZipFile(options.out).extractall(folder)
            options.out = Path(folder)
        print(report(options.out, options.view, options.reference))


if __name__ == "__main__":
    main()
