"""Phantoms with voxels small enough for lacunae: magnesium only, a part of the screw surface with bone around it.

    python -m studies.table1.fine OUT

Like `data`, at the difficulty *paper*, but with voxels of 3 µm and a field of 1 mm. The field is placed where the plane
contains most bone and degradation layer.
"""

import argparse
import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from studies.table1.data import COLUMNS, centred, labels_on_pair, misplaced
from studies.table1.editions import DIFFICULTIES, MAGNESIUM, WEEKS, laboratory
from tomostain.dataset.dataset import load_dataset
from tomostain.geometry.section import Section, grid_um
from tomostain.io import read_image, write_image, write_slide, write_stack
from tomostain.io.atomic import atomic_folder
from tomostain.phantom import PhantomConfig
from tomostain.phantom.anatomy import Anatomy, grow_anatomy
from tomostain.phantom.laboratory import make_slide
from tomostain.phantom.pose import Pose
from tomostain.phantom.sampler import sample_tissue_in_volume
from tomostain.phantom.tissue import Label
from tomostain.phantom.tomography import tomograph
from tomostain.prepare import PrepareConfig, prepare_specimens

VOXEL_UM = 3.0
SHAPE = (24, 336, 336)
SPECIMENS, TEST = 18, 8
FIRST_SEED = 9000
DIFFICULTY = next(d for d in DIFFICULTIES if d.name == "paper")
# Candidate positions of the field along the screw, and its distance from the axis, µm.
ALONG_UM, RADIUS_UM = np.linspace(-1500, 1500, 21), 900.0
BONES = (int(Label.BONE), int(Label.WOVEN))


def specimen_values(number: int) -> dict[str, Any]:
    """Return the phantom's configuration of one specimen."""
    return {
        "seed": FIRST_SEED + number,
        "material": MAGNESIUM[number % 2],
        "weeks": WEEKS[number % 3],
        "shape": SHAPE,
        "voxel_um": VOXEL_UM,
        "pixel_um": VOXEL_UM,
        "orientation": "lying",
        "laboratory": laboratory(DIFFICULTY),
    }


def at_the_surface(anatomy: Anatomy) -> tuple[Anatomy, Section]:
    """Return the specimen, moved so that the field contains bone and degradation layer, and the plane in its middle."""
    config = anatomy.config
    field_um = np.array(config.field_um)
    side = SHAPE[1]
    section = Section(np.array([field_um[0] / 2, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]))

    def moved(along_um: float, across_um: float) -> Anatomy:
        surface_um = anatomy.pose.rotation @ np.array([along_um, 0.0, across_um])
        return replace(anatomy, pose=Pose(anatomy.pose.rotation, field_um / 2 - surface_um))

    def score(candidate: Anatomy) -> float:
        points = section.to_volume_um(grid_um((side // 8, side // 8), 8 * config.pixel_um))
        labels = sample_tissue_in_volume(candidate, points, finest_um=24.0).label
        return float(np.isin(labels, BONES).mean() * (labels == int(Label.DEGRADATION)).mean())

    candidates = [moved(along, across) for along in ALONG_UM for across in (-RADIUS_UM, RADIUS_UM)]
    return max(candidates, key=score), section


def grow(number: int, folder: Path) -> Path:
    """Write one specimen: ``volume/``, slide, labels and the approximate section."""
    out = folder / f"f{number:02d}"
    if out.is_dir():
        return out
    anatomy, plane = at_the_surface(grow_anatomy(PhantomConfig.from_dict(specimen_values(number))))
    config = anatomy.config
    with atomic_folder(out, False) as temporary:
        volume, _ = tomograph(anatomy)
        write_stack(temporary / "volume", volume, voxel_um=(VOXEL_UM,) * 3)
        slide = make_slide(anatomy, plane, SHAPE[1:])
        write_slide(temporary / "slide.ome.tif", slide.rgb, VOXEL_UM)
        write_image(temporary / "labels.tif", slide.labels)
        true = centred(slide.section, np.array(SHAPE[1:]) / 2 * VOXEL_UM)
        approximate = misplaced(true, DIFFICULTY, VOXEL_UM, np.random.default_rng([config.seed, 31]))
        (temporary / "section.yaml").write_text(
            yaml.safe_dump(approximate.to_dict(), sort_keys=False), encoding="utf-8"
        )
    return out


def make(out: Path) -> Path:
    """Grow and prepare missing data; return the data set, with ``labels.tif`` next to each pair."""
    specimens, dataset = out / "fine-specimens", out / "fine"
    names = [grow(i, specimens).name for i in range(SPECIMENS)]
    if not (dataset / "dataset.yaml").is_file():
        with (specimens / "specimens.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(COLUMNS)
            for i, name in enumerate(names):
                values = specimen_values(i)
                paths = [f"{name}/{part}" for part in ("volume", "slide.ome.tif", "section.yaml")]
                rows.writerow((name, *paths, values["material"], values["weeks"], "toluidine-blue"))
        prepare_specimens(
            specimens / "specimens.csv", dataset, PrepareConfig(test_subjects=tuple(names[-TEST:]), seed=0)
        )
    data = load_dataset(dataset)
    for pair_id in data.ids:
        path = data.folder(pair_id) / "labels.tif"
        if not path.is_file():
            pair = data.load(pair_id)
            labels: NDArray[np.uint8] = read_image(specimens / pair_id / "labels.tif")
            section = Section.from_dict(pair.section or {})
            write_image(path, labels_on_pair(labels, VOXEL_UM, section, pair.mask.shape, pair.voxel_um))
    return dataset


def main() -> None:
    """Make the data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    print(make(parser.parse_args().out))


if __name__ == "__main__":
    main()
