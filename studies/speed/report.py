"""Print the results of `studies.speed.run` as tables in Markdown.

python -m studies.speed.report studies/speed/results.json [--plot studies/speed/growth.png]
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.report import heading, part_lines
from studies.speed.growth import draw


def growth_table(results: dict[str, Any]) -> list[str]:
    """Return a table of the growth: the points, and the largest relative residual of the fitted line."""
    lines = ["| quantity | size: CPU-s, peak MB | largest residual: time, memory |", "|---|---|---|"]
    for kind, measured in results.items():
        points = "; ".join(f"{row['size']}: {row['cpu_s']:.3g}, {row['peak_mb']:.0f}" for row in measured["points"])
        residuals = [max(map(abs, measured[name]["relative_residuals"])) for name in ("cpu_s", "peak_mb")]
        lines.append(f"| {kind} | {points} | {residuals[0]:.0%}, {residuals[1]:.0%} |")
    return lines


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--plot", type=Path, help="PNG for the figure of the part growth")
    options = parser.parse_args()
    parts = json.loads(options.results.read_text(encoding="utf-8"))
    for name, part in parts.items():
        is_growth = name == "growth"
        lines = [*heading(name, part), *growth_table(part["results"]), ""] if is_growth else part_lines(name, part)
        print("\n".join(lines))
    if options.plot:
        draw(parts["growth"]["results"], options.plot)


if __name__ == "__main__":
    main()
