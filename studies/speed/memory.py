"""Time and memory of a training step: each variant in a separate process, in turn, because of the peak memory.

python -m studies.speed.memory WAY   # one variant, in this process
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.measure import as_rows, paired
from benchmarks.sampling import random_pair
from tomostain.dataset.dataset import load_dataset
from tomostain.dataset.writer import save_dataset
from tomostain.memory import keep_freed_memory
from tomostain.train import Recipe, Trainer, load_recipe

# The paper's objective with networks of 24 features: small enough for a CPU, large enough to measure memory.
_NARROW = {"generator": {"name": "resnet", "width": 24}, "patch_px": 128, "batch": 4, "buffer": 0}
_PAPERS = {"patch_px": 256, "batch": 1, "buffer": 0}
WAYS: dict[str, dict[str, Any]] = {
    "as it is": _NARROW,
    "accumulate: 4": _NARROW | {"accumulate": 4},
    "checkpoint_activations: true": _NARROW | {"checkpoint_activations": True},
    "as it is, freed memory kept": _NARROW,
    "the paper's networks": _PAPERS,
    "the paper's networks, freed memory kept": _PAPERS,
}
SMALL, LARGE = tuple(WAYS)[:4], tuple(WAYS)[4:]


def step_of(way: str) -> dict[str, float]:
    """Take a step, then three more; return the CPU-seconds of the median one, and the initial and peak memory, MB."""
    torch.set_num_threads(1)
    if way.endswith("kept"):
        keep_freed_memory()
    recipe = Recipe.from_dict(load_recipe("paired-cyclegan").model_dump() | WAYS[way])
    side = 2 * recipe.patch_px
    with TemporaryDirectory() as folder:
        data = save_dataset(Path(folder) / "set", [random_pair(n, side) for n in range(2)], test=[], folds=[])
        trainer = Trainer(recipe, load_dataset(data.path), None, 0, "cpu")
    before, seconds = peak_of_process(), []
    for _ in range(4):
        began = time.process_time()
        trainer.take_step()
        seconds.append(time.process_time() - began)
    return {"cpu_s": sorted(seconds[1:])[1], "before_mb": before, "peak_mb": peak_of_process()}


def peak_of_process() -> float:
    """Return the peak memory of this process so far, MB; not ru_maxrss, which a child inherits from its parent."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in status if line.startswith("VmHWM"))) / 1000


def measure(rounds: int, ways: tuple[str, ...] = SMALL) -> dict[str, Any]:
    """Measure each variant in turn, `rounds` times."""
    clock, results = [0.0], {}

    def run(way: str) -> None:
        command = [sys.executable, "-m", "studies.speed.memory", way]
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        results[way] = json.loads(output.splitlines()[-1])
        clock[0] += results[way]["cpu_s"]

    timings = as_rows(
        paired({way: lambda way=way: run(way) for way in ways}, rounds, warm=False, clock=lambda: clock[0])
    )
    peaks = {f"{way}_mb".replace(":", "").replace(",", ""): round(row["peak_mb"]) for way, row in results.items()}
    return {"timings": timings, "before the first step_mb": round(results[ways[0]]["before_mb"])} | peaks


if __name__ == "__main__":
    print(json.dumps(step_of(sys.argv[1])))
