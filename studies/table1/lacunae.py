"""Lacunae that a model draws into the degradation layer, where no cell ever was (the paper saw them, section 3.4).

    python -m studies.table1.lacunae OUT [--rows paired-cyclegan pix2pix-tuned tomostain]

Makes the fine phantoms (`fine`), trains each row on fold 0 for the edition's seconds, stains the test sections as
`tomostain stain` does by default (a quarter of a patch as stride; exact tiles where the model allows them) and
counts dark spots of a lacuna's size (`tomostain.evaluate.metrics.lacunae`), per mm² of each region: in the
degradation layer,
where every one is invented, and in bone, where there are real ones, found and invented. Regions are the phantom's,
inside the pair's mask, without a rim. Prints a table and draws OUT/figures/lacunae.png. What is trained is not trained
again.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import circle_perimeter

from studies.table1.editions import EDITIONS
from studies.table1.fine import BONES, make
from studies.table1.report import REFERENCE
from studies.table1.run import Run, cost, recipe_of, train_run
from studies.table1.tissue import labels_of, model_stainer
from tomostain.dataset.dataset import load_dataset
from tomostain.dataset.pair import Pair
from tomostain.evaluate.baselines import raw_ct
from tomostain.evaluate.figures import side_by_side
from tomostain.evaluate.intervals import median_interval, paired_difference
from tomostain.evaluate.metrics.lacunae import find_lacunae, invented
from tomostain.io import write_image
from tomostain.phantom.tissue import Label
from tomostain.train import load_recipe

EDITION = EDITIONS["cpu"]
REAL = "real histology"
# The detector may respond to edges, so spots within this distance of an edge are ignored.
RIM_UM = 9.0
RGB = NDArray[np.uint8]


def regions(labels: NDArray[np.uint8], mask: NDArray[np.bool_], pixel_um: float) -> dict[str, NDArray[np.bool_]]:
    """Return the regions to search: degradation layer and bone with its lacunae, within the mask, without edges."""
    bone = np.isin(labels, (*BONES, int(Label.LACUNA)))
    found = {"degradation layer": labels == int(Label.DEGRADATION), "bone": bone}
    rim = round(RIM_UM / pixel_um)
    return {name: ndimage.binary_erosion(region & mask, iterations=rim) for name, region in found.items()}


def count(fake: RGB, real: RGB, region: NDArray[np.bool_], pixel_um: float) -> dict[str, float]:
    """Return, per mm² of a region, the spots drawn and those of them invented, and the share of real ones found.

    Parameters
    ----------
    fake, real : ndarray of uint8, shape (Y, X, 3)
    region : ndarray of bool, shape (Y, X)
    pixel_um : float
    """
    mm2 = float(region.sum()) * (pixel_um / 1000) ** 2
    spots, true = (find_lacunae(picture, pixel_um, region) for picture in (fake, real))
    extra, missed = invented(spots, true, pixel_um), invented(true, spots, pixel_um)
    share = 1 - missed / len(true) if len(true) else np.nan
    return {"drawn": len(spots) / mm2, "invented": extra / mm2, "found": share, "mm2": mm2}


def table(records: list[dict[str, Any]], rows: list[str]) -> str:
    """Return a line for each row: medians with 95 % intervals over specimens, and the difference from the paper's."""
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


def circled(picture: RGB, centres: NDArray[np.float64], colour: tuple[int, int, int], radius: int = 6) -> RGB:
    """Return the picture with a circle round each spot."""
    drawn = picture.copy()
    for row, column in centres.astype(int):
        at = circle_perimeter(int(row), int(column), radius, shape=picture.shape[:2])
        drawn[at] = colour
    return drawn


def picture(pair: Pair, drawn: dict[str, RGB], where: dict[str, NDArray[np.bool_]]) -> RGB:
    """Return µCT, real histology and what each row drew, three times as large, the spots of the layer ringed in red."""
    images: dict[str, RGB] = {"µCT": raw_ct(pair.ct)}
    large: dict[str, RGB] = {}
    for name, image in {**images, REAL: pair.histology, **drawn}.items():
        large[name] = np.kron(image, np.ones((3, 3, 1), np.uint8))
        if name != "µCT":
            for region, colour in (("degradation layer", (255, 0, 0)), ("bone", (0, 120, 0))):
                spots = find_lacunae(image, pair.voxel_um, where[region])
                large[name] = circled(large[name], 3 * spots + 1, colour, 15)
    return side_by_side(large)


def main() -> None:
    """Train missing models, count, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", nargs="+", default=[REFERENCE, "pix2pix-tuned", "tomostain"])
    parser.add_argument("--train-only", action="store_true", help="Count nothing yet.")
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
    most, best = -1.0, None
    for pair_id in data.split(0).test:
        pair = data.load(pair_id)
        where = regions(labels_of(data, pair_id), pair.mask, pair.voxel_um)
        drawn = {row: stain(pair.ct) for row, stain in stainers.items()}
        for row, image in {REAL: pair.histology, **drawn}.items():
            for name, region in where.items():
                found = count(image, pair.histology, region, pair.voxel_um)
                records.append({"row": row, "pair": pair_id, "region": name, **found})
        area = float(where["degradation layer"].sum())
        if area > most:
            most, best = area, picture(pair, drawn, where)
    print(table(records, [REAL, *options.rows]))
    areas = {name: sum(r["mm2"] for r in records if (r["row"], r["region"]) == (REAL, name)) for name in where}
    print(
        ", ".join(f"{name}: {area:.2f} mm²" for name, area in areas.items()), f"in {len(data.split(0).test)} sections"
    )
    assert best is not None
    write_image(options.out / "figures" / "lacunae.png", best, overwrite=True)


if __name__ == "__main__":
    main()
