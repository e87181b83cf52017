"""What does it cost as the work grows? Time and peak memory against slice edge, slices, pairs and batch.

    python -m benchmarks.speed.growth benchmarks/speed/growth.json [--plot docs/img/growth.png] [--only slices ...]

Every point is measured by a process of its own, so that its peak memory is its own: CPU-seconds at one thread, the best
of three or more after one that does not count. The small recipes stand for all: what grows is the same. A straight line
is laid through each series by least squares of the relative deviations; what is left says where it bends.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.measure import about, peak_mb

SERIES: dict[str, tuple[int, ...]] = {
    "edge": (256, 512, 1024, 2048),
    "edge, overlapping": (256, 512, 1024, 2048),
    "slices": (8, 16, 32, 64, 128),
    "pairs": (2, 4, 8, 16, 32),
    "batch": (1, 2, 4, 8),
}
TITLES = {
    "edge": "a slice in exact tiles (tomostain-cpu)",
    "edge, overlapping": "a slice in overlapping patches (paired-cyclegan-cpu)",
    "slices": "a volume of 256² slices (tomostain-cpu)",
    "pairs": "20 steps, pairs of 256² (tomostain-cpu)",
    "batch": "a step (paired-cyclegan-cpu)",
}
# What cost is expected to be a straight line in.
AXES = {
    "edge": "Mpixel",
    "edge, overlapping": "Mpixel",
    "slices": "slices",
    "pairs": "pairs",
    "batch": "patches a batch",
}
ROUNDS, STEPS = 3, 20
# What takes milliseconds is done more often.
ENOUGH_S, MOST_ROUNDS = 2.0, 60
SIDE = 256


def size_of(series: str, value: int) -> float:
    """Return where a point lies along its axis.

    Examples
    --------
    >>> size_of("edge", 1000), size_of("slices", 16)
    (1.0, 16.0)
    """
    return value**2 / 1e6 if series.startswith("edge") else float(value)


def line_through(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return a and b of y ≈ a + b x, and the largest relative deviation from it.

    Examples
    --------
    >>> [round(value, 6) for value in line_through(np.array([1.0, 2.0, 4.0]), np.array([3.0, 5.0, 9.0]))]
    [1.0, 2.0, 0.0]
    """
    design = np.stack([np.ones_like(x), x], axis=1) / y[:, None]
    (a, b), *_ = np.linalg.lstsq(design, np.ones_like(y), rcond=None)
    return float(a), float(b), float(np.abs((a + b * x) / y - 1).max())


def ct_of(*shape: int) -> NDArray[np.uint16]:
    """Return noise between background and bone."""
    return np.random.default_rng(0).integers(8000, 32000, shape).astype(np.uint16)


def slice_work(recipe: str, edge: int, **config: Any) -> Callable[[], Any]:
    """Return the staining of one slice."""
    from benchmarks.speed.staining import translator
    from tomostain.stain import StainConfig, stain_slice
    from tomostain.train import load_recipe

    model = translator(recipe, fast=True, norm=load_recipe(recipe).generator.get("norm", "instance"))
    ct, settings = ct_of(edge, edge), StainConfig(**config)
    return lambda: stain_slice(model, ct, settings)


def volume_work(slices: int, folder: Path) -> Callable[[], Any]:
    """Return the staining of a volume, from disk to disk."""
    from benchmarks.speed.staining import translator
    from tomostain.io import save_model, write_stack
    from tomostain.stain import stain_volume

    model = translator("tomostain-cpu", fast=False, norm="channel")
    save_model(folder / "model", model.spec, model.network.state_dict())
    write_stack(folder / "volume", ct_of(slices, SIDE, SIDE), voxel_um=5.0)
    paths = folder / "model", folder / "volume", folder / "out.ome.zarr"
    return lambda: stain_volume(*paths, levels="none", overwrite=True)


