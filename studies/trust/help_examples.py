"""Execute the examples of every `--help` at toy size: `python -m studies.trust.help_examples OUT [--verb stain …]`.

Each example runs in a fork of this process, in a copy of a folder with small data under the names of the examples.
`tests/docs/test_docs_pages.py` states how a command is made smaller: fewer steps, a smaller search, a CPU. `SIZES`
replaces sizes that do not fit the data, and `NOT_RUN` states why an example is left out. `OUT/examples.csv` grows with
each example; a second call runs only those that are not in it.
"""

import argparse
import csv
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np

from studies.trust.forked import Limits, run_function, warm_up

NOT_RUN = {
    "demo": "tests/test_demo.py runs it",
    "--device cuda": "needs a GPU",
    "--scheduler": "needs a Dask cluster; tests/stain runs one",
    "--browser": "serves until Ctrl-C",
    "--lpips-weights": "needs a file that is downloaded",
    "view stained.ome.zarr": "opens a window or serves",
    "--landmarks": "tests/register runs a search with landmarks",
    "--initial": "needs a second scan; tests/measure runs it",
    "mp4": "takes minutes; tests/view runs a short film",
    "gif": "takes minutes; tests/view runs a short film",
    "--pair": "needs a pair of the same volume; tests/view runs it",
    "--section": "needs a pair of the same volume; tests/measure runs it",
    "measure stained.ome.zarr measures --ensemble": "needs an uncertainty volume; tests/measure runs it",
    "--init pair/candidate-2.yaml": "needs a search that is not sure; docs/how-to/hard-specimen.md is executed",
}
SIZES = {
    "scan.h5 --dataset /entry/data --voxel-um 5": "scan.h5 --dataset /entry/data --voxel-um 20",
    "stained.ome.zarr --dataset /entry/data --voxel-um 5": "stained.ome.zarr --dataset /entry/data --voxel-um 20",
    "stained.png --voxel-um 5": "stained.png --voxel-um 20",
    "pair --voxel-um 5": "pair --voxel-um 20",
    "--voxel-um 10 --pixel-um 2.5": "--voxel-um 20 --pixel-um 20",
    "--through 800,900,900": "--through 200,900,900",
    "--planes 5": "--planes 2",
}


def make_world(laboratory: Path, world: Path) -> None:
    """Write the data of the examples under their names."""
    import h5py
    import SimpleITK as sitk
    import tifffile
    import yaml
    from PIL import Image

    from tests.docs.test_docs_pages import _small_phantom
    from tests.support.docs_data import EXACT, measured_study
    from tests.support.training import toy_recipe
    from tomostain.dataset.pair import load_pair
    from tomostain.io import open_slide, open_stained, open_volume, write_stack

    shutil.rmtree(world, ignore_errors=True)
    world.mkdir(parents=True)
    measured_study(laboratory, world)
    shutil.copytree(world / "study/rat1-left", world / "measures")
    for name in ("scan", "reco_folder", "reco_a", "reco_b"):
        shutil.copytree(world / "reco", world / name)
    for name in ("fold0", "fold1"):
        shutil.copytree(world / "run/model", world / name)
    for name in ("run-paired", "run-pix2pix", "run-cyclegan", "run-a", "run-b"):
        shutil.copytree(world / "run", world / name)
    shutil.copytree(world / "stained.ome.zarr", world / "stained-fold1.ome.zarr")
    volume = open_volume(world / "reco")
    values = volume.read(0, volume.shape[0])
    write_stack(world / "reco_of_10_um", values, voxel_um=10.0)
    with h5py.File(world / "scan.h5", "w") as file:
        file["entry/data"] = values
    Image.fromarray(values[5]).save(world / "slice.png")
    image, _ = open_slide(world / "slide.ome.tif").read()
    Image.fromarray(image).save(world / "slide.png")
    about = f"Aperio Image Library\n0x0 [0,0 {image.shape[1]}x{image.shape[0]}] (128x128)|AppMag = 20|MPP = 10.0"
    tifffile.imwrite(world / "slide.svs", image, tile=(128, 128), description=about, metadata=None, photometric="rgb")
    pair = load_pair(world / "pair")
    for folder, picture in (("mri", pair.ct), ("pet", pair.histology)):
        (world / folder).mkdir()
        for number in (1, 2, 3, 4):
            tifffile.imwrite(world / folder / f"s{number % 2}_{number:03d}.tif", picture)
    tifffile.imwrite(world / "ct.tif", pair.ct)
    Image.fromarray(pair.histology).save(world / "slide-of-pair.png")
    for name, array in (("ct.mha", np.stack([pair.ct] * 8)), ("histology.mha", np.stack([pair.histology] * 8))):
        sitk.WriteImage(sitk.GetImageFromArray(array, isVector=array.ndim == 4), str(world / name))
    labels = np.zeros(open_stained(world / "stained.ome.zarr").shape, np.uint8)
    labels[:, ::2] = 2
    picture = sitk.GetImageFromArray(labels)
    picture.SetSpacing((0.02,) * 3)
    sitk.WriteImage(picture, str(world / "corrected.nrrd"))
    tifffile.imwrite(world / "corrected.tif", labels)
    rows = ["rat1-left,rat1,Mg-10Gd,8", "rat1-right,rat1,Mg-10Gd,8", "rat2-left,rat2,Ti,8", "rat4-left,rat4,Ti,8"]
    table = [f"{row},study/{row.partition(',')[0]}" for row in rows]
    (world / "table.csv").write_text("\n".join(["specimen,subject,implant,weeks,measures", *table, ""]))
    (world / "my-phantom.yaml").write_text(yaml.safe_dump(_small_phantom([])))
    (world / "my-recipe.yaml").write_text(yaml.safe_dump(toy_recipe(**EXACT).model_dump(mode="json")))
    points = "z,y,x\n100,400,400\n100,400,2000\n250,2000,400\n200,2000,2000\n150,1200,1300\n"
    for name in ("points.csv", "three-or-more.csv"):
        (world / name).write_text(points)
    (world / "specimens.csv").write_text(
        "specimen,volume,slide,section\n"
        + "".join(f"s{n},specimen/volume,specimen/slide.ome.tif,specimen/truth/section.yaml\n" for n in range(3))
    )


