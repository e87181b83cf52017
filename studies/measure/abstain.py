"""Abstention: the error of accepted voxels against the accepted share, for the existing uncertainty maps.

    python -m studies.measure.abstain STUDY STAINED UNCERTAINTY OUT [--step 4] [--figure FILE]

The error is a wrong tissue class, from the built-in classifier of stain and µCT, on every fourth slice of the test
specimens. UNCERTAINTY has the maps that `tomostain stain --uncertainty` wrote, test/NAME. Compared are that map, the
uncertainty of the classifier (1 minus its largest probability), and the larger of both.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from studies.measure.segmentation import errors_and_uncertainty
from tomostain.figures.charts import draw_risk_coverage
from tomostain.io import write_image
from tomostain.measure.refused import open_uncertainty
from tomostain.measure.statistics.abstention import AbstentionCounter
from tomostain.measure.tissue.classifier_files import builtin_classifier, load_classifier

CLASSIFIER, STAIN_MAP, COMBINED = "classifier", "staining", "larger of both"
SHARES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)


def collect(study: Path, stained: Path, uncertainty: Path, step: int) -> dict[str, AbstentionCounter]:
    """Return the counts of all specimens, by uncertainty map."""
    classifier = load_classifier(builtin_classifier("both", "toluidine-blue"))
    counters = {name: AbstentionCounter() for name in (CLASSIFIER, STAIN_MAP, COMBINED)}
    for folder in sorted(path for path in (study / "test").iterdir() if path.is_dir()):
        wrong, unsure, slices = errors_and_uncertainty(folder, stained / "test" / folder.name, classifier, step)
        drawn = open_uncertainty(uncertainty / "test" / folder.name)
        maps = np.stack([drawn.read(int(z), int(z) + 1)[0] for z in slices]).astype(np.uint8)
        for name, values in ((CLASSIFIER, unsure), (STAIN_MAP, maps), (COMBINED, np.maximum(unsure, maps))):
            counters[name].add(values, wrong)
        print(folder.name, f"{wrong.mean():.3f}", flush=True)
    return counters


def report(counters: dict[str, AbstentionCounter]) -> pd.DataFrame:
    """Return the error at some shares, the threshold for each, and the areas under the curves."""
    rows = []
    for name, counter in counters.items():
        curve = counter.curve()
        for share in SHARES:
            at = int(np.argmin(np.abs(curve.kept - share)))
            rows.append((name, curve.threshold[at], curve.kept[at], curve.error[at]))
        print(f"{name}: area {curve.area:.4f}, at random {curve.area_random:.4f}, oracle {curve.area_oracle:.4f}")
    return pd.DataFrame(rows, columns=["map", "threshold", "kept", "error"])


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("study", "stained", "uncertainty", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--step", type=int, default=4)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    counters = collect(options.study, options.stained, options.uncertainty, options.step)
    table = report(counters)
    table.to_csv(options.out / "abstention.csv", index=False)
    print(table.round(4).to_string(index=False))
    if options.figure is not None:
        curves = {name: counter.curve() for name, counter in counters.items()}
        lines = {name: (curve.kept, 100 * curve.error) for name, curve in curves.items()}
        random = 100 * curves[CLASSIFIER].area_random
        picture = draw_risk_coverage(lines, "voxels of a wrong class [%]", random=random)
        write_image(options.figure, picture, overwrite=True)


if __name__ == "__main__":
    main()
