"""Phantoms of another laboratory: seeds, stain, energy, noise and blur that the pre-training never had.

    python -m studies.few_pairs.laboratory OUT [--jobs 2]

Writes OUT/specimens and the dataset OUT/dataset with 40 training pairs and 8 test pairs. The position of the sections
is known; soft tissue moved by up to 25 µm, as in the study *paper* (`studies.table1`).
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from studies.models.family import PIXEL_UM, SHAPE, TEST, VOXEL_UM, WEEKS, make_specimens
from tomostain.phantom import PhantomConfig

FIRST_SEED = 40_000
TRAINING = 40
# Not the order of the pre-training. The first five pairs contain each material.
MATERIALS = ("Mg-10Gd", "Mg-5Gd", "Ti", "PEEK", "Mg-10Gd", "Mg-5Gd", "Mg-10Gd", "Mg-5Gd")
# A stain with more pyronin and less thionine than the nominal one, in a thick section.
ABSORBANCE = (0.75, 1.3, 1.1)


def member(number: int) -> PhantomConfig:
    """Return one specimen of the laboratory. Everything that varies follows from its number.

    Energy, blur, noise and thickness are outside the ranges of `studies.models.family.member`.
    """
    seed = FIRST_SEED + number
    rng = np.random.default_rng([seed, 1])
    values: dict[str, Any] = {
        "seed": seed,
        "material": MATERIALS[number % len(MATERIALS)],
        "weeks": WEEKS[number // 2 % len(WEEKS)],
        "shape": SHAPE,
        "voxel_um": VOXEL_UM,
        "pixel_um": PIXEL_UM,
        "orientation": "lying",
        "tomography": {
            "energy_kev": round(rng.uniform(64, 72), 1),
            "blur": round(rng.uniform(1.25, 1.4), 2),
            "fringe": 0.02,
            "noise": round(rng.uniform(0.065, 0.08), 3),
            "rings": 0.02,
            "streaks": 0.05,
            "bone_grey": 21_000.0,
            "background_grey": 6_000.0,
        },
        "histology": {"thickness_um": round(rng.uniform(62, 80), 0), "absorbance": ABSORBANCE},
    }
    return PhantomConfig.from_dict(values)


def main() -> None:
    """Make the specimens and the dataset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    configs = {f"b{number:03d}": member(number) for number in range(TRAINING + TEST)}
    print(make_specimens(options.out, configs, options.jobs))


if __name__ == "__main__":
    main()
