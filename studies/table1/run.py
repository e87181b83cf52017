"""Table 1 of the paper on phantoms: train each model on each fold, evaluate it on the held-out specimens.

    python -m studies.table1.run OUT [--edition cpu] [--difficulty paper] [--budget seconds] [--folds 0]

Makes missing data sets. A finished run is reused, an interrupted one is continued. Repeat the command with more folds
or rows to extend the table. `report.py` prints the tables.

There are three budgets: the same training seconds for each row, the same number of training patches, and ("long") four
times the seconds. All rows get the same patches, masks and augmentation. Dropout is off when staining. The last state
of each model is evaluated.
"""

import argparse
import csv
import json
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from studies.pet_mri.run import CONFIG as PET_MRI_CONFIG
from studies.table1.data import make
from studies.table1.editions import DIFFICULTIES, EDITIONS, ROWS, Edition
from studies.table1.tissue import measure, model_stainer
from tomostain.config import read_yaml
from tomostain.dataset.dataset import load_dataset
from tomostain.io.atomic import write_text
from tomostain.prepare import AlignedConfig, prepare_aligned

BUDGETS = ("seconds", "samples", "long")
# Factor on the seconds of the edition. It shows whether an advantage persists.
LONG = 4
PET_MRI = "pet_mri"
VARIANTS = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes
    ----------
    row, difficulty, budget : str
    fold, seed : int
    """

    row: str
    difficulty: str
    budget: str
    fold: int
    seed: int

    def folder(self, out: Path) -> Path:
        """Return the training folder. Its name is that of the row, which the tables show."""
        return out / "runs" / self.budget / self.difficulty / f"fold-{self.fold}-seed-{self.seed}" / self.row

    def evaluation(self, out: Path, on: str) -> Path:
        """Return the path of its evaluation on a difficulty's test pairs."""
        return (
            out / "evaluations" / self.budget / self.difficulty / f"fold-{self.fold}-seed-{self.seed}" / on / self.row
        )


def recipe_of(row: str, edition: Edition) -> str:
    """Return the recipe of a row: a file in recipes/ (ablations), or a recipe of the package."""
    file = VARIANTS / f"{row}{edition.suffix}.yaml"
    return str(file) if file.is_file() else f"{row}{edition.suffix}"


