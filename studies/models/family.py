"""A large family of phantoms for pre-training: materials, weeks, instruments and sections vary.

    python -m studies.models.family OUT [--stain toluidine-blue] [--specimens 64] [--slices 64] [--jobs 2]

Writes OUT/specimens and the dataset OUT/dataset. Specimens ``s…`` lie in their volume, with a section along the screw,
as in the paper. Specimens ``o…`` have a random orientation, and their section is a plane near slices of the volume, at
any distance from the screw: what `tomostain stain` sees of a phantom with default options. The position of each section
is known, so that pairs are aligned by construction. Existing specimens are reused. Seeds begin at 20000 (toluidine
blue) and 30000 (H&E), those of specimens ``o…`` 500 later; no other study uses them.
"""

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import yaml

from tomostain.cli.progress import Bars
from tomostain.geometry.section import Section
from tomostain.io import write_image, write_slide, write_stack
from tomostain.io.atomic import atomic_folder
from tomostain.phantom import PhantomConfig, write_study
from tomostain.phantom.anatomy import Anatomy, grow_anatomy
from tomostain.phantom.laboratory import make_slide
from tomostain.phantom.pose import Pose
from tomostain.phantom.tomography import tomograph
from tomostain.prepare import PrepareConfig, prepare_specimens

FIRST_SEED = {"toluidine-blue": 20_000, "h&e": 30_000}
MATERIALS = ("Mg-10Gd", "Mg-5Gd", "Ti", "Mg-10Gd", "PEEK", "Mg-5Gd", "Mg-10Gd", "Ti")
WEEKS = (4, 8, 12)
SHAPE, VOXEL_UM, PIXEL_UM = (64, 256, 256), 20.0, 10.0
TEST = 8
# Of specimens with a random orientation: their first seed after `FIRST_SEED`, the slices around the section, its
# distance from the centre of the screw, and the angle to the slices of the volume.
SLICES_SEED, SLICES_SHAPE, OFFSET_UM, TILT_DEG = 500, (32, 256, 256), 2400.0, 3.0


def member(number: int, stain: str) -> PhantomConfig:
    """Return one specimen of the family; everything that varies follows from its number.

    Parameters
    ----------
    number : int
    stain : {"toluidine-blue", "h&e"}
    """
    seed = FIRST_SEED[stain] + number
    rng = np.random.default_rng([seed, 1])
    values: dict[str, Any] = {
        "seed": seed,
        "stain": stain,
        "material": MATERIALS[number % len(MATERIALS)],
        "weeks": WEEKS[number % len(WEEKS)],
        "shape": SHAPE,
        "voxel_um": VOXEL_UM,
        "pixel_um": PIXEL_UM,
        "orientation": "lying",
        "tomography": {
            "energy_kev": round(rng.uniform(25, 60), 1),
            "blur": round(rng.uniform(0.4, 1.2), 2),
            "fringe": round(rng.uniform(0.0, 0.12), 3),
            "noise": round(rng.uniform(0.01, 0.06), 3),
            "rings": round(rng.uniform(0.0, 0.025), 3),
            "streaks": round(rng.uniform(0.0, 0.06), 3),
        },
        "histology": {"thickness_um": round(rng.uniform(25, 60), 0)},
        # Nothing moves between µCT and histology; damage, uneven light and noise remain.
        "laboratory": {"strain": 0.0, "soft_shift_um": 0.0},
    }
    return PhantomConfig.from_dict(values)


def slices_member(number: int, stain: str) -> PhantomConfig:
    """Return one specimen with a random orientation; see `slices_anatomy` for the position of its volume."""
    config = member(SLICES_SEED + number, stain)
    kind = {"material": MATERIALS[number % len(MATERIALS)], "weeks": WEEKS[number % len(WEEKS)]}
    return config.model_copy(update={**kind, "orientation": "random", "shape": SLICES_SHAPE})


