"""What `tomostain` shows without arguments: the pipeline, what the current folder holds of it, and the next command.

Only names and small text files are read, so that it takes no time in a folder of any size.
"""

import csv
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tomostain.input_files import csv_cells
from tomostain.paths import StrPath

Kind = Literal[
    "table", "pair", "dataset", "run", "unfinished run", "model", "evaluation", "stained volume", "measures", "demo"
]

PIPELINE = """\
The pipeline:
  1  tomostain prepare specimens.csv dataset        pairs of µCT and histology; finds the section of each slide
  2  tomostain train dataset run                    a model
  3  tomostain evaluate run dataset evaluation      its quality on pairs that were not trained on
  4  tomostain stain run/model VOLUME OUT.ome.zarr  a stained volume
  5  tomostain view OUT.ome.zarr                    pictures of it
  6  tomostain measure OUT.ome.zarr measures        its measures: bone-implant contact, bone, degradation
"""
FOOTER = "To see all of it on synthetic specimens: tomostain demo.  All verbs: tomostain --help."

# Only the first entries of a folder are looked at, and files up to this size are read.
MAX_ENTRIES = 2000
MAX_BYTES = 4_000_000
_SHOWN = 3
UNFINISHED = "not finished"
_TABLE_COLUMNS = {"specimen", "volume", "slide"}
_ORDER: tuple[Kind, ...] = (
    "demo",
    "table",
    "pair",
    "dataset",
    "unfinished run",
    "run",
    "model",
    "evaluation",
    "stained volume",
    "measures",
)


@dataclass(frozen=True)
class Item:
    """One result of the pipeline.

    Attributes
    ----------
    kind : str
    path : str
        Relative to the folder that was looked at.
    note : str
        What it contains, such as ``12 pairs``.
    dataset : str
        Of a run: the dataset that it records, if it still exists.
    """

    kind: Kind
    path: str
    note: str = ""
    dataset: str = ""


@dataclass
class Contents:
    """What a folder holds of the pipeline, in the order of the pipeline."""

    items: list[Item] = field(default_factory=list)

    def first(self, *kinds: Kind) -> str | None:
        """Return the path of the first item of these kinds, or None."""
        return next((item.path for kind in kinds for item in self.items if item.kind == kind), None)

    def describe(self) -> list[str]:
        """Return one line for each kind, with at most three examples."""
        lines = []
        for kind in _ORDER:
            items = [item for item in self.items if item.kind == kind]
            if not items:
                continue
            shown = "; ".join(f"{item.path}{f' {item.note}' if item.note else ''}" for item in items[:_SHOWN])
            more = f"; and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
            lines.append(f"{kind}: {shown}{more}")
        return lines

    def next_command(self) -> str:
        """Return the command that continues from here."""
        table, dataset = self.first("table"), self.first("dataset")
        run, model = self.first("run"), self.first("model")
        evaluation = self.first("evaluation")
        volumes = [item for item in self.items if item.kind == "stained volume"]
        stained = next((item.path for item in volumes if item.note != UNFINISHED), None)
        if stained:
            return f"tomostain view {_quoted(stained)}"
        # Nothing is written into the folder of a run or a dataset.
        outside = "../" if "." in (run, dataset) else ""
        if run and not evaluation and (dataset or not volumes):
            return f"tomostain evaluate {_quoted(run)} {self._dataset_of(run)} {outside}evaluation"
        if run or model:
            weights = f"{run.rstrip('/')}/model" if run else str(model)
            out = volumes[0].path if volumes else f"{outside}stained.ome.zarr"
            return f"tomostain stain {_quoted(weights)} VOLUME {_quoted(out)}"
        unfinished = self.first("unfinished run")
        if unfinished and dataset:
            return f"tomostain train {_quoted(dataset)} {_quoted(unfinished)} --resume"
        if dataset:
            return f"tomostain train {_quoted(dataset)} {outside}run"
        if table:
            return f"tomostain prepare {_quoted(table)} dataset"
        if self.first("pair"):
            return "write specimens.csv with each pair.yaml in the column 'section', then tomostain prepare"
        if demo := self.first("demo"):
            return f"cd {_quoted(demo)}"
        return "tomostain demo"

    def _dataset_of(self, run: str) -> str:
        """Return the dataset of this folder, else that which the run records, else a placeholder."""
        recorded = next((item.dataset for item in self.items if item.kind == "run" and item.path == run), "")
        found = self.first("dataset") or recorded
        return _quoted(found) if found else "DATASET"


