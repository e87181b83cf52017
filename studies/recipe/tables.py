"""Print every measured score of a study as Markdown: patches, images, tissues, with paired differences.

    python -m studies.recipe.tables OUT... [--reference tomostain]

OUT is a folder of `studies.table1.run`, or a zip file of such a folder (`results/runs.zip`). Of
several, later ones add to earlier ones. Nothing is measured again. Medians over specimens of the mean of each specimen,
and in brackets the median paired difference of the reference from the row, with its 95 % interval over specimens.
"""

import argparse
import csv
import json
import shutil
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tomostain.evaluate.intervals import paired_difference

PATCHES = {"ssim": 3, "lpips": 3, "psnr": 1, "st_lpips": 3, "dists": 3}
IMAGES = {
    "grid": 2,
    "stain_correlation": 2,
    "degradation_dice": 2,
    "metal_in_degradation": 0,
    "new_bone_area": 0,
    "bone_implant_contact": 0,
    "texture_spectrum": 2,
    "mutual_information": 3,
}
# One value for each run.
SETS = {"kid_alex": 2}
TISSUES = ("soft", "marrow", "adipocyte", "bone", "new bone", "degradation", "screw")
ROWS = ("tomostain", "tomostain-v1", "paired-cyclegan", "no-gan", "no-gan-lpips", "noise", "noise-spread")
# By specimen and fold.
Scores = dict[str, dict[tuple[str, str], float]]


def read_csv(path: Path, metrics: dict[str, int]) -> Scores:
    """Return the mean of each metric for each specimen of a file, by metric. Values of a run have the specimen ""."""
    values: dict[str, dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    if not path.is_file():
        return {}
    fold = path.parents[2].name
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            for name in metrics:
                if line["model"] in ROWS and line.get(name) and np.isfinite(float(line[name])):
                    values[name][line.get("pair", ""), fold].append(float(line[name]))
    return {name: {key: float(np.mean(items)) for key, items in by.items()} for name, by in values.items()}


def read_tissues(path: Path) -> Scores:
    """Return colour difference and Dice coefficient of the tissues, and resolution, of each specimen."""
    scores: Scores = defaultdict(dict)
    fold = path.parents[2].name
    for record in json.loads(path.read_text(encoding="utf-8")) if path.is_file() else ():
        for kind in ("delta_e", "dice"):
            for tissue in TISSUES:
                value = record[kind].get(tissue, float("nan"))
                # A specimen without this tissue has no Dice coefficient.
                if np.isfinite(value) and record["dice_real"].get(tissue, 0) > 0:
                    scores[f"{kind} {tissue}"][record["pair"], fold] = value
        scores["frc stained"][record["pair"], fold] = record["frc_um"]["stained"]
        scores["frc real"][record["pair"], fold] = record["frc_um"]["real"]
    return dict(scores)


def read(base: Path, on: str, row: str) -> Scores:
    """Return all scores of a row, over all folds."""
    scores: Scores = defaultdict(dict)
    for folder in sorted(base.glob(f"*/{on}/{row}")):
        files = (
            read_csv(folder / "metrics.csv", PATCHES),
            read_csv(folder / "images.csv", IMAGES),
            read_csv(folder / "sets.csv", SETS),
            read_tissues(folder / "tissue.json"),
        )
        for part in files:
            for name, values in part.items():
                scores[name] |= values
    return dict(scores)


def cell(scores: Scores, reference: Scores, name: str, digits: int) -> str:
    """Return the median, and the paired difference of the reference."""
    values = scores.get(name, {})
    if not values:
        return "–"
    text = f"{np.median(list(values.values())):.{digits}f}"
    common = sorted(set(values) & set(reference.get(name, {})))
    if scores is reference or len(common) < 3:
        return text
    # A value of a run has no specimen: the interval is then over the folds.
    subjects = [key[0] or key[1] for key in common]
    change = paired_difference([reference[name][key] for key in common], [values[key] for key in common], subjects)
    star = " *" if change.low * change.high > 0 else ""
    return f"{text} ({change.median:+.{digits}f} [{change.low:.{digits}f}, {change.high:.{digits}f}]{star})"


def table(rows: dict[str, Scores], reference: str, columns: dict[str, int]) -> Iterator[str]:
    """Yield a table of some columns."""
    yield "| | " + " | ".join(columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for name, scores in rows.items():
        cells = (cell(scores, rows.get(reference, {}), column, digits) for column, digits in columns.items())
        yield f"| `{name}` | {' | '.join(cells)} |"


def collect(sources: list[Path], folder: Path) -> Path:
    """Put folders and zip files together; return the folder."""
    for source in sources:
        if source.suffix == ".zip":
            zipfile.ZipFile(source).extractall(folder)
        else:
            shutil.copytree(
                source, folder, dirs_exist_ok=True, ignore=lambda _, names: [n for n in names if n in _SKIPPED]
            )
    return folder


_SKIPPED = {"pictures", "specimens", "runs", "pairs", "aligned.csv", "badly.csv", "paper.csv"}


def main() -> None:
    """Print the tables of all budgets and difficulties."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--reference", default="tomostain")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = collect(options.sources, Path(temporary))
        for base in sorted((out / "evaluations").glob("*/*")):
            for on in sorted({path.name for path in base.glob("*/*")}):
                rows = {row: read(base, on, row) for row in ROWS}
                rows = {row: scores for row, scores in rows.items() if scores}
                folds = len({path.parent.name for path in base.glob(f"*/{on}")})
                print(f"### {base.parent.name}, trained on {base.name}, tested on {on}, {folds} fold(s)\n")
                print("\n".join(table(rows, options.reference, PATCHES)) + "\n")
                print("\n".join(table(rows, options.reference, IMAGES | SETS)) + "\n")
                for kind, digits in (("delta_e", 1), ("dice", 2)):
                    columns = {f"{kind} {tissue}": digits for tissue in TISSUES}
                    print("\n".join(table(rows, options.reference, columns)) + "\n")
                print("\n".join(table(rows, options.reference, {"frc stained": 0, "frc real": 0})) + "\n")


if __name__ == "__main__":
    main()
