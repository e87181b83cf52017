"""The results of the GPU benchmark as JSON, and as tables in Markdown."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Event = Mapping[str, Any]

TITLES = {
    "training": "Training steps, defaults of the card",
    "plain": "Training steps, 32-true without compilation",
    "peer": "PyTorch-GAN",
    "kernels": "Kernels, copies and waits of a step",
    "sampler": "Patch sampler",
    "staining": "Staining a slice",
    "volume": "Staining a volume",
    "layers": "Layers",
    "registration": "Search for a section",
    "deviation": "Deviation from the CPU",
    "tests": "Tests that need a card",
}
_HEADS = {
    "samples_s": "samples/s",
    "patches_s": "patches/s",
    "tflop_s": "TFLOP/s",
    "of_peak": "of the bf16 peak",
    "times": "times the paper's way",
    "mvoxel_s": "Mvoxel/s",
    "whole_mvoxel_s": "Mvoxel/s of the whole call",
    "side_1500_s": "1500³ / s",
    "first_step_s": "first step / s",
    "voxels_apart": "voxels from the section of the card",
}
# What the columns of a part mean.
NOTES = {
    "training": (
        "*ms*: median over blocks of steps without a wait; *first step*: with compilation and capture; *build*: "
        "networks and pairs; *tflop*: of the plain step, counted."
    ),
    "kernels": (
        "*waits*: how often the host waits for the card, over ten steps; *busy share*: part of the time in which "
        "at least one kernel or copy runs. On a CPU: *operators*, each counted once. *host reads*: operators "
        "whose result the host needs."
    ),
    "staining": "*times*: the time of the first row divided by that of this row.",
    "volume": (
        "*Mvoxel/s*: from the first z chunk that is read to the end (*staining*). *before*: the rest of the call,"
        " with *model*, *grey values*, *check* (comparison with the training data) and *create*. *read*, *begin*,"
        " *wait*, *write*, *finish*: sums over all threads, so they may exceed *staining*. *compressed*: size on "
        "the disk divided by that of the colours. *1500³*: *before*, and a volume of this size at the rate of "
        "*staining*."
    ),
    "layers": (
        "*both*: forward and backward; *torch last*: torch's layers with channels last; *copy*: one copy of the image."
    ),
    "deviation": (
        "*loss 1*, *loss 10*: largest relative difference of a loss in this step; *largest gradient*: in units of"
        " the largest gradient; *grey levels*: of 255."
    ),
}
_LONG = 300


@dataclass(frozen=True)
class Target:
    """A wanted figure for one H100.

    Attributes
    ----------
    part, column : str
    selected : mapping
        Columns that select the row.
    limit : float
    is_max : bool
        The limit is a maximum; by default a minimum.
    """

    part: str
    selected: Mapping[str, Any]
    column: str
    limit: float
    is_max: bool = False

    def line(self, parts: Mapping[str, Any]) -> str:
        """Return the row of the table."""
        selected = (f"{key} {text}" for key, text in self.selected.items())
        figure = ", ".join([self.part, *selected, _HEADS.get(self.column, self.column)])
        wanted = ("at most " if self.is_max else "") + _cell(float(self.limit))
        value = _find(parts, self.part, self.selected, self.column)
        if value is None:
            return f"| {figure} | {wanted} | not measured | |"
        is_met = value <= self.limit if self.is_max else value >= self.limit
        return f"| {figure} | {wanted} | {_cell(value)} | {_verdict(is_met)} |"


_VOLUME = {"name": "`tomostain`", "run": "again"}
_COMPILED = ("paired-cyclegan", "tomostain", "pix2pix")
_STATISTICS = "`paired-cyclegan`, statistics of the volume, exact tiles"
WANTED = (
    Target("training", {"name": "paired-cyclegan", "batch": 4}, "samples_s", 83),
    Target("training", {"name": "paired-cyclegan", "batch": 4}, "of_peak", 0.2),
    Target("training", {"name": "paired-cyclegan", "batch": 16}, "samples_s", 83 * 4 / 3),
    Target("training", {"name": "tomostain", "batch": 4}, "samples_s", 300),
    Target("training", {"name": "tomostain", "batch": 16}, "samples_s", 400),
    Target("training", {"name": "pix2pix", "batch": 4}, "samples_s", 400),
    Target("training", {"name": "pix2pix", "batch": 16}, "samples_s", 400 * 4 / 3),
    *(Target("training", {"name": name, "batch": 4}, "first_step_s", 30, is_max=True) for name in _COMPILED),
    Target("sampler", {"batch": 4}, "patches_s", 4000),
    Target("sampler", {"batch": 16}, "patches_s", 4000 * 4 / 3),
    Target("staining", {"way": "`tomostain`, exact tiles", "precision": "float16"}, "ms", 9.5, is_max=True),
    Target("staining", {"way": "`tomostain`, exact tiles", "precision": "float16"}, "times", 100),
    Target("staining", {"way": "`lean`, exact tiles", "precision": "float16"}, "times", 60),
    Target("staining", {"way": _STATISTICS, "precision": "float16"}, "times", 35),
    Target("volume", _VOLUME, "mvoxel_s", 150),
    Target("volume", _VOLUME, "side_1500_s", 60, is_max=True),
    Target("registration", {"device": "cpu"}, "voxels_apart", 0.05, is_max=True),
)
# How many times as fast as PyTorch-GAN's steps.
PEER = (("fp32", 3.0), ("bf16 autocast", 2.4))
# 500 epochs of 100 patches of each of 40 pairs, as in the paper.
PAPERS_SAMPLES = 500 * 100 * 40


def collect(events: Iterable[Event], about: Mapping[str, str]) -> dict[str, Any]:
    """Return the rows, errors and seconds of each part."""
    parts: dict[str, Any] = {}
    for event in events:
        part = parts.setdefault(event["part"], {"rows": [], "errors": [], "seconds": 0.0})
        if event["event"] == "row":
            part["rows"].append(event["row"])
        elif event["event"] == "error":
            part["errors"].append({key: event[key] for key in ("item", "error", "traceback") if event.get(key)})
        elif event["event"] == "ended":
            part["seconds"] += event["seconds"]
    return {"about": dict(about), "parts": parts}


def write_results(out: Path, events: Sequence[Event], about: Mapping[str, str]) -> None:
    """Write `gpu.json` and `gpu.md`."""
    results = collect(events, about)
    (out / "gpu.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (out / "gpu.md").write_text(tables(results), encoding="utf-8")


def tables(results: Mapping[str, Any]) -> str:
    """Return everything in Markdown."""
    lines = ["# GPU benchmark", "", "; ".join(f"{key} {value}" for key, value in results["about"].items()) + ".", ""]
    if results["about"].get("size") == "toy":
        lines += ["Toy size: this shows that the benchmark runs. No figure is compared with those of a card.", ""]
        lines += [largest_deviation(results["parts"]), ""]
    else:
        lines += summary(results["parts"])
    for name, part in results["parts"].items():
        lines += [f"## {TITLES.get(name, name)}", ""]
        for rows in _alike(part["rows"]):
            output = [str(row["output"]) for row in rows if "output" in row]
            lines += ["```", *output, "```", ""] if output else [*_table(rows), ""]
        lines += [NOTES[name], ""] if name in NOTES and part["rows"] else []
        lines += [_missing(error, has_rows=bool(part["rows"])) for error in part["errors"]]
        lines += [f"{part['seconds']:.0f} s.", ""]
    return "\n".join(lines)


def summary(parts: Mapping[str, Any]) -> list[str]:
    """Return the wanted figures with those that were measured, and the hours of the paper's schedule."""
    lines = ["| figure, wanted of one H100 | wanted | measured | |", "|---|---|---|---|"]
    lines += [target.line(parts) for target in WANTED if target.part in parts]
    for name, hours in (("paired-cyclegan", 6.7), ("tomostain", 1.9)):
        speed = _find(parts, "training", {"name": name, "batch": 4}, "samples_s")
        if speed is None:
            continue
        spent = PAPERS_SAMPLES / speed / 3600
        lines.append(f"| hours of 500 epochs, {name} | at most {hours} | {spent:.1f} | {_verdict(spent <= hours)} |")
    lines += [_against_peer(parts, *wanted) for wanted in PEER if "peer" in parts]
    return [*(lines if len(lines) > 2 else []), "", largest_deviation(parts), ""]