def overview(folder: StrPath = ".") -> str:
    """Return the pipeline, what `folder` holds of it, and the next command.

    Parameters
    ----------
    folder : path
        It and its direct subfolders are looked at.

    Examples
    --------
    >>> print(overview("no/such/folder").splitlines()[-3])
    This folder contains no files of the pipeline yet.  Next: tomostain demo
    """
    contents = look_at(Path(folder))
    lines = contents.describe()
    if lines:
        lines_of_folder = ["This folder:", *(f"  {line}" for line in lines), f"Next: {contents.next_command()}"]
    else:
        lines_of_folder = [f"This folder contains no files of the pipeline yet.  Next: {contents.next_command()}"]
    return "\n".join([PIPELINE, *lines_of_folder, "", FOOTER])


def look_at(folder: Path) -> Contents:
    """Return what a folder and its direct subfolders hold. A folder that cannot be read holds nothing."""
    items = list(_items_of(folder, "."))
    for name in _names(folder):
        if _is_folder(folder / name):
            items += _items_of(folder / name, name)
        elif name.lower().endswith(".csv"):
            items += _table(folder / name, name)
    for kind in ("unfinished run", "run", "dataset"):
        # The newest one is named first.
        items.sort(key=lambda item: -_modified(folder / item.path) if item.kind == kind else 0.0)
    return Contents(sorted(items, key=lambda item: _ORDER.index(item.kind)))


def _items_of(folder: Path, name: str) -> Iterator[Item]:
    """Yield what a folder is, and the tables in it."""
    path = "." if name == "." else f"{name}/"
    if _has(folder, "dataset.yaml"):
        yield Item("dataset", path, _pairs(folder / "dataset.yaml"))
    elif _has(folder, "evaluate.yaml"):
        yield Item("evaluation", path)
    elif _has(folder, "run.yaml"):
        steps = _steps(folder / "metrics.csv")
        if _has(folder, "model/model.yaml"):
            yield Item(
                "run",
                path,
                _steps_of_model(folder / "model/model.yaml") or steps,
                _recorded_dataset(folder / "run.yaml"),
            )
        else:
            yield Item("unfinished run", path, steps)
    elif _has(folder, "model.yaml"):
        yield Item("model", path, _recipe(folder / "model.yaml"))
    elif _has(folder, "demo.yaml"):
        yield Item("demo", path, "with report.html" if _has(folder, "report.html") else "not finished")
    elif _has(folder, "measure.yaml"):
        yield Item("measures", path, "" if _has(folder, "measures.json") else UNFINISHED)
    elif _has(folder, "study.yaml") and _has(folder, "groups.csv"):
        yield Item("measures", path, "of groups")
    elif _has(folder, "pair.yaml"):
        yield Item("pair", path)
    elif folder.name.endswith(".zarr") and _is_stained(_text(folder / "zarr.json")):
        yield Item("stained volume", path.rstrip("/"), _is_finished(folder))
    elif name != ".":
        pairs = sum(_has(folder / entry, "pair.yaml") for entry in _names(folder))
        if pairs:
            yield Item("pair", path, f"with {pairs} registered {'pair' if pairs == 1 else 'pairs'}")
        yield from (
            item for entry in _names(folder) if entry.endswith(".csv") for item in _table(folder / entry, path + entry)
        )


