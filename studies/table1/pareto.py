"""Quality against multiply-adds of generators of several kinds and sizes, with all other settings equal.

    python -m studies.table1.pareto train OUT [--points NAME ...]
    python -m studies.table1.pareto time OUT
    python -m studies.table1.pareto report OUT --to studies/table1/results/pareto.json --plot docs/img/pareto.png
    python -m studies.table1.pareto report studies/table1/results/pareto.json

OUT is the folder of `studies.table1.data`. All points have the objective, the patches, the number of training patches
and the seed (except those named "again") of recipe `tomostain-cpu`. They are evaluated on the validation pairs of fold
0, by which a generator is chosen, and on the test pairs of *paper* and *aligned*. Finished points are reused,
interrupted trainings are continued to the same bits.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure import about, as_rows, paired
from studies.table1.distil import Distilled, unlabelled
from studies.table1.editions import EDITIONS
from studies.table1.pareto_report import HALF, METRICS, report
from tomostain.dataset.dataset import Dataset, load_dataset
from tomostain.evaluate.metrics.lpips import Lpips
from tomostain.evaluate.metrics.patch import background_colour, patch_metrics
from tomostain.io import ModelSpec
from tomostain.io.atomic import write_text
from tomostain.io.models import save_model
from tomostain.memory import keep_freed_memory
from tomostain.networks import build_network, count_multiply_adds, count_parameters
from tomostain.networks.kernels import accelerate
from tomostain.networks.precision import with_precision
from tomostain.stain import StainConfig, Translator, load_translator, stain_slice
from tomostain.tiling.exact import halo_of
from tomostain.train import Recipe, load_recipe
from tomostain.train.checkpoint import LAST, load_last, save_last
from tomostain.train.trainer import Trainer

EDITION = EDITIONS["cpu"]
RECIPE = "tomostain-cpu"
TEACHER = "unet-24"
STEPS = (2000, 3000)
TESTS = ("paper", "aligned")

_RESNET = {"name": "resnet", "width": 12, "blocks": 3, "norm": "channel"}
_UNET = {"name": "unet", "width": 14, "downs": 5, "detail": 8, "norm": "channel"}
_SHUFFLE = {"name": "shuffle", "width": 40, "blocks": 6, "kernel": 7, "detail": 8, "norm": "channel"}
_LADDER = {"name": "ladder", "width": 16, "downs": 4, "blocks": 1, "kernel": 5, "detail": 8, "norm": "channel"}
_GATED = _LADDER | {"name": "gated", "kernel": 3}
POINTS: dict[str, dict[str, Any]] = {
    "resnet-12": _RESNET | {"norm": "instance"},  # of the paper, with the width of paired-cyclegan-cpu
    "unet-14": _UNET,  # of tomostain-cpu
    "unet-24": _UNET | {"width": 24, "detail": 16},
    "shuffle-40": _SHUFFLE,
    "ladder-16": _LADDER,
    "unet-8": _UNET | {"width": 8, "detail": 6},
    "shuffle-32": _SHUFFLE | {"width": 32, "blocks": 4, "detail": 4},
    "ladder-12": _LADDER | {"width": 12, "detail": 4},
    "gated-16": _GATED,
    "resnet-6": _RESNET | {"width": 6},
    "shuffle-64": _SHUFFLE | {"width": 64},
    "ladder-32": _LADDER | {"width": 32, "detail": 16},
    "resnet-12-channel": _RESNET,
    "gated-12": _GATED | {"width": 12, "detail": 4},
}
# Distilled from TEACHER after its training.
STUDENTS = {"unet-8-taught": "unet-8", "shuffle-32-taught": "shuffle-32"}
# Other initial weights and patches, to measure the difference between two trainings of the same generator.
AGAIN = {
    "unet-14-again": "unet-14",
    "unet-8-again": "unet-8",
    "ladder-16-again": "ladder-16",
    "gated-16-again": "gated-16",
}
# Generators of recipe `tomostain` at full size, whose staining is timed as well. They are not trained.
FULL: dict[str, dict[str, Any]] = {"tomostain": {}, "unet-36": {"width": 36, "detail": 24}}
NAMES = (*POINTS, *STUDENTS, *AGAIN)


def recipe_of(point: str) -> Recipe:
    """Return the recipe of a point: tomostain-cpu with another generator."""
    spec = POINTS[(STUDENTS | AGAIN).get(point, point)]
    return load_recipe(RECIPE).model_copy(update={"name": point, "generator": spec})


def trainer_of(point: str, out: Path, data: Dataset) -> Trainer:
    """Return the trainer of a point. The targets of students are the images of the teacher."""
    if point not in STUDENTS:
        return Trainer(recipe_of(point), data, 0, int(point in AGAIN), "cpu")
    teacher = load_translator(out / "pareto" / TEACHER / f"step-{STEPS[0]}", "cpu").network
    slices = unlabelled(out / "specimens", data, data.split(0).train)
    return Distilled(recipe_of(point), data, 0, 0, teacher=teacher, slices=slices)


def do_point(point: str, out: Path, lpips: Lpips, steps: int) -> None:
    """Train a point or continue its training; evaluate it; write ``OUT/pareto/POINT/judged-STEPS.json``."""
    folder = out / "pareto" / point
    datasets = {name: load_dataset(out / name) for name in TESTS}
    recipe, split = recipe_of(point), datasets["paper"].split(0)
    if not (model_folder := folder / f"step-{steps}").is_dir():
        train_to(trainer_of(point, out, datasets["paper"]), folder, steps)
    model = load_translator(model_folder, "cpu")
    network = build_network(recipe.generator_spec())
    image = torch.zeros(1, recipe.in_channels, recipe.patch_px, recipe.patch_px)
    values = {
        "point": point,
        "generator": recipe.generator,
        "taught_by": TEACHER if point in STUDENTS else None,
        "steps": steps,
        "multiply_adds": count_multiply_adds(network, tuple(image.shape)),
        "weights": count_parameters(network),
        "halo_px": halo_of(recipe.generator_spec()) if model.tile_invariant else None,
        "seed": int(point in AGAIN),
        "seconds_of_training": model.spec.metrics["seconds"],
        "validation": judge(model, datasets["aligned"], split.validation, lpips),
        "test": {name: judge(model, data, split.test, lpips) for name, data in datasets.items()},
        "made": about(),
    }
    write_text(folder / f"judged-{steps}.json", json.dumps(values))
    summary = [medians(values["validation"]), medians(values["test"]["aligned"])]
    print(point, steps, values["seconds_of_training"], *summary, flush=True)


def train_to(trainer: Trainer, folder: Path, steps: int) -> None:
    """Train to a total number of steps and store the model."""
    state = trainer.state
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / LAST).is_file():
        load_last(folder, state)
        trainer.apply_affines()
    while state.step < steps:
        began = time.process_time()
        trainer.take_step()
        state.seconds += time.process_time() - began
        if state.step % 500 == 0:
            save_last(folder, state)
    save_last(folder, state)
    keep(trainer, folder / f"step-{steps}")


def keep(trainer: Trainer, folder: Path) -> None:
    """Write the current model as a model folder."""
    recipe, state = trainer.recipe, trainer.state
    spec = ModelSpec(
        generator=recipe.generator_spec(),
        in_channels=recipe.in_channels,
        voxel_um=EDITION.voxel_um,
        patch_px=recipe.patch_px,
        stain="toluidine-blue",
        recipe=recipe.name,
        fold=0,
        steps=state.step,
        metrics={"seconds": round(state.seconds, 1)},
        tomostain_version="benchmark",
    )
    save_model(folder, spec, state.networks.staining.state_dict(), overwrite=True)


def judge(model: Translator, data: Dataset, ids: tuple[str, ...], lpips: Lpips) -> list[dict[str, Any]]:
    """Return SSIM, LPIPS and PSNR of all patches of some pairs, with the id of the pair.

    Staining uses exact tiles where the model allows them, otherwise overlapping ones.
    """
    config = StainConfig(stride_px=None if model.tile_invariant else EDITION.stride_px)
    records = []
    for pair_id in ids:
        pair = data.load(pair_id)
        stained = stain_slice(model, pair.ct, config)
        colour = background_colour(pair.histology, pair.mask)
        sizes = (EDITION.patch_px, EDITION.stride_px)
        for patch in patch_metrics(stained, pair.histology, pair.mask, *sizes, lpips, colour=colour):
            records.append({"pair": pair_id} | {metric: round(float(patch[metric]), 4) for metric in METRICS})
    return records


def medians(records: list[dict[str, Any]]) -> list[float]:
    """Return the median of each metric."""
    return [round(float(np.median([record[metric] for record in records])), 4) for metric in METRICS]


def time_staining(paper: str, recipes: dict[str, Recipe], rounds: int, side: int = 512) -> dict[str, Any]:
    """Stain a slice with each recipe in turn, and with the paper's method; return the ratios of their CPU-seconds.

    The paper's method: its network, patches with a stride of a quarter of a patch, one by one, with torch's
    convolutions.
    """
    models = {name: untrained(recipe, fast=True) for name, recipe in recipes.items()}
    if torch.cpu.get_capabilities().get("amx_bf16"):
        models |= {f"{name}{HALF}": untrained(recipe, fast=True, half=True) for name, recipe in recipes.items()}
    ct = np.random.default_rng(0).integers(8000, 32000, (side, side)).astype(np.uint16)
    runs = {
        "the paper's way": partial(stain_slice, untrained(load_recipe(paper), fast=False), ct, StainConfig(batch=1))
    }
    for name, model in models.items():
        runs[name] = partial(
            stain_slice, model, ct, StainConfig(stride_px=None if model.tile_invariant else EDITION.stride_px)
        )
    return {"side_px": side, "timings": as_rows(paired(runs, rounds, warm=rounds > 1)), "made": about()}


def untrained(recipe: Recipe, *, fast: bool, half: bool = False) -> Translator:
    """Return the generator of a recipe with random weights. The time does not depend on them."""
    generator = recipe.generator_spec()
    network = build_network(generator, torch.Generator().manual_seed(0)).eval().requires_grad_(False)
    spec = ModelSpec(
        generator=generator,
        in_channels=recipe.in_channels,
        voxel_um=EDITION.voxel_um,
        patch_px=recipe.patch_px,
        stain="",
        recipe=recipe.name,
        tomostain_version="benchmark",
    )
    cpu = torch.device("cpu")
    if half:
        return Translator(with_precision(network, "bfloat16", cpu), spec, cpu)
    return Translator(accelerate(network, frozen=True) if fast else network, spec, cpu)


def main() -> None:
    """Train, time or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=("train", "time", "report"))
    parser.add_argument("out", type=Path, help="Folder OUT; for report also a JSON that an earlier report wrote.")
    parser.add_argument("--points", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument(
        "--steps",
        nargs="+",
        type=int,
        default=STEPS,
        help="Numbers of steps. All points are trained to the first, then to the next; the report uses the last.",
    )
    parser.add_argument("--rounds", type=int, default=5, help="Rounds of the timing.")
    parser.add_argument("--to", type=Path, help="JSON to which the report writes all results.")
    parser.add_argument("--plot", type=Path, default=Path("pareto.png"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # like the command line
    if options.do == "train":
        lpips = Lpips("alex")
        for steps in options.steps:
            for point in options.points:
                if not (options.out / "pareto" / point / f"judged-{steps}.json").is_file():
                    do_point(point, options.out, lpips, steps)
    elif options.do == "time":
        recipes = {point: recipe_of(point) for point in options.points if point in POINTS}
        timings = time_staining("paired-cyclegan-cpu", recipes, options.rounds)
        write_text(options.out / "pareto" / "staining.json", json.dumps(timings))
        recipe = load_recipe("tomostain")
        full = {name: recipe.model_copy(update={"generator": recipe.generator | FULL[name]}) for name in FULL}
        timings = time_staining("paired-cyclegan", full, 1)
        write_text(options.out / "pareto" / "staining-full.json", json.dumps(timings))
    else:
        report(
            options.out if options.out.is_file() else options.out / "pareto",
            options.steps[-1],
            options.to,
            options.plot,
        )


if __name__ == "__main__":
    main()
