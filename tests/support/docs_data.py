"""The data of the pages: a study of small phantoms with everything that tomostain makes of it, made once."""

import os
import shutil
from pathlib import Path

import tifffile
from filelock import FileLock
from PIL import Image

import tomostain as ts
from tests.support.facilities import hereon
from tests.support.training import toy_recipe
from tomostain.cli.main import run
from tomostain.io import open_slide, open_volume
from tomostain.phantom import write_specimen

COARSE = {"shape": (20, 80, 80), "voxel_um": 50.0, "pixel_um": 25.0, "orientation": "lying"}
FINE = {"shape": (20, 160, 160), "voxel_um": 20.0, "pixel_um": 10.0, "orientation": "lying", "material": "Ti"}
"""The built-in models and classifiers are for voxels of 20 µm."""

SMALL_SEARCH = {
    "candidates": 50, "side": 16, "step_deg": 30.0, "max_voxels": 64, "restarts": 2, "thorough": False,
    "threshold": 0.0,
}  # fmt: skip
"""A registration of a few seconds, which accepts what it finds."""


EXACT = {"terms": {"l1": 1}, "generator": {"name": "unet", "width": 2, "downs": 2, "norm": "channel"}}
"""A recipe of tiny networks whose models are stained in exact tiles."""


def laboratory(shared: Path) -> Path:
    """Return the folder of the study. It is made once, also with several test processes."""
    folder = shared / "documentation-laboratory"
    with FileLock(str(folder) + ".lock"):
        if not (folder / "complete").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            _make(folder)
            (folder / "complete").touch()
    return folder


def _make(folder: Path) -> None:
    before = Path.cwd()
    os.chdir(folder)
    try:
        materials = {"a": "Mg-10Gd", "b": "Ti", "d": "Mg-5Gd"}
        configs = {n: ts.PhantomConfig(material=m, seed=s, **COARSE) for s, (n, m) in enumerate(materials.items())}
        ts.phantom.write_study("specimens", configs)
        write_specimen(ts.PhantomConfig(seed=1, **FINE), "specimen")
        _call("prepare", "specimens/specimens.csv", "dataset", "--test-subjects", "d")
        row = "{0},specimen/volume,specimen/slide.ome.tif,specimen/truth/section.yaml,{0}"
        rows = ["specimen,volume,slide,section,subject", *(row.format(name) for name in ("rat5", "rat6", "rat7"))]
        Path("fine.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        _call("prepare", "fine.csv", "fine-dataset")
        tomostain, paper = toy_recipe(**EXACT), toy_recipe()
        for name, seed, recipe in (("run", 0, tomostain), ("run-b", 1, tomostain), ("run-paper", 0, paper)):
            ts.train_model("dataset", name, recipe=recipe, max_steps=1, seed=seed, device="cpu")
        _call("stain", "run/model", "specimens/a/volume", "stained.ome.zarr")
        _call("stain", "builtin:phantom-tb", "specimen/volume", "fine.ome.zarr")
        _call("measure", "fine.ome.zarr", "measures", "--ct", "specimen/volume")
    finally:
        os.chdir(before)


def _call(*words: object) -> None:
    assert run(["-q", *map(str, words)]) == 0, words


def coarse_study(lab: Path, page: Path) -> None:
    """Write everything under the names of the pages, at voxels of 50 µm."""
    _copy(lab, page, "specimens/a/volume", "reco")
    _copy(lab, page, "specimens/a/slide.ome.tif", "slide.ome.tif")
    for name in ("specimens", "dataset", "run", "run-paper", "stained.ome.zarr"):
        _copy(lab, page, name, name)
    _copy(lab, page, "dataset/pairs/a", "pair")
    _copy(lab, page, "run", "fold-0")
    _copy(lab, page, "run-b", "fold-1")
    lines = (lab / "specimens/specimens.csv").read_text(encoding="utf-8").splitlines()
    table = [lines[0], *(_from_above(line) for line in lines[1:])]
    (page / "specimens.csv").write_text("\n".join(table) + "\n", encoding="utf-8")


def _from_above(line: str) -> str:
    name, *rest = line.split(",")
    return ",".join([name, *(f"specimens/{path}" for path in rest[:3]), *rest[3:]])


def fine_specimen(lab: Path, page: Path) -> None:
    """Write a specimen at the voxel size of the built-in models, with a pair, stained and measured."""
    for source, target in (
        ("specimen", "specimen"),
        ("specimen/volume", "reco"),
        ("specimen/slide.ome.tif", "slide.ome.tif"),
        ("fine.ome.zarr", "stained.ome.zarr"),
        ("measures", "measures"),
        ("fine-dataset", "dataset"),
        ("fine-dataset/pairs/rat5", "pair"),
        ("run", "run"),
    ):
        _copy(lab, page, source, target)
    shutil.rmtree(page / "run" / "model")
    _call("models", "copy", "phantom-tb", page / "run" / "model")


def measured_study(lab: Path, page: Path) -> None:
    """Write the fine specimen before it is measured, and the measures of a study of four animals."""
    fine_specimen(lab, page)
    # The folders that table.csv of the page names.
    for name in ("rat1-left", "rat1-right", "rat2-left", "rat3-left", "rat4-left"):
        _copy(lab, page, "measures", f"study/{name}")
    shutil.rmtree(page / "measures")


def facility_folders(lab: Path, page: Path) -> None:
    """Write the coarse study as the pages about input files name it: P05, a slide of a scanner, images."""
    coarse_study(lab, page)
    volume = open_volume(lab / "specimens/a/volume")
    values = volume.read(0, volume.shape[0])
    scan = hereon(page, values, 50.0)
    (page / "A12").mkdir()
    shutil.copytree(page / "reco", page / "A12" / "reco")
    shutil.copytree(scan.parent, page / "scan" / "reco")
    image, _ = open_slide(lab / "specimens/a/slide.ome.tif").read()
    aperio = f"Aperio Image Library\n0x0 [0,0 {image.shape[1]}x{image.shape[0]}] (128x128)|AppMag = 20|MPP = 25.0"
    tifffile.imwrite(page / "slide.svs", image, tile=(128, 128), description=aperio, metadata=None, photometric="rgb")
    shutil.copy(page / "slide.svs", page / "A12" / "slide.svs")
    for kind in ("ct", "histology"):
        (page / kind).mkdir()
        for pair in sorted((lab / "dataset" / "pairs").iterdir()):
            shutil.copy(pair / f"{kind}.tif", page / kind / f"{pair.name}.tif")
    tifffile.imwrite(page / "ct.tif", tifffile.imread(lab / "dataset/pairs/a/ct.tif"))
    Image.fromarray(tifffile.imread(lab / "dataset/pairs/a/histology.tif")).save(page / "slide.png")
    shutil.copytree(page / "reco", page / "reco_10um")


def two_files(lab: Path, page: Path) -> None:
    """Write a volume and a slide, and nothing else."""
    _copy(lab, page, "specimens/a/volume", "reco")
    _copy(lab, page, "specimens/a/slide.ome.tif", "slide.ome.tif")


def nothing(lab: Path, page: Path) -> None:
    """Write nothing: the page begins with an empty folder."""


def _copy(lab: Path, page: Path, source: str, target: str) -> None:
    path = lab / source
    (page / target).parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, page / target, dirs_exist_ok=True)
    else:
        shutil.copy(path, page / target)
