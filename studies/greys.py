"""Distance of scans from the training data by grey values: known materials, unknown materials, wrong grey levels.

    python -m studies.greys SPECIMENS

SPECIMENS is a folder of phantoms as `studies/registration/specimens.py` grows it. Each specimen is held against all
others, as if a model had been trained on those.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from studies.registration.specimens import standard_cases
from tomostain.imaging.intensity import volume_reference
from tomostain.io import open_volume
from tomostain.ood.grey_values import distance, distance_limit, sample_slices, solid_quantiles

# Size of a small training set, and the number of random sets.
FEW, DRAWS = 6, 500


def quantiles(volume_folder: Path) -> dict[str, list[float]]:
    """Return the quantiles of a scan, as it is and with wrong grey levels."""
    volume = open_volume(volume_folder)
    levels = volume_reference(volume)
    step = levels.bone - levels.background
    cases = {
        "right": levels,
        "bone 30 % too low": replace(levels, bone=levels.background + 0.7 * step),
        "bone 30 % too high": replace(levels, bone=levels.background + 1.3 * step),
        "background half a step too low": replace(levels, background=levels.background - 0.5 * step),
    }
    return {name: solid_quantiles(sample_slices(volume, case)).tolist() for name, case in cases.items()}


def nearest(own: list[float], known: list[list[float]]) -> float:
    """Return the distance to the nearest known scan."""
    return min(distance(own, other) for other in known)


def main() -> None:
    """Print one line per case: the number of warnings and the range of distances."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specimens", type=Path)
    parser.add_argument("--first-seed", type=int, default=8000)
    parser.add_argument("--every", type=int, default=2)
    options = parser.parse_args()
    cases = standard_cases(options.first_seed, 224, 20.0)[:: options.every]
    found = {case.name: quantiles(options.specimens / case.name / "volume") for case in cases}
    for name in next(iter(found.values())):
        values, strange = [], 0
        for case in cases:
            known = [found[other.name]["right"] for other in cases if other is not case]
            values.append(nearest(found[case.name][name], known))
            strange += values[-1] > distance_limit(known)
        print(f"{name}: {strange} of {len(values)} warned of; distance {min(values):.3f} to {max(values):.3f}")
    for material in dict.fromkeys(case.values["material"] for case in cases):
        known = [found[case.name]["right"] for case in cases if case.values["material"] != material]
        own = [nearest(found[c.name]["right"], known) for c in cases if c.values["material"] == material]
        strange = int((np.array(own) > distance_limit(known)).sum())
        print(f"never saw {material}: {strange} of {len(own)} warned of; distance {min(own):.3f} to {max(own):.3f}")

    rows = [values["right"] for values in found.values()]
    rng, strange = np.random.default_rng(0), 0
    for _ in range(DRAWS):
        own, *known = (rows[i] for i in rng.choice(len(rows), FEW + 1, replace=False))
        strange += nearest(own, known) > distance_limit(known)
    print(f"{FEW} training pairs, drawn {DRAWS} times: {strange / DRAWS:.1%} of good scans warned of")


if __name__ == "__main__":
    main()
