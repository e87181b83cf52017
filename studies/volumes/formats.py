"""One real volume in every input format that the program reads, each stained, and whether all come out the same.

    python -m studies.volumes.formats SLICES OUT --voxel-um 19.5 [--model FOLDER] [--keep]

SLICES is a folder of grey TIFF slices. It is written as each facility and program writes it (`tests.support.formats`),
stained by one model, and the checksums of all shards are compared with those of the original slices: the grey levels
are estimated on each again, so reading, estimating and staining must all give the same result. Prints a table; ends
with 1 if a format differs.
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


class Found(NamedTuple):
    """Result of one format."""

    name: str
    dtype: str
    voxel_from: str
    voxel_um: tuple[float, float, float]
    sums: dict[str, str]
    same: bool


def compare(model: Path, slices: Path, out: Path, voxel_um: float, keep: bool = False) -> list[Found]:
    """Stain the original slices and every format. The first result is that of the original slices."""
    out.mkdir(parents=True, exist_ok=True)
    opened, wanted = stained(model, slices, out / "as-it-came.ome.zarr", voxel_um)
    found = [Found("as it came", opened.dtype.name, opened.voxel_from, opened.voxel_um, wanted, bool(wanted))]
    values = read_slices(slices)
    for number, (name, form) in enumerate(FORMATS.items()):
        folder = out / f"format-{number:02d}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        laid = values if form.dtype is None else (values * form.unit).astype(form.dtype)
        size = {"voxel_um": voxel_um} if form.says_size else {}
        path = form.write(folder, laid, **size)
        opened, sums = stained(model, path, folder / "stained.ome.zarr", None if form.says_size else voxel_um)
        sized = bool(np.allclose(opened.voxel_um, voxel_um, rtol=1e-5))
        found.append(Found(name, opened.dtype.name, opened.voxel_from, opened.voxel_um, sums, sums == wanted and sized))
        print(line(found[-1]), flush=True)
        if not keep:
            shutil.rmtree(folder)
    return found


def line(found: Found) -> str:
    """Return a line of the table."""
    voxel = "{:g} × {:g} × {:g}".format(*found.voxel_um)
    cells = (found.name, found.dtype, voxel, found.voxel_from, "same" if found.same else "**differs**")
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
    found = compare(model, options.slices, options.out, options.voxel_um, options.keep)
    volume = open_stained(options.out / "as-it-came.ome.zarr")
    middle = volume.read(volume.shape[0] // 2, volume.shape[0] // 2 + 1)
    spread = ", ".join(f"{value:.0f}" for value in middle.std(axis=(0, 1, 2)))
    print(f"\n{len(found[0].sums)} shards, all levels; the colours of the middle slice spread by {spread}")
    most, part = in_another_scale(model, options.slices, options.out, options.voxel_um)
    print(f"as attenuation in a scale that rounds: {most} grey level(s) off at most, in {part:.1e} of the values")
    odd = [one.name for one in found if not one.same]
    sys.exit(f"differ: {', '.join(odd)}" if odd else 0)


if __name__ == "__main__":
    main()
