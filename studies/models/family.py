"""A large family of phantoms for pre-training: materials, weeks, instruments and sections vary.

    python -m studies.models.family OUT [--stain toluidine-blue] [--specimens 64] [--jobs 2]

Writes OUT/specimens and the dataset OUT/dataset. The position of each section is known, so that pairs are aligned by
construction. Existing specimens are reused. Seeds begin at 20000 (toluidine blue) and 30000 (H&E); no other study uses
them.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tomostain.cli.progress import Bars
from tomostain.phantom import PhantomConfig, write_study
from tomostain.prepare import PrepareConfig, prepare_specimens

FIRST_SEED = {"toluidine-blue": 20_000, "h&e": 30_000}
MATERIALS = ("Mg-10Gd", "Mg-5Gd", "Ti", "Mg-10Gd", "PEEK", "Mg-5Gd", "Mg-10Gd", "Ti")
WEEKS = (4, 8, 12)
SHAPE, VOXEL_UM, PIXEL_UM = (64, 256, 256), 20.0, 10.0
TEST = 8


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


def _write_one(folder: Path, name: str, config: PhantomConfig) -> None:
    write_study(folder, {name: config})


def make(out: Path, stain: str, specimens: int, jobs: int) -> Path:
    """Make the missing specimens and the dataset; return the dataset."""
    return make_specimens(out, {f"s{number:03d}": member(number, stain) for number in range(specimens)}, jobs)


def make_specimens(out: Path, configs: dict[str, PhantomConfig], jobs: int) -> Path:
    """Make the missing specimens and the dataset, of which the last `TEST` are for testing; return the dataset."""
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
        test = tuple(list(configs)[-TEST:])
        with Bars() as progress:
            prepare_specimens(table, out / "dataset", PrepareConfig(test_subjects=test, jobs=jobs), progress=progress)
    return out / "dataset"


def main() -> None:
    """Make the family."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--stain", choices=FIRST_SEED, default="toluidine-blue")
    parser.add_argument("--specimens", type=int, default=64)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    print(make(options.out, options.stain, options.specimens, options.jobs))


if __name__ == "__main__":
    main()
