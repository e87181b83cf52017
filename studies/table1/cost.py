"""Multiply-adds and weights of each row's generator, for one patch of its recipe.

    python -m studies.table1.cost [RECIPE ...] [--steps 1]

Only convolutions are counted; the cost of other operations is small. With --steps, training steps on noise are timed
after a first one: wall seconds on a GPU, CPU-seconds of one thread on a CPU.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from studies.table1.editions import ROWS
from tomostain.dataset.dataset import load_dataset
from tomostain.dataset.pair import Pair
from tomostain.dataset.writer import save_dataset
from tomostain.devices import choose_device
from tomostain.networks import build_network, count_multiply_adds, count_parameters
from tomostain.train import load_recipe
from tomostain.train.trainer import Trainer


def seconds_a_step(name: str, steps: int) -> float:
    """Return the seconds of a training step of a recipe on the available device, without the first step."""
    recipe, device = load_recipe(name), choose_device("auto")
    rng, side = np.random.default_rng(0), 2 * recipe.patch_px
    noise = [
        Pair(
            f"p{i}",
            rng.integers(8000, 38000, (side, side)).astype(np.uint16),
            rng.integers(0, 255, (side, side, 3)).astype(np.uint8),
            np.ones((side, side), bool),
            5.0,
        )
        for i in range(2)
    ]
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(recipe, load_dataset(save_dataset(Path(folder) / "noise", noise).path), None, 0, str(device))
        clock = time.monotonic if device.type == "cuda" else time.process_time
        trainer.take_step()
        began = clock()
        for _ in range(steps):
            trainer.take_step()  # this reads the losses, so the GPU has finished
        return (clock() - began) / steps


def main() -> None:
    """Print one line per recipe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=[row + edition for edition in ("-cpu", "") for row in ROWS])
    parser.add_argument("--steps", type=int, default=0, help="Number of training steps to time, after a first one.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    timed = f" batch | seconds a step ({choose_device('auto')}) |" if options.steps else ""
    print(f"| recipe | patch / px | multiply-adds / 10⁹ | weights / 10⁶ |{timed}")
    print("|---" * (6 if options.steps else 4) + "|")
    for name in options.recipes:
        recipe = load_recipe(name)
        network = build_network(recipe.generator_spec())
        cost = count_multiply_adds(network, (1, recipe.in_channels, recipe.patch_px, recipe.patch_px))
        step = f" {recipe.batch} | {seconds_a_step(name, options.steps):.2g} |" if options.steps else ""
        weights = count_parameters(network) / 1e6
        print(f"| {name} | {recipe.patch_px} | {cost / 1e9:.3f} | {weights:.2f} |{step}", flush=True)


if __name__ == "__main__":
    main()
