"""Is the uncertainty high on an implant material that was not in the training data?

    python -m studies.table1.unseen OUT [--material PEEK Ti] [--row tomostain] [--folds 0 1]

OUT is the folder of `studies.table1.run`, with the folds of the row trained on *paper*. The same folds are trained
again without one implant material. Disagreement and novelty of both sets of models are computed on the test specimens,
within the implant and around it, and compared. Trained models are reused.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy import ndimage

from studies.table1.editions import EDITIONS
from studies.table1.run import Run, recipe_of, train_run
from studies.table1.tissue import labels_of
from tomostain.config import read_yaml
from tomostain.dataset.dataset import Dataset, load_dataset
from tomostain.evaluate.calibration import PATCH_PX, error_of, uncertainty_maps
from tomostain.figures.row import captioned_row
from tomostain.integers import to_integers
from tomostain.io import write_image
from tomostain.io.atomic import write_text
from tomostain.phantom.tissue import Label
from tomostain.stain import StainConfig, load_translator, stain_slice
from tomostain.stain.uncertainty import DISAGREEMENT_OR_NOVELTY, NOVELTY, patch_means, rank_correlation

TRAINED_ON, TESTED_ON = "paper", "aligned"
EDITION = EDITIONS["cpu"]
# Width of the region around the implant.
AROUND_UM = 200.0


def without(dataset: Path, material: str, out: Path) -> Path:
    """Make a data set without the training pairs of a material; the images are links."""
    if (out / "dataset.yaml").is_file():
        return out
    values = read_yaml(dataset / "dataset.yaml")
    removed = {r["id"] for r in values["pairs"] if r["implant"] == material and r["id"] not in values["test"]}
    values["pairs"] = [record for record in values["pairs"] if record["id"] not in removed]
    values["folds"] = [[i for i in fold if i not in removed] for fold in values["folds"]]
    out.mkdir(parents=True)
    (out / "pairs").symlink_to((dataset / "pairs").resolve())
    write_text(out / "dataset.yaml", yaml.safe_dump(values, sort_keys=False))
    return out


def regions(labels: NDArray[np.uint8], pixel_um: float) -> dict[str, NDArray[np.bool_]]:
    """Return the implant, the tissue within 200 µm of it, and the other tissue of the section."""
    implant = labels == int(Label.SCREW)
    is_near = ndimage.distance_transform_edt(~implant) * pixel_um <= AROUND_UM
    tissue = (labels != int(Label.AIR)) & ~implant
    return {"implant": implant, "around": is_near & tissue, "elsewhere": tissue & ~is_near}


def look(data: Dataset, runs: dict[str, list[Path]]) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Return the means of maps and error per region, for each test specimen and set of models; and the images."""
    config, records, images_of = StainConfig(stride_px=EDITION.stride_px), [], {}
    models = {
        name: {folder.parent.name: load_translator(folder / "model", "cpu") for folder in folders}
        for name, folders in runs.items()
    }
    for pair_id in data.split(0).test:
        pair, labels = data.load(pair_id), labels_of(data, pair_id)
        images: dict[str, Any] = {"real": pair.histology}
        for name, translators in models.items():
            stained = {fold: stain_slice(translator, pair.ct, config) for fold, translator in translators.items()}
            maps, region_masks = uncertainty_maps(pair, translators, stained, config), regions(labels, pair.voxel_um)
            for kind, (uncertainty, mean) in maps.items():
                error = error_of(mean, pair)
                record: dict[str, Any] = {"pair": pair_id, "implant": pair.implant, "models": name, "map": kind}
                record |= {
                    f"doubt {region}": float(uncertainty[inside].mean()) for region, inside in region_masks.items()
                }
                record |= {f"error {region}": float(error[inside].mean()) for region, inside in region_masks.items()}
                record["rank correlation"] = rank_correlation(patch_means(uncertainty, error, pair.mask, PATCH_PX))
                # Values above 1 are novel. The whole section counts, with air, as in the check before staining.
                record["new share"] = float((maps[NOVELTY][0] > 1).mean())
                records.append(record)
            grey_map = to_integers(255 * maps[DISAGREEMENT_OR_NOVELTY][0], np.uint8, "uncertainty")
            images |= {
                f"stained, {name}": next(iter(stained.values())),
                f"doubt, {name}": np.repeat(grey_map[..., None], 3, axis=2),
            }
        images_of[pair_id] = images
    return records, images_of


def table(records: list[dict[str, Any]], material: str) -> str:
    """Return medians over the specimens of the material and over the others, with the range."""
    columns = (
        *(f"{what} {region}" for region in ("implant", "around", "elsewhere") for what in ("doubt", "error")),
        "rank correlation",
        "new share",
    )
    lines = [f"| specimens | models | map | {' | '.join(columns)} |", "|---" * (len(columns) + 3) + "|"]
    for which, same in ((material, True), ("the others", False)):
        for name, kind in dict.fromkeys((record["models"], record["map"]) for record in records):
            of_this = [r for r in records if (r["models"], r["map"]) == (name, kind)]
            chosen = [r for r in of_this if (r["implant"] == material) == same]
            values = [[record[column] for record in chosen] for column in columns]
            cells = [f"{np.median(v):.3g} ({min(v):.2g}–{max(v):.2g})" for v in values]
            lines.append(f"| {which} ({len(chosen)}) | {name} | {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Train missing models, print the tables, draw OUT/figures/unseen-<material>.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--material", nargs="+", default=["PEEK", "Ti"])
    parser.add_argument("--row", default="tomostain")
    parser.add_argument("--folds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--train-only", action="store_true", help="Train the models, and stop.")
    options = parser.parse_args()
    for material in options.material:
        data = without(options.out / TRAINED_ON, material, options.out / f"{TRAINED_ON}-without-{material}")
        runs: dict[str, list[Path]] = {"saw it": [], "never saw it": []}
        for fold in options.folds:
            runs["saw it"].append(Run(options.row, TRAINED_ON, "seconds", fold, 0).folder(options.out))
            folder = Run(options.row, data.name, "seconds", fold, 0).folder(options.out)
            if not (folder / "model").is_dir():
                train_run(recipe_of(options.row, EDITION), EDITION, "seconds", data, folder, fold, 0)
            runs["never saw it"].append(folder)
        if options.train_only:
            continue
        records, pictures = look(load_dataset(options.out / TESTED_ON), runs)
        print(f"{material}: disagreement and error in grey levels\n\n{table(records, material)}\n")
        write_text(options.out / "figures" / f"unseen-{material}.json", json.dumps(records), overwrite=True)
        pair_id = next(record["pair"] for record in records if record["implant"] == material)
        write_image(
            options.out / "figures" / f"unseen-{material}.png", captioned_row(pictures[pair_id]), overwrite=True
        )


if __name__ == "__main__":
    main()
