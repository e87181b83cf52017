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
    "deviation": "Deviation from the CPU",
    "tests": "Tests that need a card",
}
_HEADS = {"samples_s": "samples/s", "patches_s": "patches/s", "tflop_s": "TFLOP/s", "of_peak": "of the bf16 peak"}
_LONG = 300


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
    for name, part in results["parts"].items():
        lines += [f"## {TITLES.get(name, name)}", ""]
        for rows in _alike(part["rows"]):
            output = [str(row["output"]) for row in rows if "output" in row]
            lines += ["```", *output, "```", ""] if output else [*_table(rows), ""]
        lines += [f"- not measured: {error.get('item', '')}: {_cell(error['error'])}" for error in part["errors"]]
        lines += [f"{part['seconds']:.0f} s.", ""]
    return "\n".join(lines)


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
    return str(value).replace("|", "/").replace("\n", " ")[-_LONG:]
