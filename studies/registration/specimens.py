"""The phantoms of the registration study: materials × weeks × section variants, and the hard set.

Each specimen is grown once and sectioned once per stain. A slide has all imperfections of the laboratory: cracks, a
spill, a missing piece, saw marks, shear, shifted soft tissue, any rotation on the glass.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tomostain.io import write_slide, write_stack
from tomostain.io.atomic import atomic_folder
from tomostain.phantom import PhantomConfig
from tomostain.phantom.anatomy import grow_anatomy
from tomostain.phantom.laboratory import make_slide
from tomostain.phantom.pose import section_through_screw
from tomostain.phantom.tomography import tomograph

MATERIALS = ("Mg-5Gd", "Mg-10Gd", "Ti", "PEEK")
WEEKS = (4, 8, 12)
STAINS = ("toluidine-blue", "h&e")
VARIANTS: dict[str, dict[str, Any]] = {
    "whole": {},
    "partial field": {"field_of_view": 0.6},
    "15 % missing": {"lost": 0.15},
    "8° tilt": {},
    "mirrored": {"mirrored": True},
}


@dataclass(frozen=True)
class Case:
    """One specimen: name, variant, configuration without the stain, and stated pixel size / true pixel size."""

    name: str
    variant: str
    values: dict[str, Any]
    pixel_factor: float = 1.0


def standard_cases(first_seed: int, side: int, voxel_um: float) -> list[Case]:
    """Return a specimen for each material, healing time and variant."""
    cases = []
    for material in MATERIALS:
        for weeks in WEEKS:
            for variant, laboratory in VARIANTS.items():
                seed = first_seed + len(cases)
                values = _values(seed, material, weeks, side, voxel_um)
                values["laboratory"] = laboratory | {"turn_deg": _turn(seed)}
                if variant == "8° tilt":
                    values["section_tilt_deg"] = 8.0 if seed % 2 else -8.0
                cases.append(Case(f"s{seed}", variant, values))
    return cases


def hard_cases(first_seed: int, number: int, side: int, voxel_um: float) -> list[Case]:
    """Return specimens with all imperfections combined.

    4 % strain, 2 voxels of shift, a quarter lost or misstained, double noise, and a pixel size that is 6 % off.
    """
    cases = []
    for i in range(number):
        seed = first_seed + i
        values = _values(seed, MATERIALS[i % 4], WEEKS[i % 3], side, voxel_um)
        part = {"lost": 0.25} if i % 2 else {"misstained": 0.25}
        shift = {"strain": 0.04, "soft_shift_um": 2 * voxel_um, "mirrored": bool(i % 3 == 0), "turn_deg": _turn(seed)}
        values["laboratory"] = part | shift
        values["tomography"] = {"noise": 0.06}
        cases.append(Case(f"h{seed}", "hard", values, 1.06 if i // 2 % 2 else 1 / 1.06))
    return cases


def _values(seed: int, material: str, weeks: int, side: int, voxel_um: float) -> dict[str, Any]:
    return {
        "seed": seed,
        "material": material,
        "weeks": weeks,
        "shape": (side,) * 3,
        "voxel_um": voxel_um,
        "pixel_um": voxel_um / 2,
    }


def _turn(seed: int) -> float:
    return float(np.random.default_rng([seed, 99]).uniform(0, 360))


def grow(case: Case, folder: Path) -> Path:
    """Write a specimen: ``volume/``, ``<stain>.ome.tif`` and ``<stain>.yaml`` (the truth); skip it if it exists."""
    out = folder / case.name
    if out.is_dir():
        return out
    with atomic_folder(out, False) as temporary:
        config = PhantomConfig.from_dict(case.values)
        volume, _ = tomograph(grow_anatomy(config))
        write_stack(temporary / "volume", volume, voxel_um=(config.voxel_um,) * 3)
        for stain in STAINS:
            stained = PhantomConfig.from_dict(case.values | {"stain": stain})
            anatomy = grow_anatomy(stained)
            section, shape = section_through_screw(stained, anatomy.pose)
            slide = make_slide(anatomy, section, shape)
            name = stain.replace("&", "")
            write_slide(temporary / f"{name}.ome.tif", slide.rgb, config.pixel_um * case.pixel_factor)
            truth = slide.section.to_dict() | {"pixel_um": config.pixel_um}
            (temporary / f"{name}.yaml").write_text(yaml.safe_dump(truth, sort_keys=False), encoding="utf-8")
    return out


def main() -> None:
    """Grow the specimens of one set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--set", choices=("standard", "hard"), default="standard")
    parser.add_argument("--first-seed", type=int, default=2000)
    parser.add_argument("--number", type=int, default=20, help="Specimens of the hard set.")
    parser.add_argument("--side", type=int, default=224, help="Voxels along each side.")
    parser.add_argument("--voxel-um", type=float, default=20.0)
    parser.add_argument("--every", type=int, default=1, help="Take every n-th specimen only.")
    parser.add_argument("--only", nargs="+", help="Names of the specimens to grow, such as s4007.")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    if options.set == "standard":
        cases = standard_cases(options.first_seed, options.side, options.voxel_um)
    else:
        cases = hard_cases(options.first_seed, options.number, options.side, options.voxel_um)
    cases = [case for case in cases[:: options.every] if not options.only or case.name in options.only]
    options.out.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(options.jobs) as pool:
        for path in pool.map(grow, cases, [options.out] * len(cases)):
            print(path, flush=True)


if __name__ == "__main__":
    main()
