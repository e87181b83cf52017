"""Time and memory against size: slice edge, slices, pairs of a data set, batch.

Each point is measured in a separate process, because of the peak memory: `python -m studies.speed.growth KIND SIZE`.
Straight lines are fitted by least squares of the relative residuals.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from benchmarks.sampling import random_pair
from benchmarks.staining import translator
from studies.speed.memory import peak_of_process
from tests.support.models import LEVELS, grey_volume, random_model
from tomostain.dataset.dataset import load_dataset
from tomostain.dataset.writer import save_dataset
from tomostain.imaging.intensity import IntensityReference
from tomostain.stain import StainConfig, stain_slice, stain_volume
from tomostain.train import Recipe, Trainer, load_recipe

RECIPE = "tomostain-cpu"
# The quantity that grows; the expected linear term of the time, in addition to a constant; and the sizes.
KINDS: dict[str, tuple[str, Callable[[float], float], tuple[int, ...]]] = {
    "edge": ("edge of a slice / px (axis: its square)", lambda n: n * n, (256, 512, 1024, 2048)),
    "slices": ("slices of 256 × 256 px", float, (4, 8, 16, 32, 64)),
    "pairs": ("pairs in the data set", float, (2, 4, 8, 16, 32)),
    "batch": ("patches in a batch", float, (1, 2, 4, 8)),
}


def _repeat(function: Callable[[], Any], min_s: float = 1.0) -> float:
    """Return the median CPU-seconds of a function, after a first call."""
    function()
    seconds: list[float] = []
    while sum(seconds) < min_s or len(seconds) < 3:
        began = time.process_time()
        function()
        seconds.append(time.process_time() - began)
    return float(np.median(seconds))


def slice_seconds(side: int) -> float:
    """Stain a slice in exact tiles."""
    model = translator(RECIPE, fast=True, norm="channel")
    ct = np.random.default_rng(0).integers(8000, 32000, (side, side)).astype(np.uint16)
    return _repeat(lambda: stain_slice(model, ct, StainConfig(blend="exact")))


def volume_seconds(slices: int) -> float:
    """Stain a volume from disk to disk. The time of all threads counts."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = random_model(folder / "model", RECIPE, norm="channel")
        volume = grey_volume(folder / "volume", (slices, 256, 256))

        def stain() -> None:
            stain_volume(
                model,
                volume,
                folder / "out",
                intensity=IntensityReference(LEVELS["background"], LEVELS["bone"]),
                device="cpu",
                overwrite=True,
            )

        return _repeat(stain)


def step_seconds(pairs: int = 4, batch: int = 1) -> float:
    """Take training steps: patches cut, networks forward and backward."""
    recipe = Recipe.from_dict(load_recipe(RECIPE).model_dump() | {"batch": batch})
    with TemporaryDirectory() as folder:
        data = save_dataset(Path(folder) / "set", [random_pair(n, 512) for n in range(pairs)], test=[], folds=[])
        trainer = Trainer(recipe, load_dataset(data.path), None, 0, "cpu")
    return _repeat(trainer.take_step)


def point(kind: str, size: int) -> dict[str, float]:
    """Measure one point in this process."""
    torch.set_num_threads(1)
    measurements: dict[str, Callable[[int], float]] = {
        "edge": slice_seconds,
        "slices": volume_seconds,
        "pairs": lambda n: step_seconds(pairs=n),
        "batch": lambda n: step_seconds(batch=n),
    }
    seconds = measurements[kind](size)
    return {"size": size, "cpu_s": seconds, "peak_mb": peak_of_process()}


def line(x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    """Fit y = a + b x by least squares of the relative residuals.

    Examples
    --------
    >>> fit = line([1, 2, 4], [3, 5, 9])
    >>> round(fit["constant"], 6), round(fit["slope"], 6), max(abs(r) for r in fit["relative_residuals"]) < 1e-9
    (1.0, 2.0, True)
    """
    sizes, values = np.asarray(x, float), np.asarray(y, float)
    design = np.stack([np.ones_like(sizes), sizes], axis=1) / values[:, None]
    (constant, slope), *_ = np.linalg.lstsq(design, np.ones_like(values), rcond=None)
    return {
        "constant": float(constant),
        "slope": float(slope),
        "relative_residuals": ((constant + slope * sizes) / values - 1).tolist(),
    }


def measure() -> dict[str, Any]:
    """Measure every point and fit the lines."""
    growth = {}
    for kind, (_, against, sizes) in KINDS.items():
        points = []
        for size in sizes:
            command = [sys.executable, "-m", "studies.speed.growth", kind, str(size)]
            output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            points.append(json.loads(output.splitlines()[-1]))
        x = [against(row["size"]) for row in points]
        fits = {name: line(x, [row[name] for row in points]) for name in ("cpu_s", "peak_mb")}
        growth[kind] = {"points": points, **fits}
    return growth


def draw(growth: dict[str, Any], out: Path) -> None:
    """Draw the points with the fitted lines: time above, memory below."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(KINDS), figsize=(13, 5.6), layout="constrained")
    for column, (kind, (label, against, _)) in enumerate(KINDS.items()):
        rows = growth[kind]["points"]
        x = [against(row["size"]) for row in rows]
        for axis, name, unit in zip(axes[:, column], ("cpu_s", "peak_mb"), ("CPU-s", "peak memory / MB"), strict=True):
            fit, y = growth[kind][name], [row[name] for row in rows]
            axis.plot([0, x[-1]], [fit["constant"], fit["constant"] + fit["slope"] * x[-1]], color="grey", lw=1)
            axis.plot(x, y, "o", color="tab:purple")
            axis.set(xlim=(0, None), ylim=(0, 1.15 * max(y)), ylabel=unit if column == 0 else None)
            axis.set_xticks(x, ["" if n < x[-1] / 5 else str(row["size"]) for n, row in zip(x, rows, strict=True)])
        axes[1, column].set_xlabel(label)
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    print(json.dumps(point(sys.argv[1], int(sys.argv[2]))))
