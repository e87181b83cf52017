"""One real volume in all supported input formats, each stained. The results must be the same.

    python -m studies.volumes.formats SLICES OUT --voxel-um 19.5 [--model FOLDER] [--keep]

SLICES is a folder of grey TIFF slices. The volume is written in the formats of facilities and programs
(`tests.support.formats`) and stained by one model. The checksums of all shards are compared with those of the original
slices. The intensity reference is estimated for each format. Prints a table. The exit code is 1 if a format differs.
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from studies.volumes.common import where_and_when
from tests.support.formats import FORMATS, GAIN, in_another_scale, read_slices, stained
from tests.support.models import random_model
from tomostain.io import open_stained


class Result(NamedTuple):
    """Result of one format."""

    name: str
    dtype: str
    voxel_from: str
    voxel_um: tuple[float, float, float]
    sums: dict[str, str]
    same: bool


def compare(model: Path, slices: Path, out: Path, voxel_um: float, keep: bool = False) -> list[Result]:
    """Stain the original slices and every format. The first result is that of the original slices."""
    out.mkdir(parents=True, exist_ok=True)
    opened, expected = stained(model, slices, out / "as-it-came.ome.zarr", voxel_um)
    results = [Result("original", opened.dtype.name, opened.voxel_from, opened.voxel_um, expected, bool(expected))]
    values = read_slices(slices)
    for number, (name, form) in enumerate(FORMATS.items()):
        folder = out / f"format-{number:02d}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        scaled = values if form.dtype is None else (values * form.unit).astype(form.dtype)
        size = {"voxel_um": voxel_um} if form.says_size else {}
        path = form.write(folder, scaled, **size)
        opened, sums = stained(model, path, folder / "stained.ome.zarr", None if form.says_size else voxel_um)
        has_right_size = bool(np.allclose(opened.voxel_um, voxel_um, rtol=1e-5))
        results.append(
            Result(
                name, opened.dtype.name, opened.voxel_from, opened.voxel_um, sums, sums == expected and has_right_size
            )
        )
        print(line(results[-1]), flush=True)
        if not keep:
            shutil.rmtree(folder)
    return results


def line(result: Result) -> str:
    """Return a line of the table."""
    voxel = "{:g} × {:g} × {:g}".format(*result.voxel_um)
    cells = (result.name, result.dtype, voxel, result.voxel_from, "same" if result.same else "**differs**")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slices", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--voxel-um", type=float, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    model = options.model or options.out / "model"
    if not model.exists():
        random_model(model, norm="channel", width=4, gain=GAIN)
    print(where_and_when(), "\n| format | read as | voxel / µm | size from | stain |", "|---" * 5 + "|", sep="\n")
    results = compare(model, options.slices, options.out, options.voxel_um, options.keep)
    volume = open_stained(options.out / "as-it-came.ome.zarr")
    middle = volume.read(volume.shape[0] // 2, volume.shape[0] // 2 + 1)
    spread = ", ".join(f"{value:.0f}" for value in middle.std(axis=(0, 1, 2)))
    print(f"\n{len(results[0].sums)} shards, all levels; the standard deviation of the middle slice: {spread}")
    largest, share = in_another_scale(model, options.slices, options.out, options.voxel_um)
    print(f"as attenuation with rounding: at most {largest} grey level(s) different, in {share:.1e} of the values")
    different = [result.name for result in results if not result.same]
    sys.exit(f"different: {', '.join(different)}" if different else 0)


if __name__ == "__main__":
    main()