def reason_of(line: str) -> str | None:
    """Return why an example is not run."""
    return next((reason for text, reason in NOT_RUN.items() if text in line), None)


def run_example(line: str, world: Path, place: Path) -> tuple[int, float, str, str]:
    """Run one example in a copy of the data; return exit code, processor time, the command as run, its last line."""
    folder = place / "work"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(world, folder)
    said = place / "as-run.txt"

    def command() -> int:
        from tests.docs.test_docs_pages import remove_outputs, smaller
        from tomostain.cli.main import run

        small = line
        for text, other in SIZES.items():
            small = small.replace(text, other)
        words = smaller(shlex.split(small), Path("help.md"), folder)
        if not (words[0] == "measure" and "measures --ct" in line):  # it continues the earlier measurement
            remove_outputs(words)
        said.write_text(" ".join(words))
        return run(["-q", *words])

    said.write_text("")
    outcome = run_function(command, folder, limits=Limits(seconds=300, memory_bytes=1 << 34, address_bytes=1 << 35))
    return outcome.code, outcome.seconds, said.read_text(), (outcome.lines or [""])[-1][:200]


def main() -> None:
    """Run the examples and write the table."""
    from tests.support.docs_data import laboratory
    from tests.test_every_command import commands

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--verb", nargs="*", help="only the examples of these verbs")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    warm_up()
    world = out / "world"
    if not (world / "table.csv").is_file():
        out.mkdir(parents=True, exist_ok=True)
        lab = out / "laboratory"
        make_world(lab if (lab / "complete").is_file() else laboratory(out), world)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    table = out / "examples.csv"
    rows = list(csv.reader(table.open(newline=""))) if table.is_file() else []
    done = {row[1] for row in rows}
    for where, words in commands():
        line = shlex.join(words)
        verb = where.split()[0]
        if not where.endswith(" --help") or line in done or verb not in (arguments.verb or [verb]):
            continue
        done.add(line)
        if (reason := reason_of(line)) is not None:
            row = [verb, line, "not run", "", "", reason, commit.stdout.strip()]
        else:
            code, seconds, as_run, message = run_example(line, world, out)
            row = [verb, line, str(code), f"{seconds:.1f}", as_run, message, commit.stdout.strip()]
        rows.append(row)
        with table.open("a", newline="") as file:
            csv.writer(file).writerow(row)
        print(" | ".join(row), flush=True)
    ran = [row for row in rows if row[2] != "not run"]
    print(f"{len(ran)} examples run, {sum(row[2] == '0' for row in ran)} ended with 0; {len(rows) - len(ran)} not run")


if __name__ == "__main__":
    main()
