"""Why 3D: bone-implant contact of 200 sections of one specimen, compared with that of its whole surface.

    python -m studies.measure.planes STUDY/test --specimen test00 [--csv FILE] [--figure FILE]

STUDY/test has the specimens of `studies.measure.specimens`. The labels are the truth of the phantom, so that the spread
is that of the sampling alone. Two kinds of planes:

- axial: as a histologist cuts. The plane contains the axis of the implant, apart from a tilt of up to 3° and an offset
  of up to 150 µm (those of `tomostain.phantom.pose.section_through_screw`), at a random angle around the axis.
- any: through a random point of the implant, with a random direction.

Without `--specimen`, every specimen is measured, and only the table is printed.
"""

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from tomostain.errors import InputError
from tomostain.figures.canvas import figure_to_rgb, new_figure
from tomostain.geometry.section import Section, sample_volume
from tomostain.io import write_image
from tomostain.measure.classes import TissueClass, phantom_classes
from tomostain.measure.label_source import LabelArray
from tomostain.measure.morphometry.contact import ContactRule, measure_contact
from tomostain.measure.morphometry.implant import Implant, find_implant
from tomostain.measure.morphometry.plane import find_plane_implant, plane_contact

VOXEL_UM = 20.0
COUNT = 200
TILT_DEG, OFFSET_UM = 3.0, 150.0
MIN_OUTLINE_UM = 1000.0
"""Planes with a shorter outline are drawn again: they only touch the implant."""
KINDS = {"axial": "along the axis", "any": "any direction"}
SECTIONS = (1, 3, 5)
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Planes:
    """Contact of the planes of one kind, %, and length of the outline that is seen, mm; shape (n,)."""

    bic: Float
    outline_mm: Float

    def interval(self, sections: int, rng: np.random.Generator) -> tuple[float, float]:
        """Return the range that contains 95 % of the means of some sections, weighted by their outlines."""
        chosen = rng.integers(0, len(self.bic), (20_000, sections))
        weights = self.outline_mm[chosen]
        low, high = np.percentile((self.bic[chosen] * weights).sum(1) / weights.sum(1), [2.5, 97.5])
        return float(low), float(high)


def draw_plane(implant: Implant, kind: str, rng: np.random.Generator, side: int) -> Section:
    """Draw a plane; its first pixel lies so that the middle of the image is at the implant."""
    if kind == "axial":
        axis = implant.axis
        other = np.cross(axis, np.eye(3)[int(np.argmin(np.abs(axis)))])
        normal = Rotation.from_rotvec(axis * rng.uniform(0, 2 * np.pi)).apply(other / np.linalg.norm(other))
        tilt = np.radians(rng.uniform(-TILT_DEG, TILT_DEG))
        row = np.cos(tilt) * axis + np.sin(tilt) * normal
        column = np.cross(normal, axis)
        middle = implant.centre_um + rng.uniform(-OFFSET_UM, OFFSET_UM) * normal
    else:
        row, column, _ = Rotation.random(None, rng).as_matrix()
        middle = _random_point(implant, rng)
    return Section(middle - (row + column) * (side - 1) / 2 * VOXEL_UM, row, column)


def _random_point(implant: Implant, rng: np.random.Generator) -> Float:
    """Return the centre of a random voxel of the implant, µm."""
    low = np.array([part.start for part in implant.box])
    high = np.array([part.stop for part in implant.box])
    while True:
        z, y, x = rng.integers(low, high)
        if implant.read(z, z + 1)[0, y, x]:
            return np.array([z, y, x]) * VOXEL_UM


def measure_planes(implant: Implant, labels: NDArray[np.uint8], kind: str, seed: int, count: int = COUNT) -> Planes:
    """Measure planes of a kind, by nearest neighbours in the labels, with pixels of the size of a voxel."""
    rng = np.random.default_rng([seed, list(KINDS).index(kind)])
    side = int(np.ceil(np.linalg.norm(labels.shape)))
    rule, found = ContactRule.default(implant.voxel_um), []
    while len(found) < count:
        section = draw_plane(implant, kind, rng, side)
        options = {"order": 0, "fill": float(TissueClass.NOT_MEASURED)}
        plane = sample_volume(labels, implant.voxel_um, section, (side, side), VOXEL_UM, **options)
        try:
            contact = plane_contact(find_plane_implant(plane.astype(np.uint8), VOXEL_UM), rule)
        except InputError:  # the plane only touches the implant
            continue
        if contact.seen >= MIN_OUTLINE_UM:
            found.append((contact.percent, contact.seen / 1000))
    bic, outline = np.array(found).T
    return Planes(bic, outline)


