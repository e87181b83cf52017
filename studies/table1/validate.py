"""Try a recipe: train it on fold 0 of a difficulty, and evaluate it on the validation pairs during the training.

    python -m studies.table1.validate OUT ROW [--trained-on paper] [--seconds 200]

OUT is the folder of `studies.table1.data`. Prints a line of JSON per hundred CPU-seconds: the medians [SSIM, LPIPS,
PSNR] over patches of the validation pairs of the difficulty and of *aligned*. Recipes are chosen by these values only,
never by the test pairs.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from studies.table1.candidates import CANDIDATES, Plain, candidate
from studies.table1.editions import DIFFICULTIES, EDITIONS
from studies.table1.run import recipe_of
from tomostain.dataset.dataset import Dataset, load_dataset
from tomostain.evaluate.metrics.lpips import Lpips
from tomostain.evaluate.metrics.patch import background_colour, patch_metrics
from tomostain.imaging.network_range import histology_from_network
from tomostain.integers import to_integers
from tomostain.train import load_recipe
from tomostain.train.trainer import Trainer

METRICS = ("ssim", "lpips", "psnr")
EDITION = EDITIONS["cpu"]


def judge(trainer: Trainer, data: Dataset, lpips: Lpips) -> list[float]:
    """Return the medians of the metrics over the validation patches of fold 0."""
    records = []
    for pair_id in data.split(0).validation:
        pair = data.load(pair_id)
        image = stained(trainer, trainer.judged(pair) if isinstance(trainer, Plain) else pair.ct.astype(np.float32))
        colour = background_colour(pair.histology, pair.mask)
        sizes = (EDITION.patch_px, EDITION.stride_px)
        records += patch_metrics(image, pair.histology, pair.mask, *sizes, lpips, colour=colour)
    return [round(float(np.median([record[metric] for record in records])), 4) for metric in METRICS]


def stained(trainer: Trainer, ct: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the stained image (Y, X, 3) of the current model for an input of its `draw`."""
    levels = histology_from_network(torch.from_numpy(trainer.draw(ct))).numpy()
    return to_integers(levels, np.uint8, "stained slice", clip=True)


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("row", help=f"A row of the table, a file in recipes/, or one of {', '.join(CANDIDATES)}.")
    parser.add_argument("--trained-on", choices=[d.name for d in DIFFICULTIES], default="paper")
    parser.add_argument("--seconds", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    datasets = {name: load_dataset(options.out / name) for name in dict.fromkeys((options.trained_on, "aligned"))}
    data = datasets[options.trained_on]
    if options.row in CANDIDATES:
        trainer: Trainer = candidate(options.row, data, options.out / "specimens")
    else:
        trainer = Trainer(load_recipe(recipe_of(options.row, EDITION)), data, 0, 0, "cpu")
    lpips, seconds, steps, next_evaluation_s = Lpips("alex"), 0.0, 0, 100
    while next_evaluation_s <= options.seconds:
        began = time.process_time()
        trainer.take_step()
        seconds, steps = seconds + time.process_time() - began, steps + 1
        if seconds >= next_evaluation_s:
            medians = {name: judge(trainer, data, lpips) for name, data in datasets.items()}
            print(
                json.dumps(
                    {
                        "name": options.row,
                        "trained_on": options.trained_on,
                        "s": next_evaluation_s,
                        "steps": steps,
                        **medians,
                    }
                ),
                flush=True,
            )
            next_evaluation_s += 100


if __name__ == "__main__":
    main()
