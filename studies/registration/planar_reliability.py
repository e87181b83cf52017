"""How reliable is the confidence of a registration in the plane? Bins of confidence against right and wrong.

    python -m studies.registration.planar_reliability SPECIMENS OUT.jsonl [--specimens 20] [--until 03:00]
    python -m studies.registration.planar_report OUT.jsonl

SPECIMENS is a folder of phantoms (`tomostain phantom`, or `studies.models.family`). For each specimen the µCT is cut
along the true plane of its slide, and the slide, turned and partly mirrored, is registered with this cut. Variants
change one thing: the cut lies off the plane, the slide belongs to another specimen, the stated pixel size is wrong, the
cut is noisy, or half of the slide is missing. A registration is right if the points of the tissue lie within 2 pixels
of the truth on average. A slide of another specimen has no right place. OUT.jsonl grows with each registration;
existing lines are not repeated.
"""

import argparse
import datetime
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from studies.registration.planar_report import report
from tomostain.errors import InputError
from tomostain.geometry.section import Section, sample_volume
from tomostain.imaging.slide_reference import shrink_slide
from tomostain.io import open_slide, open_volume
from tomostain.register.hints import read_section
from tomostain.register.planar import Planar, register_in_plane

RIGHT_PX = 2.0


@dataclass(frozen=True)
class Pair:
    """A cut of the µCT and the slide of its specimen.

    Attributes
    ----------
    ct : ndarray of float32, shape (Y, X)
    voxel_um : float
    rgb : ndarray of uint8, shape (rows, columns, 3)
    pixel_um : float
    first_um : ndarray, shape (2,)
        Position of the first pixel of `rgb` on the slide, µm.
    truth : Section
    """

    ct: NDArray[np.float32]
    voxel_um: float
    rgb: NDArray[np.uint8]
    pixel_um: float
    first_um: NDArray[np.float64]
    truth: Section


def cut(specimen: Path, off_um: float = 0.0) -> Pair:
    """Return the µCT in the true plane of a specimen's slide, or `off_um` away from it, and the slide."""
    truth = read_section(specimen / "truth" / "section.yaml")
    volume, slide = open_volume(specimen / "volume"), open_slide(specimen / "slide.ome.tif")
    voxel_um = float(volume.voxel_um[0])
    rgb, pixel_um, first_um = shrink_slide(slide, voxel_um)
    normal = np.cross(truth.row, truth.column)
    plane = Section(np.asarray(truth.origin_um) + off_um * normal, truth.row, truth.column)
    shape = (max(rgb.shape[:2]),) * 2
    ct = sample_volume(volume.read(0, volume.shape[0]), volume.voxel_um, plane, shape, voxel_um)
    return Pair(ct, voxel_um, rgb, pixel_um, np.asarray(first_um), truth)


def turned(
    rgb: NDArray[np.uint8], angle: float, mirror: bool
) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]]:
    """Return the slide turned by `angle` (degrees), its 2 × 2 matrix (old − offset = matrix · new), and the offset."""
    radians = np.radians(angle)
    turn = np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
    turn = turn @ np.diag([1.0, -1.0 if mirror else 1.0])
    side = int(1.45 * max(rgb.shape))
    offset = (np.array(rgb.shape[:2]) - 1) / 2 - turn @ np.full(2, (side - 1) / 2)
    channels = [ndimage.affine_transform(rgb[..., c], turn, offset, (side, side), order=1, cval=255) for c in range(3)]
    return np.stack(channels, -1), turn, offset


def off_plane(distance_um: float) -> Callable[[list[Path], int], tuple[Pair, Pair | None]]:
    """Return a variant: the cut lies `distance_um` off the plane of the slide."""

    def make(folders: list[Path], number: int) -> tuple[Pair, Pair | None]:
        pair = cut(folders[number], distance_um)
        return pair, pair

    return make


def other_specimen(folders: list[Path], number: int) -> tuple[Pair, Pair | None]:
    """Return the cut of a specimen with the slide of the next one; no place is right."""
    pair, other = cut(folders[number]), cut(folders[(number + 1) % len(folders)])
    return Pair(pair.ct, pair.voxel_um, other.rgb, other.pixel_um, other.first_um, other.truth), None


def pixel_size(factor: float) -> Callable[[list[Path], int], tuple[Pair, Pair | None]]:
    """Return a variant: the stated pixel size of the slide is `factor` times the right one."""

    def make(folders: list[Path], number: int) -> tuple[Pair, Pair | None]:
        pair = cut(folders[number])
        wrong = Pair(pair.ct, pair.voxel_um, pair.rgb, pair.pixel_um * factor, pair.first_um, pair.truth)
        return wrong, pair

    return make