def train_run(
    recipe: str,
    edition: Edition,
    budget: str,
    dataset: Path,
    folder: Path,
    fold: int,
    seed: int,
    kernels: str = "plain",
) -> None:
    """Train for the budget of an edition, or continue an interrupted training."""
    import torch

    from tomostain.train import load_recipe, train

    # The epochs of the recipe must not end the training before the budget does.
    recipe_without_end = load_recipe(recipe).model_copy(update={"epochs": 100_000, "kernels": kernels})
    limit: dict[str, Any] = {
        "seconds": {"max_seconds": float(edition.seconds)},
        "long": {"max_seconds": float(LONG * edition.seconds)},
        "samples": {"max_steps": -(-edition.samples // recipe_without_end.batch)},
    }[budget]
    train(
        dataset,
        folder,
        recipe=recipe_without_end,
        fold=fold,
        seed=seed,
        resume=(folder / "last").is_file(),
        overwrite=True,
        # On a CPU with one thread: the time of the training alone, without other work on the machine.
        clock=time.monotonic if torch.cuda.is_available() else time.process_time,
        **limit,
    )


@dataclass(frozen=True)
class Settings:
    """How runs are trained and evaluated. `metrics` are measured in addition to SSIM, LPIPS and PSNR."""

    kernels: str = "plain"
    metrics: tuple[str, ...] = ()
    baselines: bool = True
    threads: int = 1


def train_and_evaluate(
    run: Run,
    edition: Edition,
    datasets: dict[str, Path],
    out: Path,
    settings: Settings,
) -> dict[str, Any]:
    """Run the missing steps of one run; return its cost."""
    import torch

    from tomostain.evaluate import compare
    from tomostain.train import load_recipe

    torch.set_num_threads(settings.threads)
    folder = run.folder(out)
    cost_file = folder.parent / f"{run.row}.json"
    recipe = recipe_of(run.row, edition)
    if not cost_file.is_file():
        train_run(recipe, edition, run.budget, datasets[run.difficulty], folder, run.fold, run.seed, settings.kernels)
        batch = load_recipe(recipe).batch
        write_text(
            cost_file,
            json.dumps(asdict(run) | cost(folder, batch) | {"edition": edition.name, "kernels": settings.kernels}),
        )
    for on in tested_on(run.difficulty):
        evaluation = run.evaluation(out, on)
        if not (evaluation / "evaluate.yaml").is_file():
            compare(
                evaluation,
                [folder],
                datasets[on],
                split="validation" if on == PET_MRI else "test",
                stain={"stride_px": edition.stride_px},
                patch_px=edition.patch_px,
                stride_px=edition.stride_px,
                # The baselines do not depend on the row. They are measured once, with the first.
                baselines=settings.baselines and run.row == ROWS[0],
                metrics=tuple(settings.metrics),
            )
        if on != PET_MRI and not (evaluation / "tissue.json").is_file():
            records = measure(load_dataset(datasets[on]), run.fold, model_stainer(folder, edition.stride_px))
            write_text(evaluation / "tissue.json", json.dumps(records))
    return dict(json.loads(cost_file.read_text(encoding="utf-8")))


def tested_on(difficulty: str) -> tuple[str, ...]:
    """Return the difficulties on whose test pairs a model is evaluated: its own, and "aligned".

    Examples
    --------
    >>> tested_on("badly"), tested_on("aligned"), tested_on("pet_mri")
    (('badly', 'aligned'), ('aligned',), ('pet_mri',))
    """
    return (difficulty,) if difficulty in ("aligned", PET_MRI) else (difficulty, "aligned")


def prepare_pet_mri(source: Path, out: Path) -> Path:
    """Make the data set of the second table: MRI and pseudo-colour PET, one fold per subject."""
    if not (out / "dataset.yaml").is_file():
        config = AlignedConfig.from_dict(PET_MRI_CONFIG | {"test_subjects": (), "test_fraction": 0.0}, PET_MRI)
        prepare_aligned(source / "mri", source / "pet", out, config)
    return out


def cost(folder: Path, batch: int) -> dict[str, Any]:
    """Return steps, patches and seconds of a training. Records of a very short training have no seconds."""
    steps = int(read_yaml(folder / "model" / "model.yaml")["steps"])
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {"steps": steps, "samples": steps * batch, "seconds": float(rows[-1]["seconds"]) if rows else 0.0}


def runs_of(options: argparse.Namespace) -> list[Run]:
    """Return the requested runs, fold by fold, so that complete rows are available early."""
    return [
        Run(row, difficulty, budget, fold, options.seed)
        for fold in options.folds
        for budget in options.budget
        for difficulty in options.difficulty
        for row in options.rows
    ]


def main() -> None:
    """Train and evaluate the selected runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--edition", choices=EDITIONS, default="cpu")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), help="Rows, or names of files in recipes/.")
    parser.add_argument("--difficulty", nargs="*", choices=[d.name for d in DIFFICULTIES], default=["paper"])
    parser.add_argument(
        "--pet-mri", type=Path, metavar="FOLDER", help="Folder with mri/ and pet/, for the second table."
    )
    parser.add_argument("--budget", nargs="+", choices=BUDGETS, default=["seconds"])
    parser.add_argument("--folds", nargs="+", type=int, default=[0])
    parser.add_argument("--seed", type=int, default=0)
    # The stored results were trained with torch's kernels. Compare only rows of the same kernels.
    parser.add_argument("--kernels", choices=("plain", "fast"), default="plain", help="Convolution kernels on a CPU.")
    parser.add_argument("--metric", nargs="*", default=[], help="More metrics of 'tomostain evaluate'.")
    parser.add_argument("--no-baselines", action="store_true", help="Do not measure the µCT and the other baselines.")
    parser.add_argument("--jobs", type=int, default=2, help="Trainings in parallel, each with one thread on a CPU.")
    options = parser.parse_args()
    edition = EDITIONS[options.edition]
    datasets = make(edition, options.out, options.jobs) if options.difficulty else {}
    if options.pet_mri:
        datasets[PET_MRI] = prepare_pet_mri(options.pet_mri, options.out / PET_MRI)
        options.difficulty = [*options.difficulty, PET_MRI]
    runs = runs_of(options)
    settings = Settings(options.kernels, tuple(options.metric), baselines=not options.no_baselines)
    with ProcessPoolExecutor(options.jobs) as pool:
        jobs = [pool.submit(train_and_evaluate, run, edition, datasets, options.out, settings) for run in runs]
        for run, job in zip(runs, jobs, strict=True):
            result = job.result()
            label = f"{run.budget}, {run.difficulty}, fold {run.fold}"
            print(
                f"{run.row} ({label}): {result['steps']} steps, {result['samples']} patches, {result['seconds']:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
