"""Tiny inputs under the names that the examples of `--help` use, made once."""

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import SimpleITK as sitk
import tifffile
import yaml
from filelock import FileLock
from PIL import Image

import tomostain as ts
from tests.support.docs_data import EXACT, FINE
from tests.support.training import toy_pair, toy_recipe
from tomostain.cli.main import run
from tomostain.dataset.pair import Pair, load_pair
from tomostain.dataset.writer import save_dataset
from tomostain.geometry.section import Section
from tomostain.integers import to_integers
from tomostain.io import create_stained, open_slide, open_volume, write_stack
from tomostain.measure.classes import IMPLANT
from tomostain.measure.label_files import open_labels, write_labels
from tomostain.measure.label_source import LabelArray
from tomostain.phantom import write_specimen

PHANTOM = FINE | {"shape": [20, 128, 128]}
"""A specimen with voxels of 20 µm, for which the built-in models were trained."""

SMALL_PHANTOM = {"shape": [16, 48, 48], "voxel_um": 50.0, "pixel_um": 50.0, "orientation": "lying"}

SUBJECTS = ("rat1", "rat2", "rat3", "rat4", "rat5")
VOXEL_UM = 20.0

REFERRED = {"specimens.csv": "specimen", "table.csv": "study"}
"""Inputs that tables name."""


def help_inputs(shared: Path) -> Path:
    """Return the folder of the inputs. They are made once, also with several test processes."""
    folder = shared / "inputs-of-help-examples"
    with FileLock(str(folder) + ".lock"):
        if not (folder / "complete").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with contextlib.chdir(folder):
                _make_all()
            (folder / "complete").touch()
    return folder


def copy_inputs(inputs: Path, folder: Path, words: Sequence[str]) -> None:
    """Copy the inputs that a command names, and what they refer to, to the folder in which it runs."""
    names = {Path(word).parts[0] for word in words if word}
    for name in names | {REFERRED[name] for name in names & REFERRED.keys()}:
        if (folder / name).exists():
            continue
        if (inputs / name).is_dir():
            shutil.copytree(inputs / name, folder / name)
        elif (inputs / name).is_file():
            shutil.copy(inputs / name, folder)


def _make_all() -> None:
    write_specimen(ts.PhantomConfig(seed=1, **PHANTOM), "specimen")
    _write_scans()
    _write_tables()
    _call("prepare", "specimens.csv", "dataset", "--test-subjects", "rat5")
    shutil.copytree("dataset/pairs/rat1", "pair")
    shutil.copy("specimen/truth/section.yaml", "pair/candidate-2.yaml")
    pair = load_pair("pair")
    _write_slides(pair)
    _write_aligned_images(pair)
    _train()
    _write_stained()
    _write_measures()


def _write_scans() -> None:
    for name in ("scan", "reco_folder", "reco_a", "reco_b"):
        shutil.copytree("specimen/volume", name)
    volume = open_volume("reco_folder")
    values = volume.read(0, volume.shape[0])
    write_stack("reco_of_10_um", values[:, :64, :64], voxel_um=10.0)
    with h5py.File("scan.h5", "w") as file:
        file["entry/data"] = values
    Image.fromarray(values[5]).save("slice.png")


def _write_slides(pair: Pair) -> None:
    image, _ = open_slide("specimen/slide.ome.tif").read()
    about = f"Aperio Image Library\n0x0 [0,0 {image.shape[1]}x{image.shape[0]}] (128x128)|AppMag = 20|MPP = 10.0"
    tifffile.imwrite("slide.svs", image, tile=(128, 128), description=about, metadata=None, photometric="rgb")
    tifffile.imwrite("ct.tif", pair.ct)
    Image.fromarray(pair.histology).save("slide.png")


def _write_tables() -> None:
    row = "specimen/volume,specimen/slide.ome.tif,specimen/truth/section.yaml"
    rows = [f"{name},{row},{name}" for name in SUBJECTS]
    _write("specimens.csv", "specimen,volume,slide,section,subject", *rows)
    truth = Section.from_dict(yaml.safe_load(Path("specimen/truth/section.yaml").read_text(encoding="utf-8")))
    slide_um = np.array([[500.0, 600.0], [2000.0, 700.0], [900.0, 1900.0], [1500.0, 1400.0]])
    points = np.hstack([slide_um, truth.to_volume_um(truth.slide_to_section_um(slide_um))])
    lines = [",".join(f"{number:.3f}" for number in point) for point in points]
    for name in ("points.csv", "three-or-more.csv"):  # landmarks for `register`, points of a plane for `section`
        _write(name, "slide_row_um,slide_column_um,z_um,y_um,x_um", *lines)
    _write("my-phantom.yaml", yaml.safe_dump(SMALL_PHANTOM))
    _write("my-recipe.yaml", yaml.safe_dump(toy_recipe(**EXACT).model_dump(mode="json")))