def noisy(folders: list[Path], number: int) -> tuple[Pair, Pair | None]:
    """Return the cut with noise of 15 % of its range."""
    pair = cut(folders[number])
    low, high = np.nanpercentile(pair.ct, [1, 99])
    noise = np.random.default_rng(number).normal(0, 0.15 * (high - low), pair.ct.shape)
    return Pair(
        (pair.ct + noise).astype(np.float32), pair.voxel_um, pair.rgb, pair.pixel_um, pair.first_um, pair.truth
    ), pair


def half(folders: list[Path], number: int) -> tuple[Pair, Pair | None]:
    """Return a slide of which the lower half was lost."""
    pair = cut(folders[number])
    rgb = pair.rgb.copy()
    rgb[rgb.shape[0] // 2 :] = 250
    return Pair(pair.ct, pair.voxel_um, rgb, pair.pixel_um, pair.first_um, pair.truth), pair


VARIANTS: dict[str, Callable[[list[Path], int], tuple[Pair, Pair | None]]] = {
    "right plane": off_plane(0.0),
    "40 µm off": off_plane(40.0),
    "100 µm off": off_plane(100.0),
    "250 µm off": off_plane(250.0),
    "other specimen": other_specimen,
    "pixel size 1.05": pixel_size(1.05),
    "pixel size 1.15": pixel_size(1.15),
    "noise": noisy,
    "half lost": half,
}


def measure(folders: list[Path], number: int, variant: str) -> dict[str, object]:
    """Register one pair and return its record."""
    pair, truth = VARIANTS[variant](folders, number)
    rng = np.random.default_rng([number, list(VARIANTS).index(variant)])
    slide, turn, offset = turned(pair.rgb, float(rng.uniform(0, 360)), bool(rng.random() < 0.5))
    before = time.process_time()
    record: dict[str, object] = {"specimen": folders[number].name, "variant": variant}
    try:
        result = register_in_plane(pair.ct, pair.voxel_um, slide, pair.pixel_um)
    except InputError as refusal:
        return record | {"refused": str(refusal)}
    error = np.nan if truth is None else error_px(result, pair, truth, turn, offset)
    return record | {
        "error_px": None if np.isnan(error) else round(error, 2),
        "right": bool(error <= RIGHT_PX),
        "pixel_um": result.images.pixel_um,
        "size_um": round(result.evidence.size_um, 1),
        "sure": result.evidence.sure,
        "seconds": round(time.process_time() - before, 1),
        **{key: value for key, value in result.evidence.to_dict().items() if key not in ("sure", "note")},
    }


def error_px(result: Planar, pair: Pair, truth: Pair, turn: NDArray[np.float64], offset: NDArray[np.float64]) -> float:
    """Return the mean distance of 300 points of the tissue from their true place, in pixels of the slice.

    `pair` has the stated pixel size of the slide, `truth` the right one.
    """
    tissue = np.argwhere(ndimage.binary_erosion(pair.rgb.min(axis=2) < 225, iterations=3))
    at = tissue[np.random.default_rng(0).integers(len(tissue), size=300)].astype(float)
    right = truth.truth.slide_to_section_um(at * truth.pixel_um + truth.first_um)
    section = result.section
    registered = section.to_volume_um(section.slide_to_section_um((at - offset) @ turn * pair.pixel_um))[:, 1:]
    return float(np.linalg.norm(registered - right, axis=1).mean() / pair.voxel_um)


def main() -> None:
    """Register and record, or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="SPECIMENS")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--specimens", type=int, default=20)
    parser.add_argument("--until", help="Start no registration after this time of day (HH:MM).")
    options = parser.parse_args()
    source, out = options.source, options.out
    folders = sorted(path.parent for path in source.glob("*/slide.ome.tif"))[: options.specimens]
    lines = out.read_text(encoding="utf-8").splitlines() if out.is_file() else []
    recorded = {(row["specimen"], row["variant"]) for row in map(json.loads, lines)}
    for number, folder in enumerate(folders):
        for variant in VARIANTS:
            late = options.until and datetime.datetime.now().strftime("%H:%M") >= options.until
            if (folder.name, variant) in recorded or late:
                continue
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(measure(folders, number, variant)) + "\n")
    print(report(out))


if __name__ == "__main__":
    main()