def training_work(recipe: str, pairs: int, batch: int, steps: int, folder: Path) -> Callable[[], Any]:
    """Return some steps of a training on so many pairs."""
    from benchmarks.speed.sampling import random_pair
    from tomostain.prepare import save_dataset
    from tomostain.train import Trainer, load_recipe

    data = save_dataset(folder / "set", [random_pair(seed, SIDE) for seed in range(pairs)])
    # Histology is laid anew once in so many steps: another cost, and a rare one.
    chosen = load_recipe(recipe).model_copy(update={"batch": batch, "realign": 0})
    trainer = Trainer(chosen, data, None, 0, "cpu")
    return lambda: [trainer.take_step() for _ in range(steps)]


def work_of(series: str, value: int, folder: Path) -> Callable[[], Any]:
    """Return what a point of a series does."""
    if series == "edge":
        return slice_work("tomostain-cpu", value, blend="exact")
    if series == "edge, overlapping":
        return slice_work("paired-cyclegan-cpu", value)
    if series == "slices":
        return volume_work(value, folder)
    if series == "pairs":
        return training_work("tomostain-cpu", value, 1, STEPS, folder)
    return training_work("paired-cyclegan-cpu", 4, value, 1, folder)


def measure(series: str, value: int) -> dict[str, float]:
    """Measure one point in this process."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = work_of(series, value, Path(folder))
        before, seconds = peak_mb(), list[float]()
        while len(seconds) < 1 + ROUNDS or (sum(seconds) < ENOUGH_S and len(seconds) < MOST_ROUNDS):
            began = time.process_time()
            work()
            seconds.append(time.process_time() - began)
    return {"value": value, "seconds": min(seconds[1:]), "peak_mb": peak_mb(), "before_mb": before}


def draw(found: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Draw time and memory of each series with the line through the times."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(found), 5.6), dpi=110)
    canvas = FigureCanvasAgg(figure)
    for column, (series, points) in enumerate(found.items(), start=1):
        x = np.array([size_of(series, int(point["value"])) for point in points])
        for row, key, label in ((0, "seconds", "CPU-seconds"), (1, "peak_mb", "peak memory / MB")):
            y = np.array([point[key] for point in points])
            a, b, _ = line_through(x, y)
            axes = figure.add_subplot(2, len(found), row * len(found) + column)
            axes.plot(x, a + b * x, color="grey", linewidth=0.8)
            axes.plot(x, y, "o", markersize=4)
            axes.set(xlabel=AXES[series], ylabel=label, ylim=(0, 1.1 * max(y)))
            if row == 0:
                axes.set_title(TITLES[series], fontsize=8)
            axes.tick_params(labelsize=7)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.print_png(path)


def table(found: dict[str, list[dict[str, float]]]) -> str:
    """Return a line for each series: its points, the line through them, how far they are from it."""
    lines = ["| | CPU-s (peak MB) | line | farthest from it |", "|---|---|---|---|"]
    for series, points in found.items():
        x = np.array([size_of(series, int(point["value"])) for point in points])
        a, b, off = line_through(x, np.array([point["seconds"] for point in points]))
        cells = ", ".join(f"{p['value']:.0f}: {p['seconds']:.3g} ({p['peak_mb']:.0f})" for p in points)
        lines.append(f"| {TITLES[series]} | {cells} | {a:.2g} + {b:.3g} · {AXES[series]} | {off:.0%} |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is not there yet, print the table, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--only", nargs="+", choices=SERIES, default=None)
    parser.add_argument("--here", nargs=2, metavar=("SERIES", "VALUE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options.here[0], int(options.here[1]))))
        return
    kept = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {"series": {}}
    found = kept["series"]
    for series in options.only or [name for name in SERIES if name not in found]:
        points = []
        for value in SERIES[series]:
            command = [sys.executable, "-m", "benchmarks.speed.growth", str(options.out), "--here", series, str(value)]
            told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            points.append(json.loads(told.stdout.splitlines()[-1]))
            print(series, points[-1], flush=True)
        found[series] = points
        kept = {"about": about() | {"threads": 1}, "series": found}
        options.out.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(table(found))
    if options.plot:
        draw(found, options.plot)


if __name__ == "__main__":
    main()
