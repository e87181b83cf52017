"""Print the table of an ablation (`studies.recipe.ablation`) as Markdown.

    python -m studies.recipe.report studies/recipe/results/ablation.jsonl [--budget "200 s"]

Without ``--budget`` the tables of all budgets are printed.
"""

import argparse
import json
from pathlib import Path


def table(lines: list[str], budget: str) -> str:
    """Return one row for each recipe: scores on the validation pairs of the same kind and on the aligned ones.

    Examples
    --------
    >>> scores = {"ssim": 0.5, "lpips": 0.25, "psnr": 19.04, "lattice": 1.0, "dark_air": 0.0, "dark_layer": 0.3}
    >>> line = json.dumps({"recipe": "a", "budget": "200 s", "steps": 9, "paper": scores, "aligned": scores})
    >>> print(table([line], "200 s").splitlines()[-1])
    | a | 9 | .500 / .250 / 19.0 | .500 / .250 / 19.0 | 1.00 | .000 | .300 |
    """
    head = "| recipe | steps | on paper | on aligned | lattice | dark air | dark layer |"
    rows = [head, "|---|---|---|---|---|---|---|"]
    for record in map(json.loads, lines):
        if record["budget"] != budget:
            continue
        same_kind, aligned = (
            f"{_short(record[on]['ssim'])} / {_short(record[on]['lpips'])} / {record[on]['psnr']:.1f}"
            for on in (record.get("trained_on", "paper"), "aligned")
        )
        other = record["aligned"]
        rows.append(
            f"| {record['recipe']} | {record['steps']} | {same_kind} | {aligned} | {other['lattice']:.2f} "
            f"| {_short(other['dark_air'])} | {_short(other['dark_layer'])} |"
        )
    return "\n".join(rows)


def _short(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def main() -> None:
    """Print the tables of all budgets, or of one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--budget", nargs="+", default=["patches", "100 s", "200 s"])
    options = parser.parse_args()
    lines = options.results.read_text(encoding="utf-8").splitlines()
    for budget in options.budget:
        print(f"### {budget}\n\n{table(lines, budget)}\n")


if __name__ == "__main__":
    main()