def _write_aligned_images(pair: Pair) -> None:
    # With --normalise range, the highest value of the type is bone.
    mri = to_integers(np.interp(pair.ct, (pair.ct.min(), pair.ct.max()), (0, 255)), np.uint8, "the image")
    for folder, picture in (("mri", mri), ("pet", pair.histology)):
        Path(folder).mkdir()
        for number in (1, 2, 3, 4):
            tifffile.imwrite(f"{folder}/s{number % 2}_{number:03d}.tif", picture)
    for name, picture in (("ct.mha", pair.ct), ("histology.mha", pair.histology)):
        sitk.WriteImage(sitk.GetImageFromArray(picture, isVector=picture.ndim == 3), name)


def _train() -> None:
    recipe = toy_recipe(**EXACT)
    for seed, name in enumerate(("run", "run-a", "run-b")):
        ts.train_model("dataset", name, recipe=recipe, max_steps=1, seed=seed, device="cpu")
    for copy, name in (("run-paired", "run"), ("run-pix2pix", "run-a"), ("run-cyclegan", "run-b")):
        shutil.copytree(name, copy)
    for copy, name in (("fold0", "run-a"), ("fold1", "run-b")):
        shutil.copytree(f"{name}/model", copy)
    noisy = toy_recipe(**EXACT, noise={"channels": 1, "correlation_px": 3})
    ts.train_model("dataset", "noisy/run", recipe=noisy, max_steps=1, device="cpu")
    # Lacunae are seen in pixels of 3 µm or less.
    small = [replace(toy_pair(name, seed), voxel_um=2.5, subject=name) for seed, name in enumerate(SUBJECTS)]
    save_dataset("small-pixels/dataset", small, test=["rat5"])
    ts.train_model("small-pixels/dataset", "small-pixels/run", recipe=recipe, max_steps=1, device="cpu")


def _write_stained() -> None:
    _call("stain", "builtin:phantom-tb", "reco_folder", "stained.ome.zarr")
    _call("stain", "fold0", "reco_folder", "stained-fold1.ome.zarr", "--uncertainty", "uncertainty.ome.zarr",
          "--ensemble", "fold1")  # fmt: skip
    Path("levels").mkdir()
    shape = (4, 8, 600)  # three levels
    writer = create_stained("levels/stained.ome.zarr", shape, VOXEL_UM, z_chunk=4, provenance={"model": "toy"})
    colours = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for start, stop in writer.pending():
        writer.write(start, colours[start:stop])
    writer.finish()


def _write_measures() -> None:
    _call("measure", "stained.ome.zarr", "measures", "--ct", "reco_folder")
    source = open_labels("measures/labels.ome.zarr")
    labels = source.read(0, source.shape[0])
    picture = sitk.GetImageFromArray(labels)
    picture.SetSpacing((VOXEL_UM / 1000,) * 3)
    sitk.WriteImage(picture, "corrected.nrrd")
    tifffile.imwrite("corrected.tif", labels)
    new = np.where(np.isin(labels, [int(each) for each in IMPLANT]), labels, 0).astype(np.uint8)
    write_labels("screw.ome.zarr", LabelArray(new, VOXEL_UM))
    rows = ["rat1-left,rat1,Mg-10Gd,8", "rat1-right,rat1,Mg-10Gd,8", "rat2-left,rat2,Ti,8", "rat4-left,rat4,Ti,8"]
    for row in rows:
        shutil.copytree("measures", f"study/{row.partition(',')[0]}")
    table = [f"{row},study/{row.partition(',')[0]}" for row in rows]
    _write("table.csv", "specimen,subject,implant,weeks,measures", *table)


def _write(name: str, *lines: str) -> None:
    Path(name).write_text("\n".join([*lines, ""]), encoding="utf-8")


def _call(*words: str) -> None:
    assert run(["-q", *words]) == 0, words