def _table(path: Path, name: str) -> Iterator[Item]:
    """Yield a table of specimens, if the CSV file is one."""
    try:
        _, rows = csv_cells(_bytes(path), errors="replace")
    except csv.Error:
        return
    if rows and _TABLE_COLUMNS.issubset(rows[0][1]):
        count = sum(any(cells) for _, cells in rows[1:])
        yield Item("table", name, f"with {count} {'specimen' if count == 1 else 'specimens'}")


def _pairs(path: Path) -> str:
    """Return the number of pairs in a `dataset.yaml`."""
    text = _text(path)
    pairs, test = _list_length(text, "pairs"), _list_length(text, "test")
    if not pairs:
        return ""
    held_out = f" ({test} for testing)" if test else ""
    return f"with {pairs} {'pair' if pairs == 1 else 'pairs'}{held_out}"


def _list_length(text: str, key: str) -> int:
    """Return the length of a list in the block style of YAML. Much quicker than reading the YAML."""
    block = re.search(rf"^{key}:[ ]*\n((?:[ -].*\n?)*)", text, flags=re.MULTILINE)
    indents = [len(spaces) for spaces in re.findall(r"^( *)- ", block[1], flags=re.MULTILINE)] if block else []
    return indents.count(min(indents, default=0))


def _steps(path: Path) -> str:
    """Return the last step in a `metrics.csv`."""
    lines = _text(path).splitlines()
    step = lines[-1].split(",")[0] if len(lines) > 1 else ""
    return f"with {step} steps" if step.isdigit() else ""


def _steps_of_model(path: Path) -> str:
    """Return the steps that a `model.yaml` states: a `metrics.csv` has no row for the last ones."""
    steps = re.search(r"^steps: (\d+)$", _text(path), flags=re.MULTILINE)
    return f"with {steps[1]} steps" if steps else ""


def _recorded_dataset(path: Path) -> str:
    """Return the dataset of a `run.yaml`, if it exists."""
    block = re.search(r"^dataset: (.+(?:\n +.+)*)$", _text(path), flags=re.MULTILINE)
    # YAML breaks a long text at its spaces.
    dataset = re.sub(r"\n +", " ", block[1]).strip("'\"") if block else ""
    return dataset if dataset and _has(Path(dataset), "dataset.yaml") else ""


def _recipe(path: Path) -> str:
    """Return the recipe of a `model.yaml`."""
    recipe = re.search(r"^recipe: ([\w.-]+)$", _text(path), flags=re.MULTILINE)
    return f"({recipe[1]})" if recipe else ""


def _is_folder(path: Path) -> bool:
    """Return whether a path is a folder; False if it cannot be read."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _is_stained(text: str) -> bool:
    """Return whether the metadata are those of a stained volume; a resampled µCT has one channel."""
    return '"tomostain"' in text and re.search(r'"channels":\s*1\b', text) is None


def _is_finished(folder: Path) -> str:
    return UNFINISHED if _has(folder, ".tomostain-progress") else ""


def _text(path: Path) -> str:
    """Return a small text file; an empty text if it cannot be read."""
    return _bytes(path).decode("utf-8", errors="replace").replace("\r\n", "\n")


def _bytes(path: Path) -> bytes:
    """Return the content of a small file; nothing if it cannot be read."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            return b""
        return path.read_bytes()
    except (OSError, ValueError):
        return b""


def _names(folder: Path) -> list[str]:
    """Return the names in a folder in natural order; none if it cannot be read."""
    names: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if len(names) >= MAX_ENTRIES:
                    break
                if not entry.name.startswith("."):
                    names.append(entry.name)
    except (OSError, ValueError):
        return []
    return sorted(names, key=_natural)


def _natural(name: str) -> list[str | int]:
    """Split a name into text and numbers, alternately, so that run-2 comes before run-10."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if number % 2 else part for number, part in enumerate(parts)]


def _has(folder: Path, name: str) -> bool:
    try:
        return (folder / name).exists()
    except (OSError, ValueError):
        return False


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except (OSError, ValueError):
        return 0.0


def _quoted(path: str) -> str:
    return shlex.quote(path if path in (".", "./") else path.rstrip("/"))
