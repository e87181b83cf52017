"""Train full-size recipes on a GPU and evaluate them next to models that exist.

    python -m studies.full_size.run DATASET OUT --recipes tomostain paired-cyclegan --seconds 60
        [--also ALIGNED] [--model cpu-tomostain=MODEL ...]

DATASET is one of the study of `studies.table1`, ALIGNED another one on whose test pairs the same models are evaluated.
All trainings have the same patches per step: of `--patch` px, `--batch` at a time. OUT/results.json holds the cost of
each training, and the median of each metric with the paired differences to the first recipe.
"""

import argparse
import csv
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from tomostain.config import read_yaml
from tomostain.evaluate import compare
from tomostain.train import load_recipe, train_model

METRICS = ("grid", "degradation_dice", "metal_in_degradation", "bone_implant_contact", "new_bone_area")


@dataclass(frozen=True)
class Cost:
    """What a training took.

    Attributes
    ----------
    steps, patches : int
    seconds : float
        Of the training, and with loading and export.
    whole_seconds : float
    """

    steps: int
    patches: int
    seconds: float
    whole_seconds: float


def train(recipe: str, dataset: Path, run: Path, options: argparse.Namespace) -> Cost:
    """Train a recipe with the patches of the study, for a time."""
    chosen = load_recipe(recipe)
    changes = {"patch_px": options.patch, "batch": options.batch, "epochs": 100_000}
    if options.learning_rate:
        changes["learning_rate"] = options.learning_rate
    chosen = type(chosen).from_dict(chosen.model_dump(mode="json") | changes)
    began = time.perf_counter()
    train_model(dataset, run, recipe=chosen, fold=options.fold, seed=0, max_seconds=options.seconds, overwrite=True)
    steps = int(read_yaml(run / "model" / "model.yaml")["steps"])
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        seconds = float(list(csv.DictReader(file))[-1]["seconds"])
    return Cost(steps, steps * options.batch, seconds, time.perf_counter() - began)


def evaluate(
    models: dict[str, Path], dataset: Path, out: Path, patch_px: int, *, baselines: bool
) -> list[dict[str, str]]:
    """Evaluate models on the test pairs; return the rows of ``intervals.csv``."""
    stain = {"stride_px": patch_px // 2}
    table = compare(
        out,
        models,
        dataset,
        overwrite=True,
        patch_px=patch_px,
        stride_px=patch_px // 2,
        metrics=METRICS,
        baselines=baselines,
        stain=stain,
    )
    print(table.to_text(), flush=True)
    with (out / "intervals.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, evaluate and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--recipes", nargs="+", default=["tomostain", "paired-cyclegan"])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, default=0.0, help="default: that of the recipe")
    parser.add_argument("--also", type=Path, help="another dataset with the same test specimens")
    parser.add_argument("--model", nargs="*", default=[], metavar="NAME=PATH", help="models to compare with")
    options = parser.parse_args(arguments)
    costs: dict[str, Cost] = {}
    models: dict[str, Path] = {}
    for recipe in options.recipes:
        name = Path(recipe).stem
        costs[name] = train(recipe, options.dataset, options.out / name, options)
        models[name] = options.out / name
        print(name, costs[name], flush=True)
    models |= {name: Path(path) for name, _, path in (each.partition("=") for each in options.model)}
    results = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "torch": torch.__version__,
        "costs": {name: asdict(cost) for name, cost in costs.items()},
    }
    for dataset in filter(None, (options.dataset, options.also)):
        baselines = dataset == options.dataset
        out = options.out / f"on-{dataset.name}"
        results[dataset.name] = evaluate(models, dataset, out, options.patch, baselines=baselines)
    (options.out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
