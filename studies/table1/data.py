"""Data sets of the study: phantoms like the paper's specimens, in three difficulties, with five folds and a test set.

    python -m studies.table1.data OUT [--edition cpu]

Each specimen is grown and scanned once. Its section is cut, damaged and mounted once per difficulty. The pose that
`tomostain prepare` receives is changed to simulate registration errors. Existing data are reused.
"""

import argparse
import csv
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from studies.table1.editions import DIFFICULTIES, EDITIONS, Difficulty, Edition, laboratory, specimen_values
from tomostain.config import read_yaml
from tomostain.dataset.dataset import load_dataset
from tomostain.errors import InputError
from tomostain.geometry.section import Section, grid_um
from tomostain.integers import to_integers
from tomostain.io import read_image, write_image, write_slide, write_stack
from tomostain.io.atomic import atomic_folder, write_text
from tomostain.phantom import PhantomConfig
from tomostain.phantom.anatomy import grow_anatomy
from tomostain.phantom.laboratory import make_slide
from tomostain.phantom.pose import section_through_screw
from tomostain.phantom.tomography import tomograph
from tomostain.prepare import PrepareConfig, prepare_specimens
from tomostain.progress import Progress, silent

FIRST_SEED = 7000
COLUMNS = ("specimen", "volume", "slide", "section", "implant", "weeks", "stain")


def misplaced(section: Section, difficulty: Difficulty, pixel_um: float, rng: np.random.Generator) -> Section:
    """Return a section with a simulated registration error: shifted, rotated and strained, and off the plane.

    Parameters
    ----------
    section : Section
        The truth.
    difficulty : Difficulty
        Sizes of the errors.
    pixel_um : float
        Pixel size of the pair.
    rng : numpy.random.Generator

    Returns
    -------
    Section
        The length of the in-plane shift at the origin is uniform between the bounds of the difficulty.
    """
    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(*difficulty.shift_px) * pixel_um
    shift = length * np.array([np.sin(angle), np.cos(angle)])
    offset_um = rng.uniform(-1, 1) * difficulty.plane_px * pixel_um
    turn = Rotation.from_rotvec(np.radians(rng.uniform(-1, 1, 3) * difficulty.turn_deg)).as_matrix()
    origin = section.origin_um + shift @ np.stack([section.row, section.column]) + offset_um * section.normal
    # About the origin of the section, like the rotation.
    affine = (np.eye(2) + rng.uniform(-1, 1, (2, 2)) * difficulty.strain) @ section.slide_to_section
    return Section(origin, turn @ section.row, turn @ section.column, affine)


def centred(section: Section, middle_um: NDArray[np.float64]) -> Section:
    """Return the same section with its origin at a point of the slide, so that a rotation keeps this point in place."""
    centre = section.slide_to_section_um(middle_um)
    affine = section.slide_to_section.copy()
    affine[:, 2] -= centre
    return Section(section.to_volume_um(centre), section.row, section.column, affine)


def grow(edition: Edition, number: int, folder: Path, first_seed: int = FIRST_SEED) -> Path:
    """Write one specimen: ``volume/`` and, per difficulty, slide, labels, the true and the approximate section."""
    out = folder / f"p{number:02d}"
    if out.is_dir():
        return out
    values = specimen_values(edition, number, first_seed)
    with atomic_folder(out, False) as temporary:
        config = PhantomConfig.from_dict(values)
        anatomy = grow_anatomy(config)
        volume, _ = tomograph(anatomy)
        write_stack(temporary / "volume", volume, voxel_um=(config.voxel_um,) * 3)
        for difficulty in DIFFICULTIES:
            # The laboratory settings apply after growth, so the anatomy is the same.
            cut = PhantomConfig.from_dict(values | {"laboratory": laboratory(difficulty)})
            cut_anatomy = replace(anatomy, config=cut)
            section, shape = section_through_screw(cut_anatomy.config, cut_anatomy.pose)
            slide = make_slide(cut_anatomy, section, shape)
            write_slide(temporary / f"{difficulty.name}.ome.tif", slide.rgb, config.pixel_um)
            write_image(temporary / f"{difficulty.name}-labels.tif", slide.labels)
            rng = np.random.default_rng([config.seed, 31])
            true = centred(slide.section, np.array(shape) / 2 * config.pixel_um)
            approximate = misplaced(true, difficulty, config.voxel_um, rng)
            for name, pose in (("truth", true), ("section", approximate)):
                text = yaml.safe_dump(pose.to_dict(), sort_keys=False)
                (temporary / f"{difficulty.name}-{name}.yaml").write_text(text, encoding="utf-8")
    return out


