"""Report of `studies.table1.pareto`: a JSON, tables, and a plot."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tomostain.evaluate.intervals import Interval, median_interval, paired_difference
from tomostain.evaluate.metrics import get_metric

# The reference for recommendations: the generator of tomostain-cpu.
REFERENCE, PAPER = "unet-14", "resnet-12"
METRICS = ("ssim", "lpips", "psnr")
COLOURS = {"resnet": "#7f7f7f", "unet": "#1f77b4", "shuffle": "#2ca02c", "ladder": "#ff7f0e", "gated": "#d62728"}
COMMANDS = [
    "python -m studies.table1.data OUT",
    *(f"python -m studies.table1.pareto {what}" for what in ("train OUT", "time OUT", "report OUT --to pareto.json")),
]
HALF = ", bfloat16"  # suffix of the names of timed points
LEFT = ("gated", "ladder")  # generators whose labels are to the left of the points
TICKS = (30, 50, 100, 200, 300)
LABELS = {"ssim": "SSIM (higher is better)", "lpips": "LPIPS (lower is better)"}


def gather(folder: Path, steps: int) -> dict[str, Any]:
    """Return all points of a folder after a number of steps, in the order of their multiply-adds, and the timings.

    Each point also has LPIPS on the validation pairs at all evaluated numbers of steps.
    """
    points = []
    for path in folder.glob(f"*/judged-{steps}.json"):
        point = json.loads(path.read_text(encoding="utf-8"))
        evaluations = [json.loads(other.read_text(encoding="utf-8")) for other in path.parent.glob("judged-*.json")]
        lpips_at = {
            evaluation["steps"]: [record["lpips"] for record in evaluation["validation"]] for evaluation in evaluations
        }
        point["course"] = {
            str(steps_done): round(float(np.median(lpips_at[steps_done])), 4) for steps_done in sorted(lpips_at)
        }
        point["validation"] = columns(point["validation"])
        point["test"] = {name: columns(records) for name, records in point["test"].items()}
        points.append(point)
    timing_files = {name: folder / f"{name}.json" for name in ("staining", "staining-full")}
    times_of = {
        name: json.loads(path.read_text(encoding="utf-8")) for name, path in timing_files.items() if path.is_file()
    }
    return (
        {"staining": None}
        | times_of
        | {"points": sorted(points, key=lambda point: (point["multiply_adds"], point["point"]))}
    )


def columns(records: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return records of patches as one list per key."""
    return {key: [record[key] for record in records] for key in ("pair", *METRICS)}


def quality(point: dict[str, Any], metric: str, on: str) -> Interval:
    """Return the median of a metric over the test patches of a set, with its interval over specimens."""
    scores = point["test"][on]
    return median_interval(scores[metric], scores["pair"])


def difference(point: dict[str, Any], other: dict[str, Any], metric: str, on: str) -> Interval:
    """Return the median paired difference of two points, the first less the second."""
    a, b = point["test"][on], other["test"][on]
    assert a["pair"] == b["pair"]
    return paired_difference(a[metric], b[metric], a["pair"])


def front(costs: list[float], values: list[float], larger_is_better: bool) -> list[int]:
    """Return which points are on the Pareto front, from the cheapest on: nothing as cheap is as good.

    Examples
    --------
    >>> front([1, 2, 3, 3], [0.5, 0.6, 0.4, 0.3], larger_is_better=False)
    [0, 3]
    """
    sign = -1 if larger_is_better else 1
    order = sorted(range(len(costs)), key=lambda n: (costs[n], sign * values[n]))
    chosen: list[int] = []
    for n in order:
        if not chosen or sign * values[n] < sign * values[chosen[-1]]:
            chosen.append(n)
    return chosen


