"""Invented lacunae in the degradation layer, where no cells exist (section 3.4 of the paper reports them).

    python -m studies.table1.lacunae OUT [--rows paired-cyclegan pix2pix-tuned tomostain]

Makes the phantoms of `fine`, trains each row on fold 0 for the seconds of the edition, stains the test sections with
the defaults of `tomostain stain`, and counts dark spots of the size of a lacuna (`tomostain.evaluate.metrics.lacunae`)
per mm² of each region. In the degradation layer each spot is invented. In bone some match real lacunae. Regions are
those of the phantom, within the mask of the pair, without a rim. Prints a table and draws OUT/figures/lacunae.png.
Trained models are reused.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.draw import circle_perimeter

from studies.table1.editions import EDITIONS
from studies.table1.fine import make
from studies.table1.report import REFERENCE
from studies.table1.run import Run, cost, recipe_of, train_run
from studies.table1.tissue import labels_of, model_stainer
from tomostain.dataset.dataset import load_dataset
from tomostain.dataset.pair import Pair
from tomostain.evaluate.baselines import raw_ct
from tomostain.evaluate.intervals import median_interval, paired_difference
from tomostain.evaluate.metrics.lacunae import Detection, detect_lacunae, lacuna_regions
from tomostain.figures.row import captioned_row
from tomostain.integers import to_integers
from tomostain.io import write_image
from tomostain.train import load_recipe

EDITION = EDITIONS["cpu"]
REAL = "real histology"
RGB = NDArray[np.uint8]


def count(stained: RGB, real: RGB, region: NDArray[np.bool_], pixel_um: float) -> dict[str, float]:
    """Return the spots and the invented spots per mm² of a region, and the share of real spots that was found.

    Parameters
    ----------
    fake, real : ndarray of uint8, shape (Y, X, 3)
    region : ndarray of bool, shape (Y, X)
    pixel_um : float
    """
    mm2 = float(region.sum()) * (pixel_um / 1000) ** 2
    detection = Detection.in_region(stained, real, region, pixel_um)
    return {
        "drawn": detection.drawn / mm2,
        "invented": detection.invented / mm2,
        "found": detection.recall,
        "mm2": mm2,
    }


def table(records: list[dict[str, Any]], rows: list[str]) -> str:
    """Return a line per row: medians with 95 % intervals over specimens, and the difference from the paper's model."""
    columns = [("degradation layer", "drawn"), ("bone", "drawn"), ("bone", "invented"), ("bone", "found")]
    head = [f"{region}: {what}{'' if what == 'found' else ' / mm²'}" for region, what in columns]
    lines = [f"| | {' | '.join(head)} | Δ invented in the layer / mm² |", "|---" * (len(columns) + 2) + "|"]
    layer = {
        row: {r["pair"]: r["drawn"] for r in records if (r["row"], r["region"]) == (row, columns[0][0])} for row in rows
    }
    for row in rows:
        cells = []
        for region, what in columns:
            chosen = [r for r in records if (r["row"], r["region"]) == (row, region) and np.isfinite(r[what])]
            cells.append(str(median_interval([r[what] for r in chosen], [r["pair"] for r in chosen])))
        pairs = [pair for pair in layer[row] if pair in layer.get(REFERENCE, {})]
        difference = ""
        if row not in (REAL, REFERENCE) and pairs:
            a, b = ([layer[name][pair] for pair in pairs] for name in (row, REFERENCE))
            difference = str(paired_difference(a, b, pairs))
        lines.append(f"| {row} | {' | '.join(cells)} | {difference} |")
    return "\n".join(lines)


def circled(image: RGB, centres: NDArray[np.float64], colour: tuple[int, int, int], radius: int = 6) -> RGB:
    """Return the image with a circle around each spot."""
    result = image.copy()
    for row, column in to_integers(centres, np.int64, "centres", rounded=False):
        pixels = circle_perimeter(int(row), int(column), radius, shape=image.shape[:2])
        result[pixels] = colour
    return result


def overview(pair: Pair, stained: dict[str, RGB], searched: dict[str, NDArray[np.bool_]]) -> RGB:
    """Return µCT, real histology and the stained images, enlarged three times, with the spots of the layer in red."""
    images: dict[str, RGB] = {"µCT": raw_ct(pair.ct)}
    large: dict[str, RGB] = {}
    for name, image in {**images, REAL: pair.histology, **stained}.items():
        large[name] = np.kron(image, np.ones((3, 3, 1), np.uint8))
        if name != "µCT":
            for region, colour in (("degradation layer", (255, 0, 0)), ("bone", (0, 120, 0))):
                spots = detect_lacunae(image, pair.voxel_um, searched[region])
                large[name] = circled(large[name], 3 * spots + 1, colour, 15)
    return captioned_row(large)


def main() -> None:
    """Train missing models, count, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", nargs="+", default=[REFERENCE, "pix2pix-tuned", "tomostain"])
    parser.add_argument("--train-only", action="store_true", help="Train the models, and stop.")
    options = parser.parse_args()
    data = load_dataset(make(options.out))
    runs = {row: Run(row, "fine", "seconds", 0, 0).folder(options.out) for row in options.rows}
    for row, folder in runs.items():
        recipe = recipe_of(row, EDITION)
        if not (folder / "model").is_dir():
            train_run(recipe, EDITION, "seconds", data.path, folder, 0, 0)
        print(row, cost(folder, load_recipe(recipe).batch), flush=True)
    if options.train_only:
        return
    stainers = {row: model_stainer(folder) for row, folder in runs.items()}
    records: list[dict[str, Any]] = []
    largest_area, figure = -1.0, None
    for pair_id in data.split(0).test:
        pair = data.load(pair_id)
        searched = lacuna_regions(labels_of(data, pair_id), pair.mask, pair.voxel_um)
        stained = {row: stain(pair.ct) for row, stain in stainers.items()}
        for row, image in {REAL: pair.histology, **stained}.items():
            for name, region in searched.items():
                counts = count(image, pair.histology, region, pair.voxel_um)
                records.append({"row": row, "pair": pair_id, "region": name, **counts})
        area = float(searched["degradation layer"].sum())
        if area > largest_area:
            largest_area, figure = area, overview(pair, stained, searched)
    print(table(records, [REAL, *options.rows]))
    areas = {name: sum(r["mm2"] for r in records if (r["row"], r["region"]) == (REAL, name)) for name in searched}
    print(
        ", ".join(f"{name}: {area:.2f} mm²" for name, area in areas.items()), f"in {len(data.split(0).test)} sections"
    )
    assert figure is not None
    write_image(options.out / "figures" / "lacunae.png", figure, overwrite=True)


if __name__ == "__main__":
    main()
