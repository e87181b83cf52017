"""Distance of scans from the training data by grey values: known materials, unknown materials, wrong grey levels.

    python -m studies.greys SPECIMENS

SPECIMENS is a folder of phantoms as `studies/registration/specimens.py` grows it. Each specimen is compared with
all others, as if a model had been trained on those.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from studies.registration.specimens import standard_cases
from tomostain.imaging.intensity_estimation import volume_reference
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
        "correct": levels,
        "bone 30 % too low": replace(levels, bone=levels.background + 0.7 * step),
        "bone 30 % too high": replace(levels, bone=levels.background + 1.3 * step),
        "background half a step too low": replace(levels, background=levels.background - 0.5 * step),
    }
    return {name: solid_quantiles(sample_slices(volume, case)).tolist() for name, case in cases.items()}


def nearest(quantiles_of_scan: list[float], known: list[list[float]]) -> float:
    """Return the distance to the nearest known scan."""
    return min(distance(quantiles_of_scan, other) for other in known)


def main() -> None:
    """Print one line per case: the number of warnings and the range of distances."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specimens", type=Path)
    parser.add_argument("--first-seed", type=int, default=8000)
    parser.add_argument("--every", type=int, default=2)
    options = parser.parse_args()
    cases = standard_cases(options.first_seed, 224, 20.0)[:: options.every]
    quantiles_of = {case.name: quantiles(options.specimens / case.name / "volume") for case in cases}
    for name in next(iter(quantiles_of.values())):
        values, warnings = [], 0
        for case in cases:
            known = [quantiles_of[other.name]["correct"] for other in cases if other is not case]
            values.append(nearest(quantiles_of[case.name][name], known))
            warnings += values[-1] > distance_limit(known)
        print(f"{name}: {warnings} of {len(values)} with a warning; distance {min(values):.3f} to {max(values):.3f}")
    for material in dict.fromkeys(case.values["material"] for case in cases):
        known = [quantiles_of[case.name]["correct"] for case in cases if case.values["material"] != material]
        distances = [nearest(quantiles_of[c.name]["correct"], known) for c in cases if c.values["material"] == material]
        warnings = int((np.array(distances) > distance_limit(known)).sum())
        print(
            f"{material} not in training: {warnings} of {len(distances)} with a warning; "
            f"distance {min(distances):.3f} to {max(distances):.3f}"
        )

    rows = [values["correct"] for values in quantiles_of.values()]
    rng, warnings = np.random.default_rng(0), 0
    for _ in range(DRAWS):
        scan, *known = (rows[i] for i in rng.choice(len(rows), FEW + 1, replace=False))
        warnings += nearest(scan, known) > distance_limit(known)
    print(f"{FEW} training pairs, {DRAWS} random draws: {warnings / DRAWS:.1%} of correct scans with a warning")


if __name__ == "__main__":
    main()