def _against_peer(parts: Mapping[str, Any], precision: str, wanted: float) -> str:
    """Return the row that compares the paper's networks with PyTorch-GAN."""
    name = "paired-cyclegan"
    speed = _find(parts, "training", {"name": name, "batch": 4}, "samples_s")
    peer = _find(parts, "peer", {"batch": 4, "precision": precision}, "samples_s")
    figure = f"{name} against PyTorch-GAN, {precision}, batch 4, times"
    if speed is None or peer is None:
        return f"| {figure} | {_cell(wanted)} | not measured | |"
    return f"| {figure} | {_cell(wanted)} | {_cell(speed / peer)} | {_verdict(speed / peer >= wanted)} |"


def _verdict(is_met: bool) -> str:
    return "yes" if is_met else "NO"


def _missing(error: Mapping[str, Any], *, has_rows: bool) -> str:
    """Return the line that states what of a part was not measured, and why."""
    if error.get("item"):
        return f"- not measured: {error['item']}: {_cell(error['error'])}"
    return f"- {'the rest was ' if has_rows else ''}not measured: {_cell(error['error'])}"


def largest_deviation(parts: Mapping[str, Any]) -> str:
    """Return the largest deviation from the CPU in one line."""
    rows = parts.get("deviation", {}).get("rows", ())
    figures = []
    for column, what in (("largest_loss", "of a loss in ten steps"), ("largest_gradient", "of a gradient")):
        values = [float(row[column]) for row in rows if row.get(column) is not None]
        figures += [f"{_cell(max(values))} {what} (relative)"] if values else []
    for precision in dict.fromkeys(row["precision"] for row in rows if "largest_grey_levels" in row):
        levels = max(row["largest_grey_levels"] for row in rows if row.get("precision") == precision)
        figures.append(f"{levels} of 255 grey levels in {precision}")
    return f"Largest deviation from the CPU in float32: {', '.join(figures) or 'not measured'}."


def _find(parts: Mapping[str, Any], part: str, selected: Mapping[str, Any], column: str) -> float | None:
    """Return the value of a column in the first row with the selected values."""
    for row in parts.get(part, {}).get("rows", ()):
        if row.get(column) is not None and all(row.get(key) == value for key, value in selected.items()):
            return float(row[column])
    return None


def _alike(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Return rows by their columns: each set of columns is a table."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row), []).append(row)
    return list(groups.values())


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    columns = [column for column in rows[0] if any(row[column] is not None for row in rows)]
    heads = [_HEADS.get(column, column.replace("_", " ")) for column in columns]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(columns)]
    return lines + ["| " + " | ".join(_cell(row[column]) for column in columns) + " |" for row in rows]


def _cell(value: object) -> str:
    """Return a value as text in a table.

    Examples
    --------
    >>> _cell(0.123456), _cell(1234.56), _cell(None), _cell("a|b"), _cell(True)
    ('0.123', '1235', '', 'a/b', 'yes')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value).replace("|", "/").replace("\n", " ")[:_LONG]
