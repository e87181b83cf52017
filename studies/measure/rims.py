"""Which rule of contact is robust against the rim of wrong voxels that classifiers put around an implant?

    python -m studies.measure.rims STUDY/test [--classified FOLDER]

STUDY/test has the specimens of `studies.measure.specimens`. Their true labels are changed at the surface of the implant
in ways that partial volume causes, and the contact (sub-voxel surface) is compared with that of the true labels by the
same rule. With `--classified`, labels of classifiers are compared as well: FOLDER/SPECIMEN-VARIANT.npy, uint8.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from scipy import ndimage

from tomostain.measure.classes import IMPLANT, MINERALISED, Labels, TissueClass, phantom_classes
from tomostain.measure.label_source import LabelArray
from tomostain.measure.morphometry.contact import ContactRule, measure_contact
from tomostain.measure.morphometry.implant import find_implant
from tomostain.measure.morphometry.surface import Kind
from tomostain.measure.statistics.agreement import agreement

VOXEL_UM = 20.0
RULES = {
    "first voxel": ContactRule(20.0, 0.0),
    "anywhere within the gap": ContactRule(34.6, 0.0),
    "half of two voxels from the surface": ContactRule(0.0, 40.0),
    "half of two voxels beyond the gap (default)": ContactRule.default((VOXEL_UM,) * 3),
}
ALL = np.ones((3, 3, 3), bool)


def changed(labels: Labels) -> Iterator[tuple[str, Labels]]:
    """Yield labels with a rim of wrong voxels."""
    implant = np.isin(labels, IMPLANT)
    rim = ndimage.binary_dilation(implant, ALL) & ~implant
    bone = np.isin(labels, MINERALISED)
    half = np.random.default_rng(0).random(labels.shape) < 0.5
    outermost = implant & ~ndimage.binary_erosion(implant, ALL, border_value=1)
    for name, where, wrong in (
        ("soft tissue at the implant is bone", rim & ~bone, TissueClass.BONE),
        ("half of it is bone", rim & ~bone & half, TissueClass.BONE),
        ("bone at the implant is soft tissue", rim & bone, TissueClass.SOFT),
        ("the outermost implant is bone", outermost, TissueClass.BONE),
        ("the rim is implant", rim, TissueClass.DEGRADATION),
    ):
        yield name, np.where(where, wrong, labels).astype(np.uint8)


def contacts(labels: Labels, kind: Kind = "triangles") -> dict[str, float]:
    """Return the contact by each rule, %."""
    implant = find_implant(LabelArray(labels, VOXEL_UM))
    return {name: measure_contact(implant, rule, kind).percent for name, rule in RULES.items()}


def main() -> None:
    """Print bias ± standard deviation (percentage points) and concordance of each rule, for each change."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specimens", type=Path)
    parser.add_argument("--classified", type=Path)
    options = parser.parse_args()
    truth: dict[str, dict[str, float]] = {}
    values: dict[str, dict[str, dict[str, float]]] = {}
    for folder in sorted(path.parent for path in options.specimens.glob("*/truth")):
        labels = phantom_classes(tifffile.imread(folder / "truth" / "labels.tif"))
        truth[folder.name] = contacts(labels)
        values.setdefault("voxel faces, true labels", {})[folder.name] = contacts(labels, "faces")
        for name, wrong in changed(labels):
            values.setdefault(name, {})[folder.name] = contacts(wrong)
        for path in options.classified.glob(f"{folder.name}-*.npy") if options.classified else ():
            variant = path.stem.split("-", 1)[1]
            values.setdefault(f"classified: {variant}", {})[folder.name] = contacts(np.load(path, allow_pickle=False))
    print("| labels | n | " + " | ".join(RULES) + " |\n|" + "---|" * (len(RULES) + 2))
    for change, measured in values.items():
        cells = []
        for rule in RULES:
            method = [each[rule] for each in measured.values()]
            result = agreement(method, [truth[name][rule] for name in measured])
            cells.append(f"{result.bias.value:+.1f} ± {result.sd:.1f}, {result.concordance.value:.2f}")
        print(f"| {change} | {len(measured)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
