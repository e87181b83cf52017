"""Tables of the registration study from the results of run.py, in Markdown.

By stain, material and variant; the hard set; mismatched pairs.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from studies.registration.specimens import Case, hard_cases, standard_cases

PLANE_VOXEL = 2.0
SETS = ("standard", "hard", "fine", "mismatched")
COLUMNS = (
    "",
    "slides",
    "plane < 2 voxels",
    "plane, voxels",
    "angle, °",
    "target, voxels (µm)",
    "target, 95th percentile",
    "95 % of slides below",
    "correct and confident",
    "wrong and confident",
    "seconds",
    "GB",
)
# Edges of the classes of confidence.
CLASSES = (0.0, 0.1, 0.5, 0.9, 1.0)
NOTE = (
    "Medians over all slides, including wrong ones: plane error, angle, median and 95th percentile of the target "
    "registration error over the section; then the 95th percentile over slides of the median target error. "
    "Seconds: median. GB: largest memory of a process that registers one slide after the other."
)


def read(results: Path, name: str) -> list[dict[str, Any]]:
    """Read the results of a set: a folder with one file per slide (run.py), or one file (`collect`)."""
    collected = results / f"{name}.json"
    if collected.is_file():
        return list(json.loads(collected.read_text(encoding="utf-8")))
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((results / name).glob("*.json"))]


def collect(results: Path, out: Path) -> None:
    """Write the results of each set into one file, one line per slide."""
    out.mkdir(parents=True, exist_ok=True)
    for name in SETS:
        records = [json.dumps(record) for record in read(results, name)]
        if records:
            (out / f"{name}.json").write_text("[\n" + ",\n".join(records) + "\n]\n", encoding="utf-8")


def load(results: Path, name: str, cases: dict[str, Case]) -> list[dict[str, Any]]:
    """Read the results of a set and the properties of each specimen."""
    records = []
    for record in read(results, name):
        case = cases.get(record["volume"])
        record["stain"] = "H&E" if record["slide"].startswith("he") else "toluidine blue"
        if case is not None:
            record |= {"material": case.values["material"], "weeks": case.values["weeks"], "variant": case.variant}
        records.append(record)
    return records


def is_correct(record: dict[str, Any]) -> bool:
    """Return whether the plane is within 2 voxels of the truth and the slide position on it is correct."""
    return record.get("plane_voxel", np.inf) < PLANE_VOXEL and record.get("target_voxel", np.inf) < 5.0


def line(name: str, records: list[dict[str, Any]]) -> str:
    """Return one line of the table; see `NOTE`."""
    correct = [r for r in records if is_correct(r)]
    voxel_um = next((r["voxel_um"] for r in records if "voxel_um" in r), np.nan)
    plane, angle, target, target95 = (
        np.array([r.get(key, np.inf) for r in records])
        for key in ("plane_voxel", "angle_deg", "target_voxel", "target95_voxel")
    )
    cells = [
        name,
        str(len(records)),
        f"{len(correct)} ({len(correct) / max(1, len(records)):.1%})",
        f"{np.median(plane):.2f}",
        f"{np.median(angle):.2f}",
        f"{np.median(target):.2f} ({np.median(target) * voxel_um:.1f})",
        f"{np.median(target95):.2f}",
        f"{np.percentile(target, 95):.2f}",
        str(sum(r["sure"] for r in correct)),
        str(sum(r["sure"] for r in records if not is_correct(r))),
        f"{np.median([r['seconds'] for r in records if r['seconds']]):.0f}",
        f"{max(r['peak_gb'] for r in records):.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def table(records: list[dict[str, Any]], keys: tuple[str, ...]) -> str:
    """Return a table with a line for each value of each key."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", line("**all**", records)]
    for key in keys:
        groups: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for record in records:
            groups[record.get(key)].append(record)
        order: Callable[[Any], str] = str
        lines += [line(f"{value}", groups[value]) for value in sorted(groups, key=order)]
    return "\n".join(lines)


def calibration(records: list[dict[str, Any]]) -> str:
    """Return a table with the number of correct slides in each class of confidence."""
    lines = ["| confidence | slides | correct |", "|---|---|---|"]
    for low, high in pairwise(CLASSES):
        in_class = [r for r in records if low <= r["confidence"] < high or r["confidence"] == high == CLASSES[-1]]
        lines.append(f"| {low:g} to {high:g} | {len(in_class)} | {sum(map(is_correct, in_class))} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="Folder with any of standard/, hard/, fine/, mismatched/.")
    parser.add_argument("--first-seed", type=int, default=2000, help="First seed of the standard set.")
    parser.add_argument("--collect", type=Path, help="Write the results into one file per set in this folder.")
    options = parser.parse_args()
    if options.collect:
        collect(options.results, options.collect)
    standard = standard_cases(options.first_seed, 224, 20.0)
    cases = {case.name: case for case in standard + hard_cases(3000, 20, 224, 20.0)}
    fine = {case.name: case for case in standard_cases(4000, 320, 10.0)}
    print(NOTE)
    all_records = []
    for name, cases_by_name in (("standard", cases), ("hard", cases), ("fine", fine)):
        records = load(options.results, name, cases_by_name)
        if not records:
            continue
        all_records += records
        print(f"\n### {name}\n\n{table(records, ('stain', 'material', 'variant'))}\n")
        for record in records:
            if not is_correct(record):
                error = record.get("target_voxel", float("nan"))
                print(
                    f"- {record['volume']} {record['stain']} ({record.get('material')}, {record.get('variant')}): "
                    f"target error {error:.1f} voxels, confidence {record['confidence']:.2f}"
                )
    wrong = load(options.results, "mismatched", {})
    if wrong:
        sure = sum(record["sure"] for record in wrong)
        print(f"\n### mismatched\n\n{len(wrong)} pairs of a volume and another specimen's slide: {sure} confident; ")
        print(f"largest confidence {max(record['confidence'] for record in wrong):.2f}")
    if all_records:
        print(f"\n### Calibration of the confidence\n\n{calibration(all_records + wrong)}")


if __name__ == "__main__":
    main()