def measure_specimen(folder: Path, seed: int) -> tuple[float, dict[str, Planes]]:
    """Return the contact in 3D, %, and the planes of each kind."""
    labels = phantom_classes(tifffile.imread(folder / "truth" / "labels.tif"))
    implant = find_implant(LabelArray(labels, VOXEL_UM))
    whole = measure_contact(implant, ContactRule.default(implant.voxel_um), "triangles").percent
    return whole, {kind: measure_planes(implant, labels, kind, seed) for kind in KINDS}


def print_row(name: str, whole: float, planes: dict[str, Planes], rng: np.random.Generator) -> None:
    """Print mean, standard deviation and the ranges of the mean of some sections."""
    parts = []
    for kind, each in planes.items():
        ranges = ", ".join("{:.0f} to {:.0f}".format(*each.interval(n, rng)) for n in SECTIONS)
        parts.append(f"{kind}: {each.bic.mean():.1f} ± {each.bic.std(ddof=1):.1f} ({ranges})")
    print(f"| {name} | {whole:.1f} | {' | '.join(parts)} |", flush=True)


def draw_figure(path: Path, whole: float, planes: dict[str, Planes], rng: np.random.Generator) -> None:
    """Draw the planes as dots, and the range of the mean of 1, 3 and 5 axial sections."""
    figure = new_figure(7.0, 3.2, 110)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.5, 1))
    for position, each in enumerate(planes.values()):
        left.plot(position + rng.uniform(-0.27, 0.27, len(each.bic)), each.bic, ".", ms=4, alpha=0.5, color="#325aa0")
        middle, spread = each.bic.mean(), each.bic.std(ddof=1)
        left.errorbar(position + 0.38, middle, spread, fmt="o", color="black", ms=4, capsize=3)
    left.set_xticks(range(len(planes)), [f"{title}\n({COUNT} planes)" for title in KINDS.values()])
    left.set_xlim(-0.5, len(planes) - 0.4)
    left.set_ylabel("BIC, %")
    left.set_title("One plane (black: mean ± SD)", fontsize=9)
    for position, n in enumerate(SECTIONS):
        low, high = planes["axial"].interval(n, rng)
        right.plot([position, position], [low, high], lw=7, color="#325aa0", alpha=0.5, solid_capstyle="butt")
        right.annotate(
            f"{low:.0f} to {high:.0f} %", (position, high), (0, 4), textcoords="offset points", ha="center", fontsize=8
        )
    right.set_xticks(range(len(SECTIONS)), [f"{n} section{'s' if n > 1 else ''}" for n in SECTIONS])
    right.set_xlim(-0.6, len(SECTIONS) - 0.4)
    right.set_title("Mean of sections along the axis, 95 %", fontsize=9)
    for axes in (left, right):
        axes.axhline(whole, color="#c83232", lw=1.2, label=f"3D: {whole:.1f} %")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    left.legend(loc="lower left", frameon=False, fontsize=8)
    write_image(path, figure_to_rgb(figure), overwrite=True)


def write_csv(path: Path, specimen: str, whole: float, planes: dict[str, Planes]) -> None:
    """Write one row for each plane, and one for the volume."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["specimen", "kind", "plane", "bic_percent", "outline_mm"])
        writer.writerow([specimen, "3D", "", f"{whole:.3f}", ""])
        for kind, each in planes.items():
            for number, (bic, outline) in enumerate(zip(each.bic, each.outline_mm, strict=True)):
                writer.writerow([specimen, kind, number, f"{bic:.3f}", f"{outline:.3f}"])


def main() -> None:
    """Measure the planes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specimens", type=Path, help="folder of specimens")
    parser.add_argument("--specimen", help="the specimen of the figure")
    parser.add_argument("--csv", type=Path, default=Path("studies/measure/results/bic-planes.csv"))
    parser.add_argument("--figure", type=Path, default=Path("docs/img/bic-planes.png"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    names = [options.specimen] if options.specimen else sorted(p.parent.name for p in options.specimens.glob("*/truth"))
    print(
        "| specimen | BIC in 3D, % | mean ± SD of planes (95 % of the means of 1, 3, 5 sections) | |\n|---|---|---|---|"
    )
    for name in names:
        whole, planes = measure_specimen(options.specimens / name, options.seed)
        print_row(name, whole, planes, np.random.default_rng(options.seed))
    if options.specimen:
        options.csv.parent.mkdir(parents=True, exist_ok=True)
        write_csv(options.csv, name, whole, planes)
        draw_figure(options.figure, whole, planes, np.random.default_rng(options.seed))


if __name__ == "__main__":
    main()
