"""The results of the GPU benchmark as JSON, and as tables in Markdown."""

import json
from collections.abc import Iterable, Mapping, Sequence
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
_HEADS = {"samples_s": "samples/s", "patches_s": "patches/s", "tflop_s": "TFLOP/s", "of_peak": "of the bf16 peak"}
_LONG = 300
# Targets for one H100: part, columns that select the row, the measured column, the minimum.
WANTED: tuple[tuple[str, Mapping[str, Any], str, float], ...] = (
    ("training", {"name": "paired-cyclegan", "batch": 4}, "samples_s", 83),
    ("training", {"name": "paired-cyclegan", "batch": 4}, "of_peak", 0.2),
    ("training", {"name": "paired-cyclegan", "batch": 16}, "samples_s", 83 * 4 / 3),
    ("training", {"name": "tomostain", "batch": 4}, "samples_s", 300),
    ("training", {"name": "tomostain", "batch": 16}, "samples_s", 400),
    ("training", {"name": "pix2pix", "batch": 4}, "samples_s", 400),
    ("sampler", {"batch": 4}, "patches_s", 4000),
    ("staining", {"way": "`tomostain`, exact tiles", "precision": "float16"}, "times", 100),
    ("staining", {"way": "`lean`, exact tiles", "precision": "float16"}, "times", 60),
    (
        "staining",
        {"way": "`paired-cyclegan`, statistics of the volume, exact tiles", "precision": "float16"},
        "times",
        35,
    ),
)
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
    lines += summary(results["parts"])
    for name, part in results["parts"].items():
        lines += [f"## {TITLES.get(name, name)}", ""]
        for rows in _alike(part["rows"]):
            output = [str(row["output"]) for row in rows if "output" in row]
            lines += ["```", *output, "```", ""] if output else [*_table(rows), ""]
        lines += [f"- not measured: {error.get('item', '')}: {_cell(error['error'])}" for error in part["errors"]]
        lines += [f"{part['seconds']:.0f} s.", ""]
    return "\n".join(lines)


def summary(parts: Mapping[str, Any]) -> list[str]:
    """Return the wanted figures with those that were measured, and the hours of the paper's schedule."""
    lines = ["| figure | wanted | measured | |", "|---|---|---|---|"]
    for part, selected, column, least in WANTED:
        value = _find(parts, part, selected, column)
        if value is not None:
            figure = ", ".join([part, *(f"{key} {text}" for key, text in selected.items()), _HEADS.get(column, column)])
            lines.append(f"| {figure} | {_cell(float(least))} | {_cell(value)} | {'yes' if value >= least else 'NO'} |")
    peer = _find(parts, "peer", {"batch": 4, "precision": "fp32"}, "samples_s")
    for name, hours in (("paired-cyclegan", 6.7), ("tomostain", 1.9)):
        speed = _find(parts, "training", {"name": name, "batch": 4}, "samples_s")
        if speed is None:
            continue
        spent = PAPERS_SAMPLES / speed / 3600
        lines.append(f"| hours of 500 epochs, {name} | {hours} | {spent:.1f} | {'yes' if spent <= hours else 'NO'} |")
        if peer is not None:
            lines.append(f"| {name} against PyTorch-GAN in fp32 | {_cell(3.0)} | {speed / peer:.2f} | |")
    return [*lines, ""] if len(lines) > 2 else []


def _find(parts: Mapping[str, Any], part: str, selected: Mapping[str, Any], column: str) -> float | None:
    """Return the value of a column in the first row with the selected values."""
    for row in parts.get(part, {}).get("rows", ()):
        if column in row and all(row.get(key) == value for key, value in selected.items()):
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
