"""Quality against the number of training pairs, with and without pre-training.

    python -m studies.few_pairs.run DATASET OUT [--pairs 1 2 5 10 20 40] [--seconds 120] [--init builtin:phantom-tb]

DATASET comes from `studies.few_pairs.laboratory`, `studies.pet_mri.run` or `studies.table1.run --pet-mri`. Each
training has the same processor time, one thread, the recipe `tomostain-cpu`, and the first pairs of a fixed order. The
test pairs are the same for all. One line of JSON for each test pair and training is appended to OUT/scores.jsonl; what
is in the file is not repeated. `studies.few_pairs.report` draws the plot.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from tomostain.dataset.dataset import Dataset, load_dataset
from tomostain.evaluate import evaluate_models
from tomostain.evaluate.config import PAPER
from tomostain.integers import to_integers
from tomostain.train import LoadedDataset, load_recipe, train_model
from tomostain.train.fine_tune import FineTune

RECIPE = "tomostain-cpu"
METRICS = ("ssim", "lpips", "psnr", "st_lpips")
MAX_TEST = 16


def order(data: Dataset) -> tuple[str, ...]:
    """Return the training pairs, in the order in which a laboratory gets them.

    Subjects take turns, and the pairs of one subject are spread over its slices: the first pairs differ as much as
    possible.
    """
    subjects: dict[str, list[str]] = {}
    test = set(unseen_ids(data))
    for pair_id in data.ids:
        if pair_id not in test:
            subjects.setdefault(str(data.records[pair_id]["subject"]), []).append(pair_id)
    spread = [[ids[position] for position in _spread(len(ids))] for ids in subjects.values()]
    longest = max(map(len, spread))
    return tuple(ids[turn] for turn in range(longest) for ids in spread if turn < len(ids))


def _spread(n: int) -> list[int]:
    """Return 0 to n - 1, each far from the former ones (van der Corput).

    Examples
    --------
    >>> _spread(5)
    [0, 2, 1, 3, 4]
    """
    bits = max(1, (n - 1).bit_length())
    reversed_bits = [int(f"{i:0{bits}b}"[::-1], 2) for i in range(2**bits)]
    positions = [value * n >> bits for value in reversed_bits]
    return list(dict.fromkeys(positions + list(range(n))))


def unseen_ids(data: Dataset) -> tuple[str, ...]:
    """Return the pairs that no training sees: the test pairs, or those of fold 0 if the dataset has no test pairs."""
    split = data.split(0)
    return split.test or split.validation


def held_out(data: Dataset) -> tuple[str, ...]:
    """Return at most `MAX_TEST` test pairs, evenly spaced."""
    test = unseen_ids(data)
    return tuple(
        test[i]
        for i in np.unique(to_integers(np.linspace(0, len(test) - 1, MAX_TEST), np.int64, "pairs", rounded=False))
    )


def train_one(options: argparse.Namespace, data: LoadedDataset, folder: Path, init: str | None) -> None:
    """Train for the processor time, or continue an interrupted training."""
    tune = FineTune(learning_rate=options.learning_rate)
    recipe = load_recipe(RECIPE).model_copy(update={"epochs": 100_000, "fine_tune": tune})
    train_model(
        data,
        folder,
        recipe=recipe,
        fold=None,
        seed=options.seed,
        init=init,
        max_seconds=options.seconds,
        clock=time.process_time,
        resume=(folder / "last").is_file(),
        overwrite=True,
    )


def score(model: Path | str, data: LoadedDataset) -> list[dict[str, float | str]]:
    """Return the medians over the patches of each test pair."""
    table = evaluate_models(model, data, split="test", baselines=False, metrics=("st_lpips",))
    patches = table[(table["scope"] == "patch") & (table["protocol"] == PAPER)]
    medians = patches.groupby("pair")[list(METRICS)].median().round(4)
    return [{"pair": str(pair), **dict(row)} for pair, row in medians.iterrows()]


def main() -> None:
    """Train and score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", nargs="+", type=int, default=[5, 20, 1, 10, 40, 2])
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--init", default="builtin:phantom-tb")
    parser.add_argument("--arms", nargs="+", choices=("random", "init"), default=["random", "init"])
    parser.add_argument("--learning-rate", type=float, help="of fine-tuning; default: that of the recipe")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    scores = options.out / "scores.jsonl"
    lines = scores.read_text(encoding="utf-8").splitlines() if scores.is_file() else []
    done = {(line["n"], line["arm"], line["rate"]) for line in map(json.loads, lines)}
    data = load_dataset(options.dataset)
    test = [data.load(pair_id) for pair_id in held_out(data)]
    for n in options.pairs:
        training = [data.load(pair_id) for pair_id in order(data)[:n]]
        loaded = LoadedDataset.from_pairs([*training, *test], test=[pair.id for pair in test])
        for arm in options.arms:
            rate = options.learning_rate if arm == "init" else None
            if (n, arm, rate) in done:
                continue
            folder = options.out / f"{arm}-{n}" if rate is None else options.out / f"{arm}-{n}-{rate:g}"
            train_one(options, loaded, folder, options.init if arm == "init" else None)
            about = {"n": n, "arm": arm, "rate": rate, "seconds": options.seconds, "seed": options.seed}
            with scores.open("a", encoding="utf-8") as out:
                out.writelines(json.dumps(about | record) + "\n" for record in score(folder, loaded))
            print(f"{arm}, {n} pairs: scored", flush=True)


if __name__ == "__main__":
    main()