def table(values: dict[str, Any], on: str) -> str:
    """Return the table in Markdown: cost, quality and difference from the reference of each point."""
    points = {point["point"]: point for point in values["points"]}
    reference, paper = points[REFERENCE], points[PAPER]
    staining = {row["name"]: row for row in (values["staining"] or {"timings": []})["timings"]}
    head = (
        "generator",
        "10⁶ multiply-adds",
        "relative to the paper",
        "10³ weights",
        "halo / px",
        "staining, speed-up",
        "with bfloat16",
    )
    lines = ["| " + " | ".join([*head, "SSIM", "LPIPS", "PSNR", "Δ SSIM", "Δ LPIPS", "Δ PSNR"]) + " |"]
    lines.append("|---" * (len(head) + 6) + "|")
    for name, point in points.items():
        timed = [staining.get(network_of(name) + suffix) for suffix in ("", HALF)]
        cells = [
            f"`{name}`",
            f"{point['multiply_adds'] / 1e6:.0f}",
            f"{point['multiply_adds'] / paper['multiply_adds']:.2f}",
            f"{point['weights'] / 1e3:.0f}",
            "–" if point["halo_px"] is None else str(point["halo_px"]),
            *(f"{t['ratio']:.1f} ({t['least_ratio']:.1f}–{t['most_ratio']:.1f})" if t else "–" for t in timed),
        ]
        cells += [str(quality(point, metric, on)) for metric in METRICS]
        for metric in METRICS:
            delta = difference(point, reference, metric, on)
            cells.append("" if name == REFERENCE else f"{delta}{' *' if delta.excludes_zero else ''}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def against(values: dict[str, Any], other: str, test_sets: tuple[str, ...] = ("aligned", "paper")) -> str:
    """Return, in Markdown, the paired differences of all points from one of them, on each test set."""
    points = {point["point"]: point for point in values["points"]}
    columns_of = [(on, metric) for on in test_sets for metric in METRICS]
    lines = ["| generator | " + " | ".join(f"Δ {metric.upper()}, {on}" for on, metric in columns_of) + " |"]
    lines.append("|---" * (len(columns_of) + 1) + "|")
    for name, point in points.items():
        if name != other:
            deltas = [difference(point, points[other], metric, on) for on, metric in columns_of]
            cells = [f"{delta}{' *' if delta.excludes_zero else ''}" for delta in deltas]
            lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def network_of(name: str) -> str:
    """Return the point with the same network as a student or a repeated training. It stains as fast."""
    return name.removesuffix("-taught").removesuffix("-again")


def courses(values: dict[str, Any]) -> str:
    """Return, in Markdown, the quality on the validation pairs, its course, and the seconds of training."""
    lines = ["| generator | CPU-s of training | SSIM / LPIPS / PSNR, validation | LPIPS after N patches |"]
    lines.append("|---" * 4 + "|")
    for point in values["points"]:
        medians = [np.median(point["validation"][metric]) for metric in METRICS]
        course = ", ".join(f"{steps}: {value:.3f}" for steps, value in point["course"].items())
        cells = f"{medians[0]:.3f} / {medians[1]:.3f} / {medians[2]:.1f} | {course}"
        seconds = point["seconds_of_training"]  # None: not recorded
        lines.append(f"| `{point['point']}` | {'–' if seconds is None else f'{seconds:.0f}'} | {cells} |")
    return "\n".join(lines)


def draw(values: dict[str, Any], path: Path, on: str = "aligned") -> None:
    """Draw quality against multiply-adds, with intervals over specimens and the Pareto front."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    points = values["points"]
    costs = [point["multiply_adds"] / 1e6 for point in points]
    figure, axes = plt.subplots(1, 2, figsize=(13, 5.5), layout="constrained")
    for axis, metric in zip(axes, LABELS, strict=True):
        intervals = [quality(point, metric, on) for point in points]
        for cost, point, interval in zip(costs, points, intervals, strict=True):
            colour = COLOURS[point["generator"]["name"]]
            bars = [[interval.median - interval.low], [interval.high - interval.median]]
            axis.errorbar(cost, interval.median, bars, fmt="none", ecolor=colour, alpha=0.25)
            axis.plot(cost, interval.median, marker(point), color=colour, markersize=8)
            side = "right" if point["generator"]["name"] in LEFT else "left"
            label = {"xytext": shift(point), "textcoords": "offset points", "ha": side, "fontsize": 8}
            axis.annotate(point["point"], (cost, interval.median), **label)
        on_front = front(costs, [interval.median for interval in intervals], get_metric(metric).larger_is_better)
        axis.plot([costs[n] for n in on_front], [intervals[n].median for n in on_front], "k--", linewidth=0.8, zorder=0)
        axis.set(xscale="log", xlabel="10⁶ multiply-adds per patch of 128 px", ylabel=LABELS[metric])
        axis.set_xlim(min(costs) / 1.2, max(costs) * 1.6)
        axis.set_xticks(TICKS, [str(tick) for tick in TICKS])
        axis.minorticks_off()
    figure.suptitle(
        "Test phantoms, aligned. Bars: 95 % intervals over specimens; triangles: distilled; squares: trained again"
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def shift(point: dict[str, Any]) -> tuple[int, int]:
    """Return the offset of the label of a point. The label of a repeated training is below."""
    x = -6 if point["generator"]["name"] in LEFT else 6
    return (x, -11) if point["point"].endswith("-again") else (x, 4)


def marker(point: dict[str, Any]) -> str:
    """Return the marker of a point."""
    if point["taught_by"] is not None:
        return "^"
    return "s" if point["point"].endswith("-again") else "o"


def report(source: Path, steps: int, to: Path | None, plot: Path) -> None:
    """Gather the points of a folder in one JSON, or read such a JSON; print the tables and draw the plot."""
    values = json.loads(source.read_text(encoding="utf-8")) if source.is_file() else gather(source, steps)
    if to is not None:
        to.write_text(json.dumps(values), encoding="utf-8")
    for on in ("aligned", "paper"):
        print(f"Trained on paper, tested on {on}\n\n{table(values, on)}\n")
    print(f"Differences from {PAPER}, the paper's generator\n\n{against(values, PAPER)}\n")
    print(courses(values))
    draw(values, plot)
