"""Measure what wrong pairs cost and what `reject_pairs` gains: some pairs get the histology of another specimen.

    python -m studies.recipe.wrong_pairs DATASETS OUT [--wrong 4] [--fold 0] [--seconds 60] [--every 400]

DATASETS is the folder in which `studies.table1.data` made the data sets. OUT/dataset becomes a copy of *paper* in which
the histology of some training pairs is exchanged in turn, as by exchanged labels of slides. The recipe `tomostain-cpu`
is trained with one thread on this copy without and with `reject_pairs`, and on the unchanged pairs. The unchanged
validation pairs are scored. One line of JSON for each training is appended to OUT/wrong_pairs.jsonl.
"""

import argparse
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from studies.recipe.ablation import judge
from tomostain.dataset.dataset import Dataset, load_dataset
from tomostain.evaluate.metrics.lpips import Lpips
from tomostain.io import write_image
from tomostain.train import load_recipe
from tomostain.train.trainer import Trainer

WHITE = 255


def choose(data: Dataset, fold: int, count: int) -> list[str]:
    """Return training pairs at equal distances in the list."""
    train = data.split(fold).train
    return [train[number * len(train) // count] for number in range(count)]


def exchange_histology(source: Path, target: Path, wrong: list[str]) -> None:
    """Copy a data set; give each pair of `wrong` the histology of the next one, cut or padded to its own size."""
    shutil.copytree(source, target)
    data = load_dataset(source)
    for pair_id, other_id in zip(wrong, wrong[1:] + wrong[:1], strict=True):
        pair, other = data.load(pair_id), data.load(other_id)
        height, width = (min(sizes) for sizes in zip(pair.mask.shape, other.mask.shape, strict=True))
        histology, mask = np.full_like(pair.histology, WHITE), np.zeros_like(pair.mask)
        histology[:height, :width] = other.histology[:height, :width]
        mask[:height, :width] = (pair.mask[:height, :width]) & (other.mask[:height, :width])
        folder = target / "pairs" / pair_id
        write_image(folder / "histology.tif", histology, overwrite=True)
        write_image(folder / "mask.tif", mask.astype(np.uint8) * 255, overwrite=True)


def train(trainer: Trainer, seconds: float) -> Iterator[tuple[int, float]]:
    """Train for some processor time; yield step and time after each residual registration, and at the end."""
    spent, every = 0.0, trainer.recipe.residual_registration
    while spent < seconds:
        start = time.process_time()
        trainer.take_step()
        spent += time.process_time() - start
        if trainer.state.step % every == 1 and trainer.state.step > every:
            yield trainer.state.step, spent
    yield trainer.state.step, spent


def main() -> None:
    """Train and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--wrong", type=int, default=4)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--every", type=int, default=400, help="steps between residual registrations")
    parser.add_argument("--rows", nargs="+", default=["all pairs", "reject_pairs", "no wrong pair"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    right = load_dataset(options.datasets / "paper")
    wrong, folder = choose(right, options.fold, options.wrong), options.out / "dataset"
    if not folder.is_dir():
        exchange_histology(right.path, folder, wrong)
    for row in options.rows:
        recipe = load_recipe("tomostain-cpu")
        changes = {"epochs": 100_000, "reject_pairs": row != "all pairs", "residual_registration": options.every}
        recipe = recipe.model_copy(update=changes)
        data = right if row == "no wrong pair" else load_dataset(folder)
        trainer = Trainer(recipe, data, options.fold, 0, "cpu")
        record = {"row": row, "wrong": [] if row == "no wrong pair" else wrong, "registrations": []}
        for step, spent in train(trainer, options.seconds):
            state, ids = trainer.state, trainer.sampler.ids
            correlations = dict(zip(ids, (round(value, 3) for value in state.correlations), strict=False))
            shifts = {i: round(float(affine[:, 2].norm()), 2) for i, affine in zip(ids, state.affines, strict=False)}
            rejected = [ids[number] for number in state.rejected]
            record["registrations"].append(
                {
                    "step": step,
                    "seconds": round(spent, 1),
                    "rejected": rejected,
                    "correlations": correlations,
                    "affine_offset": shifts,
                }
            )
        record["scores"] = judge(trainer, right, options.fold, Lpips("alex"))
        with (options.out / "wrong_pairs.jsonl").open("a", encoding="utf-8") as out:
            out.write(json.dumps(record) + "\n")
        print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