def prepare(
    edition: Edition,
    specimens: Path,
    difficulty: Difficulty,
    out: Path,
    progress: Progress = silent,
    ct_slices: int = 1,
) -> Path:
    """Make the data set of one difficulty, with ``labels.tif``, the tissue of each pixel, next to each pair."""
    if not (out / "dataset.yaml").is_file():
        table = specimens / f"{difficulty.name}.csv"
        with table.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(COLUMNS)
            for i in range(edition.specimens):
                values, name = specimen_values(edition, i, FIRST_SEED), f"p{i:02d}"
                paths = [
                    f"{name}/{x}" for x in ("volume", f"{difficulty.name}.ome.tif", f"{difficulty.name}-section.yaml")
                ]
                rows.writerow((name, *paths, values["material"], values["weeks"], "toluidine-blue"))
        test = tuple(f"p{i:02d}" for i in range(edition.specimens - edition.test, edition.specimens))
        prepare_specimens(table, out, PrepareConfig(test_subjects=test, seed=0, ct_slices=ct_slices), progress=progress)
    write_labels(specimens, difficulty, out)
    return out


def write_labels(specimens: Path, difficulty: Difficulty, dataset: Path) -> None:
    """Resample the labels of the slides to the grids of the pairs."""
    data = load_dataset(dataset)
    for pair_id in data.ids:
        path = dataset / "pairs" / pair_id / "labels.tif"
        if path.is_file():
            continue
        pair = data.load(pair_id)
        labels = read_image(specimens / pair_id / f"{difficulty.name}-labels.tif")
        pixel_um = yaml.safe_load((specimens / "edition.yaml").read_text(encoding="utf-8"))["pixel_um"]
        write_image(
            path,
            labels_on_pair(labels, pixel_um, Section.from_dict(pair.section or {}), pair.mask.shape, pair.voxel_um),
        )


def labels_on_pair(
    labels: NDArray[np.uint8], pixel_um: float, section: Section, shape: tuple[int, ...], voxel_um: float
) -> NDArray[np.uint8]:
    """Return the label of the slide pixel nearest to each pixel of the pair; 0 outside the slide."""
    rows, columns = shape
    positions = section.section_to_slide_um(grid_um((rows, columns), voxel_um)) / pixel_um
    nearest = to_integers(positions, np.int64, "positions")
    inside = ((nearest >= 0) & (nearest < labels.shape)).all(axis=-1)
    row, column = np.clip(nearest, 0, np.array(labels.shape) - 1).reshape(-1, 2).T
    return np.where(inside, labels[row, column].reshape(shape), 0).astype(np.uint8)


def make(edition: Edition, out: Path, jobs: int = 2, progress: Progress = silent) -> dict[str, Path]:
    """Grow and prepare missing data; return the data sets by difficulty."""
    specimens = out / "specimens"
    specimens.mkdir(parents=True, exist_ok=True)
    description = {"edition": edition.name, "pixel_um": edition.pixel_um, "first_seed": FIRST_SEED}
    description_file = specimens / "edition.yaml"
    if description_file.is_file() and read_yaml(description_file) != description:
        raise InputError(
            f"{out}: holds edition '{read_yaml(description_file).get('edition')}'; "
            f"use another folder for '{edition.name}'"
        )
    write_text(description_file, yaml.safe_dump(description))
    with ProcessPoolExecutor(jobs) as pool:
        submitted: list[Any] = [pool.submit(grow, edition, i, specimens) for i in range(edition.specimens)]
        for number, job in enumerate(submitted, start=1):
            job.result()
            progress("growing specimens", number, edition.specimens)
    return {d.name: prepare(edition, specimens, d, out / d.name, progress) for d in DIFFICULTIES}


def main() -> None:
    """Make the data sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--edition", choices=EDITIONS, default="cpu")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    from tomostain.cli.progress import Bars

    with Bars() as progress:
        for name, folder in make(EDITIONS[options.edition], options.out, options.jobs, progress).items():
            data = load_dataset(folder)
            print(f"{name}: {len(data.ids)} pairs, {len(data.folds)} folds, {len(data.test)} test pairs: {folder}")


if __name__ == "__main__":
    main()
