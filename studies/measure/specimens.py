"""The specimens of the study of measures: phantoms with known tissue, of all materials and weeks.

    python -m studies.measure.specimens OUT [--training 12] [--test 24] [--jobs 2]

Writes OUT/training/NAME and OUT/test/NAME, each a phantom as `tomostain phantom` makes it. Existing specimens are
reused. Seeds begin at 40000 (training of classifiers) and 41000 (test); no model was trained on them. Instruments vary
as in the family of the built-in models (`studies.models.family`); the orientation is random, as in the paper.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from tomostain.cli.progress import Bars
from tomostain.phantom import PhantomConfig, write_study

FIRST_SEED = {"training": 40_000, "test": 41_000}
MATERIALS = ("Mg-10Gd", "Mg-5Gd", "Ti", "PEEK")
WEEKS = (4, 8, 12)
SHAPE, VOXEL_UM, PIXEL_UM = (208, 208, 208), 20.0, 10.0


def member(part: str, number: int) -> PhantomConfig:
    """Return one specimen of a part; everything that varies follows from its number.

    Parameters
    ----------
    part : {"training", "test"}
    number : int
        Twelve successive numbers have all combinations of four materials and three healing times.
    """
    seed = FIRST_SEED[part] + number
    rng = np.random.default_rng([seed, 1])
    values: dict[str, Any] = {
        "seed": seed,
        "material": MATERIALS[number % len(MATERIALS)],
        "weeks": WEEKS[number // len(MATERIALS) % len(WEEKS)],
        "shape": SHAPE,
        "voxel_um": VOXEL_UM,
        "pixel_um": PIXEL_UM,
        "orientation": "random",
        "tomography": {
            "energy_kev": round(rng.uniform(25, 60), 1),
            "blur": round(rng.uniform(0.4, 1.2), 2),
            "fringe": round(rng.uniform(0.0, 0.12), 3),
            "noise": round(rng.uniform(0.01, 0.06), 3),
            "rings": round(rng.uniform(0.0, 0.025), 3),
            "streaks": round(rng.uniform(0.0, 0.06), 3),
        },
        "histology": {"thickness_um": round(rng.uniform(25, 60), 0)},
    }
    return PhantomConfig.from_dict(values)


def make(out: Path, counts: dict[str, int], jobs: int) -> None:
    """Make the missing specimens."""
    with Bars() as progress:
        for part, count in counts.items():
            configs = {f"{part}{number:02d}": member(part, number) for number in range(count)}
            write_study(out / part, configs, jobs=jobs, progress=progress)


def main() -> None:
    """Make the specimens."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--training", type=int, default=12)
    parser.add_argument("--test", type=int, default=24)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    make(options.out, {"training": options.training, "test": options.test}, options.jobs)


if __name__ == "__main__":
    main()
