"""Draw quality against the number of pairs, and print the table.

    python -m studies.few_pairs.report SCORES.jsonl... [--out few-pairs.png] [--name NAME...]

The lines are means over the test pairs. The intervals of the differences are 95 % percentile intervals of 2000
resamples of the test pairs. The bars of the plot are such intervals of the deviations from the mean of each test pair
over all trainings (Cousineau 2005, DOI 10.20982/tqmp.01.1.p042): test pairs differ more from each other than trainings
do.
"""

import argparse
import json
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

matplotlib.use("Agg")
from matplotlib import pyplot as plt

METRICS = {"ssim": "SSIM (higher is better)", "lpips": "LPIPS (lower is better)"}
ARMS = {"random": ("random weights", "#b5541c", "o"), "init": ("pre-trained on phantoms", "#1c5cb5", "s")}
ALL = ("ssim", "lpips", "psnr", "st_lpips")


def read(path: Path) -> pd.DataFrame:
    """Return the scores: a row for each training and test pair."""
    return pd.DataFrame([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()])


def interval(values: NDArray[np.float64], resamples: int = 2000) -> tuple[float, float, float]:
    """Return the mean and the bounds of its 95 % interval.

    Examples
    --------
    >>> interval(np.ones(5))
    (1.0, 1.0, 1.0)
    """
    rng = np.random.default_rng(0)
    means = values[rng.integers(0, len(values), (resamples, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def values_of(scores: pd.DataFrame, arm: str, n: int, metric: str) -> NDArray[np.float64]:
    """Return one metric of all test pairs, in their order."""
    rows = scores[(scores["arm"] == arm) & (scores["n"] == n)].sort_values("pair")
    return rows[metric].to_numpy(np.float64)


def without_differences_of_pairs(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the scores with the mean of each test pair over all trainings replaced by the mean of all."""
    centred = scores.copy()
    for metric in ALL:
        centred[metric] += scores[metric].mean() - scores.groupby("pair")[metric].transform("mean")
    return centred


def table(scores: pd.DataFrame) -> str:
    """Return the means as Markdown, and the difference of the pre-trained model from the other at the same number."""
    lines = ["| pairs | weights | SSIM | LPIPS | PSNR / dB | ST-LPIPS |", "|---|---|---|---|---|---|"]
    for n in sorted(scores["n"].unique()):
        for arm, (label, *_) in ARMS.items():
            means = [values_of(scores, arm, n, metric).mean() for metric in ALL]
            lines.append(f"| {n} | {label} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    return "\n".join(lines)


def comparison(scores: pd.DataFrame, few: int, many: int) -> str:
    """Return the paired difference of `few` pairs with pre-training from `many` pairs without."""
    parts = []
    for metric in ALL:
        difference = values_of(scores, "init", few, metric) - values_of(scores, "random", many, metric)
        mean, low, high = interval(difference)
        parts.append(f"{metric} {mean:+.3f} [{low:+.3f}, {high:+.3f}]")
    return f"{few} pairs, pre-trained, less {many} pairs, random weights: " + "; ".join(parts)


def draw(tables: dict[str, pd.DataFrame], out: Path) -> None:
    """Draw one row of panels for each dataset."""
    figure, axes = plt.subplots(len(tables), 2, figsize=(9, 3.4 * len(tables)), squeeze=False, layout="constrained")
    for row, (name, raw) in zip(axes, tables.items(), strict=True):
        scores = without_differences_of_pairs(raw)
        numbers = sorted(scores["n"].unique())
        for panel, (metric, label) in zip(row, METRICS.items(), strict=True):
            for arm, (arm_label, colour, marker) in ARMS.items():
                means, low, high = np.array([interval(values_of(scores, arm, n, metric)) for n in numbers]).T
                panel.errorbar(
                    numbers, means, (means - low, high - means), color=colour, marker=marker, capsize=3, label=arm_label
                )
            panel.set_xscale("log")
            panel.set_xticks(numbers, [str(n) for n in numbers])
            panel.minorticks_off()
            panel.set(xlabel="training pairs", ylabel=label)
            panel.grid(alpha=0.3)
        row[0].set_title(name, loc="left")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False)
    figure.savefig(out, dpi=110)


def main() -> None:
    """Print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores", nargs="+", type=Path)
    parser.add_argument("--name", nargs="+", default=[], help="titles, one for each file")
    parser.add_argument("--out", type=Path, default=Path("few-pairs.png"))
    options = parser.parse_args()
    names = options.name or [path.parent.name for path in options.scores]
    tables = {name: read(path) for name, path in zip(names, options.scores, strict=True)}
    for name, scores in tables.items():
        print(f"\n{name}\n\n{table(scores)}\n")
        for few, many in ((5, 20), (2, 10), (10, 40)):
            if {few, many} <= set(scores["n"]):
                print(comparison(scores, few, many))
    draw(tables, options.out)


if __name__ == "__main__":
    main()
