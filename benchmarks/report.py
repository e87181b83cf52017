"""Print the results of `benchmarks.run` as tables in Markdown.

python -m benchmarks.report bench.json
"""

import argparse
import json
from pathlib import Path
from typing import Any


def times(row: dict[str, Any]) -> str:
    """Return a ratio with its range.

    Examples
    --------
    >>> times({"ratio": 2.0, "min_ratio": 1.5, "max_ratio": 2.25})
    '2.00 (1.50–2.25)'
    """
    return f"{row['ratio']:.2f} ({row['min_ratio']:.2f}–{row['max_ratio']:.2f})"


def timing_table(rows: list[dict[str, Any]], peak: float) -> list[str]:
    """Return a table of candidates; the fraction of the peak counts the operations of the plain definition."""
    counted = any(row["flop"] for row in rows)
    lines = ["| | CPU-s, median (range) | times as fast (range) |", "|---|---|---|"]
    if counted:
        lines = [lines[0] + " GFLOP by definition | of the peak |", lines[1] + "---|---|"]
    for row in rows:
        line = f"| {row['name']} | {row['median_s']:.3g} ({row['min_s']:.3g}–{row['max_s']:.3g}) | {times(row)} |"
        if counted:
            line += f" {row['flop'] / 1e9:.0f} | {row['flop'] / row['median_s'] / peak:.0%} |"
        lines.append(line)
    return lines


def layer_table(results: list[dict[str, Any]]) -> list[str]:
    """Return a table of layers with the speed-up of the fast one."""
    lines = ["| layer | patch / px | inference | forward and backward |", "|---|---|---|---|"]
    for row in results:
        inference, training = (times(row[kind][1]) for kind in ("inference", "training"))
        lines.append(f"| {row['layer']} | {row['patch_px']} | {inference} | {training} |")
    return lines


def heading(name: str, part: dict[str, Any]) -> list[str]:
    """Return the title of a part and the machine that measured it."""
    about, peak = part["about"], part["gemm_peak_flop_s"]
    return [
        f"### {name}",
        "",
        f"{about['machine']}, {about['instructions']}, {about['threads']} thread, torch {about['torch']}, "
        f"{about['date']}, commit {about['commit']}; float32 matrix product {peak / 1e9:.0f} GFLOP/s; "
        f"peak memory of the process {part['peak_memory_mb']:.0f} MB.",
        "",
    ]


def part_lines(name: str, part: dict[str, Any]) -> list[str]:
    """Return heading, circumstances and table of one part."""
    results, peak = part["results"], part["gemm_peak_flop_s"]
    lines = heading(name, part)
    if isinstance(results, list) and results and "layer" in results[0]:
        return [*lines, *layer_table(results), ""]
    if isinstance(results, list):
        return [*lines, *timing_table(results, peak), ""]
    if "timings" not in results:
        lines += ["| | |", "|---|---|", *(f"| {k.replace('_', ' ')} | {value:.4g} |" for k, value in results.items())]
        return [*lines, ""]
    lines += timing_table(results["timings"], peak)
    facts = {key: value for key, value in results.items() if key != "timings"}
    facts_text = [f"{key.replace('_', ' ')}: {value:.4g}" for key, value in facts.items()]
    return [*lines, "", "; ".join(facts_text) + ".", ""]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    options = parser.parse_args()
    content = json.loads(options.results.read_text(encoding="utf-8"))
    for name, part in content.items():
        print("\n".join(part_lines(name, part)))


if __name__ == "__main__":
    main()