def slices_anatomy(config: PhantomConfig) -> tuple[Anatomy, Section]:
    """Return a specimen in a volume of few slices at a random distance from the screw, and the plane of its section."""
    anatomy = grow_anatomy(config)
    rng = np.random.default_rng([config.seed, 6])
    offset_um = np.array([rng.uniform(-OFFSET_UM, OFFSET_UM), 0.0, 0.0])
    tilts = np.radians(rng.uniform(-TILT_DEG, TILT_DEG, 2))
    row = np.array([np.sin(tilts[0]), np.cos(tilts[0]), 0.0])
    column = np.array([np.sin(tilts[1]), 0.0, np.cos(tilts[1])])
    column -= (column @ row) * row
    column /= np.linalg.norm(column)
    side_um = (max(config.shape) - 1) * config.voxel_um
    centre = np.array(config.field_um) / 2 + rng.uniform(-0.5, 0.5, 3) * config.voxel_um
    section = Section(centre - (row + column) * side_um / 2, row, column)
    return replace(anatomy, pose=Pose(anatomy.pose.rotation, anatomy.pose.translation_um + offset_um)), section


def write_slices(config: PhantomConfig, out: Path) -> None:
    """Write volume, slide and truth of a specimen of `slices_member`, in the files of `write_specimen`."""
    anatomy, section = slices_anatomy(config)
    side = round(max(config.shape) * config.voxel_um / config.pixel_um)
    with atomic_folder(out) as folder:
        volume, labels = tomograph(anatomy)
        slide = make_slide(anatomy, section, (side, side))
        write_stack(folder / "volume", volume, voxel_um=(config.voxel_um,) * 3)
        write_slide(folder / "slide.ome.tif", slide.rgb, config.pixel_um)
        (folder / "truth").mkdir()
        text = yaml.safe_dump(slide.section.to_dict() | {"pixel_um": config.pixel_um}, sort_keys=False)
        (folder / "truth" / "section.yaml").write_text(text, encoding="utf-8")
        tifffile.imwrite(folder / "truth" / "labels.tif", labels, compression="zlib", photometric="minisblack")
        write_image(folder / "truth" / "slide_labels.tif", slide.labels)
        write_image(folder / "truth" / "histology_ideal.tif", slide.ideal)


def _write_one(folder: Path, name: str, config: PhantomConfig) -> None:
    if config.shape == SLICES_SHAPE:
        write_slices(config, folder / name)
    else:
        write_study(folder, {name: config})


def make(out: Path, stain: str, specimens: int, slices: int, jobs: int) -> Path:
    """Make the missing specimens and the dataset, with the last of both kinds for testing; return the dataset."""
    along = {f"s{number:03d}": member(number, stain) for number in range(specimens)}
    others = {f"o{number:03d}": slices_member(number, stain) for number in range(slices)}
    return make_specimens(out, along | others, jobs, test=(*list(along)[-TEST:], *list(others)[-TEST:]))


def make_specimens(
    out: Path, configs: Mapping[str, PhantomConfig], jobs: int, test: Sequence[str] | None = None
) -> Path:
    """Make the missing specimens and the dataset, of which `test`, or the last `TEST`, are for testing."""
    missing = [name for name in configs if not (out / "specimens" / name).is_dir()]
    with ProcessPoolExecutor(jobs) as pool:
        # Each process writes a separate folder and table. The specimens then move to one folder.
        for done in [pool.submit(_write_one, out / "parts" / name, name, configs[name]) for name in missing]:
            done.result()
    (out / "specimens").mkdir(parents=True, exist_ok=True)
    for name in missing:
        (out / "parts" / name / name).rename(out / "specimens" / name)
    table = write_study(out / "specimens", configs)
    if not (out / "dataset" / "dataset.yaml").is_file():
        config = PrepareConfig(test_subjects=tuple(list(configs)[-TEST:] if test is None else test), jobs=jobs)
        with Bars() as progress:
            prepare_specimens(table, out / "dataset", config, progress=progress)
    return out / "dataset"


def main() -> None:
    """Make the family."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--stain", choices=FIRST_SEED, default="toluidine-blue")
    parser.add_argument("--specimens", type=int, default=64)
    parser.add_argument("--slices", type=int, default=64, help="Specimens with a random orientation.")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    print(make(options.out, options.stain, options.specimens, options.slices, options.jobs))


if __name__ == "__main__":
    main()
