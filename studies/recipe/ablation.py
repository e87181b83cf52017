"""Compare recipes on the validation pairs of one fold, during the training.

    python -m studies.recipe.ablation DATASETS OUT RECIPE... [--trained-on paper] [--fold 0] [--seconds 200]

DATASETS is the folder in which `studies.table1.data` made the data sets. RECIPE is the name of a file in `recipes/`, of
a recipe of the package, a YAML file, or a name of `schedules.SCHEDULES`. One line of JSON is appended to
OUT/ablation.jsonl after 1200 patches and after each hundred seconds of processor time of one thread, and a picture of
one validation pair is written. The test pairs are not read.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from studies.recipe.schedules import BASE, SCHEDULES
from tomostain.dataset.dataset import Dataset, load_dataset
from tomostain.evaluate.metrics.lpips import Lpips
from tomostain.evaluate.metrics.patch import background_colour, patch_metrics
from tomostain.imaging.network_range import histology_from_network
from tomostain.integers import to_integers
from tomostain.io import read_image, write_image
from tomostain.phantom.tissue import Label
from tomostain.train import load_recipe
from tomostain.train.trainer import Trainer

RECIPES = Path(__file__).parent / "recipes"
PATCH_PX, STRIDE_PX, PATCHES, SECONDS = 128, 64, 1200, 100
METRICS = ("ssim", "lpips", "psnr")
AIR, MARROW, DEGRADATION, SCREW = (int(Label[name]) for name in ("AIR", "MARROW", "DEGRADATION", "SCREW"))


def draw(trainer: Trainer, ct: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return the image (Y, X, 3) that the model in training draws."""
    levels = histology_from_network(torch.from_numpy(trainer.draw(ct.astype(np.float32)))).numpy()
    return to_integers(levels, np.uint8, "stained slice", clip=True)


def lattice(stained: NDArray[np.uint8], real: NDArray[np.uint8]) -> float:
    """Return the energy at the periods 4, 8 and 16 px relative to neighbouring frequencies, over that of the truth."""

    def ratio(image: NDArray[np.uint8]) -> float:
        side = min(image.shape[:2]) // 16 * 16
        grey = image[:side, :side].mean(axis=2) * np.outer(np.hanning(side), np.hanning(side))
        power = np.abs(np.fft.fft2(grey)) ** 2 + 1.0
        ratios = []
        for period in (4, 8, 16):
            step = side // period
            for row, column in ((step, 0), (0, step), (step, step)):
                block = power[row : row + 1, column : column + 1].sum()
                rows = np.arange(row - 6, row + 7) % side
                columns = np.arange(column - 6, column + 7) % side
                around = np.median(power[np.ix_(rows, columns)])
                ratios.append(block / around)
        return float(np.mean(np.log(ratios)))

    return float(np.exp(ratio(stained) - ratio(real)))


def objects(stained: NDArray[np.uint8], labels: NDArray[np.uint8]) -> dict[str, float]:
    """Return the share of dark pixels in the air and in the degradation layer (below 60 in all channels)."""
    dark = stained.max(axis=2) < 60
    return {
        "dark_air": float(dark[labels == AIR].mean()),
        "dark_layer": float(dark[labels == DEGRADATION].mean()) if (labels == DEGRADATION).any() else float("nan"),
    }


def judge(trainer: Trainer, data: Dataset, fold: int, lpips: Lpips) -> dict[str, float]:
    """Return medians over validation patches, and means of the other measures over validation pairs."""
    records, others = [], []
    for pair_id in data.split(fold).validation:
        pair = data.load(pair_id)
        labels = read_image(data.path / "pairs" / pair_id / "labels.tif")
        stained = draw(trainer, pair.ct)
        colour = background_colour(pair.histology, pair.mask)
        records += patch_metrics(stained, pair.histology, pair.mask, PATCH_PX, STRIDE_PX, lpips, colour=colour)
        others.append({"lattice": lattice(stained, pair.histology)} | objects(stained, labels))
    scores = {name: round(float(np.median([record[name] for record in records])), 4) for name in METRICS}
    return scores | {name: round(float(np.nanmean([o[name] for o in others])), 4) for name in others[0]}


def main() -> None:
    """Train and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--trained-on", default="paper")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    judged = {name: load_dataset(options.datasets / name) for name in dict.fromkeys((options.trained_on, "aligned"))}
    for name in options.recipes:
        run(options, name, judged, Lpips("alex"))


def run(options: argparse.Namespace, name: str, judged: dict[str, Dataset], lpips: Lpips) -> None:
    """Train one recipe and record its scores at the marks."""
    file = RECIPES / f"{BASE if name in SCHEDULES else name}.yaml"
    recipe = load_recipe(file if file.is_file() else name).model_copy(update={"epochs": 100_000})
    data = judged[options.trained_on]
    trainer = SCHEDULES.get(name, Trainer)(recipe, data, options.fold, 0, "cpu")
    spent, steps, mark = 0.0, 0, SECONDS
    while mark <= options.seconds:
        start = time.process_time()
        trainer.take_step()
        spent, steps = spent + time.process_time() - start, steps + 1
        patches = steps * recipe.batch
        if spent >= mark or 0 <= patches - PATCHES < recipe.batch:
            budget = "patches" if spent < mark else f"{mark} s"
            record = {
                "recipe": Path(name).stem,
                "trained_on": options.trained_on,
                "fold": options.fold,
                "budget": budget,
            }
            record |= {"steps": steps, "seconds": round(spent, 1)}
            record |= {on: judge(trainer, data, options.fold, lpips) for on, data in judged.items()}
            with (options.out / "ablation.jsonl").open("a", encoding="utf-8") as out:
                out.write(json.dumps(record) + "\n")
            print(json.dumps(record), flush=True)
            pair = data.load(data.split(options.fold).validation[1])
            picture = np.hstack([draw(trainer, pair.ct), pair.histology])
            stem = f"{Path(name).stem}-{options.trained_on}-{options.fold}-{budget.replace(' ', '')}"
            write_image(options.out / f"{stem}.png", picture, overwrite=True)
            mark += SECONDS if spent >= mark else 0


if __name__ == "__main__":
    main()
