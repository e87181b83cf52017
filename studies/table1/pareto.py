"""Quality against multiply-adds: generators of several kinds and sizes, with all other settings equal.

    python -m studies.table1.pareto train OUT [--points NAME ...]
    python -m studies.table1.pareto time OUT
    python -m studies.table1.pareto report OUT --to studies/table1/results/pareto.json --plot docs/img/pareto.png
    python -m studies.table1.pareto report studies/table1/results/pareto.json

OUT is where `studies.table1.data` has made the data sets. Each point has the objective, the patches, the seed (but
for those "again") and the number of training patches of every other, those of recipe `tomostain-cpu`. It is judged on
the validation pairs of fold 0, which is what a generator is chosen by, and on the test pairs, those of *paper* and
those where the truth lies. What is finished is not done again; what was stopped goes on to the same bits.
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
    "resnet-12": _RESNET | {"norm": "instance"},  # the paper's, at the width of paired-cyclegan-cpu
    "unet-14": _UNET,  # tomostain-cpu's
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
# Taught by TEACHER once that is trained.
STUDENTS = {"unet-8-taught": "unet-8", "shuffle-32-taught": "shuffle-32"}
# Other weights to begin with, other patches: how far apart two trainings of the same thing come out.
AGAIN = {
    "unet-14-again": "unet-14",
    "unet-8-again": "unet-8",
    "ladder-16-again": "ladder-16",
    "gated-16-again": "gated-16",
}
# Generators of recipe `tomostain`, at full size, whose staining is timed too: none of them has been trained.
FULL: dict[str, dict[str, Any]] = {"tomostain": {}, "unet-36": {"width": 36, "detail": 24}}
NAMES = (*POINTS, *STUDENTS, *AGAIN)


def recipe_of(point: str) -> Recipe:
    """Return the recipe of a point: tomostain-cpu's, but for the generator."""
    spec = POINTS[(STUDENTS | AGAIN).get(point, point)]
    return load_recipe(RECIPE).model_copy(update={"name": point, "generator": spec})


def trainer_of(point: str, out: Path, data: Dataset) -> Trainer:
    """Return the trainer of a point, with the teacher's pictures instead of the real ones for students."""
    if point not in STUDENTS:
        return Trainer(recipe_of(point), data, 0, int(point in AGAIN), "cpu")
    teacher = load_translator(out / "pareto" / TEACHER / f"step-{STEPS[0]}", "cpu").network
    slices = unlabelled(out / "specimens", data, data.split(0).train)
    return Distilled(recipe_of(point), data, 0, 0, teacher=teacher, slices=slices)


def do_point(point: str, out: Path, lpips: Lpips, steps: int) -> None:
    """Train a point or continue its training; evaluate it; write ``OUT/pareto/POINT/judged-STEPS.json``."""
    folder = out / "pareto" / point
    sets = {name: load_dataset(out / name) for name in TESTS}
    recipe, split = recipe_of(point), sets["paper"].split(0)
    if not (kept := folder / f"step-{steps}").is_dir():
        train_to(trainer_of(point, out, sets["paper"]), folder, steps)
    model = load_translator(kept, "cpu")
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
        "validation": judge(model, sets["aligned"], split.validation, lpips),
        "test": {name: judge(model, data, split.test, lpips) for name, data in sets.items()},
        "made": about(),
    }
    write_text(folder / f"judged-{steps}.json", json.dumps(values))
    found = [medians(values["validation"]), medians(values["test"]["aligned"])]
    print(point, steps, values["seconds_of_training"], *found, flush=True)


def train_to(trainer: Trainer, folder: Path, steps: int) -> None:
    """Train to so many steps in all and keep the model as it is then."""
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
    """Return SSIM, LPIPS and PSNR of every patch of these pairs, with the pair's name.

    Exact tiles where the model allows them, else overlapping ones as everywhere in this benchmark.
    """
    config = StainConfig(stride_px=None if model.tile_invariant else EDITION.stride_px)
    records = []
    for pair_id in ids:
        pair = data.load(pair_id)
        fake = stain_slice(model, pair.ct, config)
        colour = background_colour(pair.histology, pair.mask)
        sizes = (EDITION.patch_px, EDITION.stride_px)
        for found in patch_metrics(fake, pair.histology, pair.mask, *sizes, lpips, colour=colour):
            records.append({"pair": pair_id} | {metric: round(float(found[metric]), 4) for metric in METRICS})
    return records


def medians(records: list[dict[str, Any]]) -> list[float]:
    """Return the median of each metric."""
    return [round(float(np.median([record[metric] for record in records])), 4) for metric in METRICS]


def time_staining(paper: str, ways: dict[str, Recipe], rounds: int, side: int = 512) -> dict[str, Any]:
    """Stain a slice by each recipe in turn, and the paper's way; return the ratios of their CPU-seconds.

    The paper's way is that of a recipe with its network: patches a quarter of a patch apart, one by one, torch's own
    convolutions.
    """
    models = {name: untrained(recipe, fast=True) for name, recipe in ways.items()}
    if torch.cpu.get_capabilities().get("amx_bf16"):
        models |= {f"{name}{HALF}": untrained(recipe, fast=True, half=True) for name, recipe in ways.items()}
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
    """Return a recipe's generator with random weights: how long it takes does not depend on them."""
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
    parser.add_argument("out", type=Path, help="OUT; of the report, the JSON that an earlier one wrote.")
    parser.add_argument("--points", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument(
        "--steps",
        nargs="+",
        type=int,
        default=STEPS,
        help="Train all to the first, then all to the next; of these the report takes the last.",
    )
    parser.add_argument("--rounds", type=int, default=5, help="Of the timing.")
    parser.add_argument("--to", type=Path, help="JSON in which the report gathers everything.")
    parser.add_argument("--plot", type=Path, default=Path("pareto.png"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as the command line does
    if options.do == "train":
        lpips = Lpips("alex")
        for steps in options.steps:
            for point in options.points:
                if not (options.out / "pareto" / point / f"judged-{steps}.json").is_file():
                    do_point(point, options.out, lpips, steps)
    elif options.do == "time":
        ways = {point: recipe_of(point) for point in options.points if point in POINTS}
        found = time_staining("paired-cyclegan-cpu", ways, options.rounds)
        write_text(options.out / "pareto" / "staining.json", json.dumps(found))
        whole = load_recipe("tomostain")
        full = {name: whole.model_copy(update={"generator": whole.generator | FULL[name]}) for name in FULL}
        found = time_staining("paired-cyclegan", full, 1)
        write_text(options.out / "pareto" / "staining-full.json", json.dumps(found))
    else:
        report(
            options.out if options.out.is_file() else options.out / "pareto",
            options.steps[-1],
            options.to,
            options.plot,
        )


if __name__ == "__main__":
    main()
