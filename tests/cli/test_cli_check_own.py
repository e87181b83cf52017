"""The verb `check` recognises everything that the software writes, reads it to the end, and finds what is missing."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import yaml

from tests.support.toys import grey_values, toy_model
from tomostain.cli.main import run
from tomostain.dataset.pair import Pair, save_pair
from tomostain.inspection import check_path
from tomostain.io import write_image, write_slide, write_stack

GREYS = ("--background", "100", "--bone", "900")


def tomostain(*arguments: object) -> int:
    return run(["--quiet", *map(str, arguments)])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small results of most verbs."""
    top = tmp_path_factory.mktemp("made")
    toy_model(top / "model")
    write_stack(top / "scan", grey_values((4, 40, 41)), voxel_um=5.0)
    for name in ("stained.ome.zarr", "stained_5.3um"):
        assert tomostain("stain", top / "model", top / "scan", top / name, *GREYS) == 0
    for name, to in (("slices", "rgb-tiff"), ("rgba", "rgba-tiff"), ("older.ome.zarr", "ome-zarr-0.4")):
        assert tomostain("export", top / "stained.ome.zarr", top / name, "--to", to) == 0
    assert tomostain("export", top / "stained.ome.zarr", top / "sections", "--to", "qupath", "--planes", 2) == 0
    rng = np.random.default_rng(0)
    histology = rng.integers(0, 255, (40, 41, 3), dtype=np.uint8)
    save_pair(Pair("p", grey_values((40, 41)) * 30, histology, np.ones((40, 41), bool), 5.0), top / "pair")
    shutil.copytree(top / "pair", top / "d-registration" / "p")
    (top / "d-registration" / "scores.csv").write_text("specimen\np\n")
    (top / "evaluation").mkdir()
    (top / "evaluation" / "evaluate.yaml").write_text("lpips: alex\n")
    (top / "evaluation" / "table.csv").write_text("model,ssim\nm,0.5\n")
    write_image(top / "evaluation" / "pictures" / "p.png", histology)
    (top / "specimen" / "truth").mkdir(parents=True)
    (top / "specimen" / "specimen.yaml").write_text("seed: 0\n")
    (top / "specimen" / "truth" / "section.yaml").write_text("x: 0\n")
    write_stack(top / "specimen" / "volume", grey_values((4, 12, 10)), voxel_um=5.0)
    write_slide(top / "specimen" / "slide.ome.tif", histology, 0.5)
    (top / "demo").mkdir()
    (top / "demo" / "demo.yaml").write_text("size: 1\n")
    shutil.copytree(top / "stained.ome.zarr", top / "demo" / "stained.ome.zarr")
    shutil.copytree(top / "specimen", top / "demo" / "specimen-1")
    (top / "run").mkdir()
    (top / "run" / "run.yaml").write_text("seed: 0\n")
    (top / "candidates").mkdir()
    (top / "candidates" / "candidate-1.yaml").write_text("x: 0\n")
    write_image(top / "candidates" / "candidate-1.png", histology)
    return top


KINDS = {
    "model": "model",
    "scan": "volume",
    "stained.ome.zarr": "stained volume",
    "stained_5.3um": "stained volume",
    "older.ome.zarr": "stained volume",
    "slices": "export",
    "rgba": "export",
    "sections": "export",
    "pair": "pair",
    "d-registration": "registrations",
    "evaluation": "evaluation",
    "specimen": "phantom specimen",
    "demo": "demo",
    "run": "run",
    "candidates": "registration candidates",
}


@pytest.mark.parametrize("name", list(KINDS))
def test_every_result_is_recognised(made: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tomostain("check", made / name) == 0
    assert capsys.readouterr().out.startswith(f"{made / name}: {KINDS[name]}")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = {
    "slices/slice_0002.tif": Path.unlink,
    "rgba/slice_0002.tif": _cut,
    "sections/sections.yaml": lambda path: _cut(min(path.parent.glob("*.virtual.ome.tif"))),
    "pair/histology.tif": _cut,
    "d-registration/p/ct.tif": Path.unlink,
    "evaluation/pictures/p.png": _cut,
    "specimen/slide.ome.tif": _cut,
    "specimen/truth/section.yaml": Path.unlink,
    "demo/stained.ome.zarr/0/c/0/0/0/0": Path.unlink,
    "older.ome.zarr/0/0/0/0/0": Path.unlink,
    "candidates/candidate-1.png": _cut,
}


@pytest.mark.parametrize("name", list(DAMAGE))
def test_damage_of_a_result_is_found(made: Path, tmp_path: Path, fails, name: str) -> None:
    top = name.partition("/")[0]
    shutil.copytree(made / top, tmp_path / top)
    DAMAGE[name](tmp_path / name)
    assert str(tmp_path) in fails("-q", "check", tmp_path / top)


def test_an_uncertainty_volume_is_named_so(made: Path, tmp_path: Path) -> None:
    toy_model(tmp_path / "other", seed=1)
    options = ("--uncertainty", tmp_path / "u.ome.zarr", "--ensemble", tmp_path / "other", *GREYS)
    assert tomostain("stain", made / "model", made / "scan", tmp_path / "s.ome.zarr", *options) == 0
    assert check_path(tmp_path / "u.ome.zarr").kind == "uncertainty volume"
    assert check_path(tmp_path / "s.ome.zarr").kind == "stained volume"


@pytest.mark.parametrize("to", ["nrrd", "vti", "gif"])
def test_exports_in_one_file(made: Path, tmp_path: Path, fails, to: str) -> None:
    pytest.importorskip({"nrrd": "SimpleITK", "vti": "vtkmodules", "gif": "PIL"}[to])
    path = tmp_path / f"x.{to}"
    if to == "gif":
        from tomostain.view.render.flight import write_gif

        write_gif(path, iter([np.full((32, 32, 3), grey, np.uint8) for grey in (0, 100, 255)]))
    else:
        assert tomostain("export", made / "stained.ome.zarr", path, "--to", to) == 0
    assert check_path(path).kind == ("film" if to == "gif" else "export")
    _cut(path)
    assert path.name in fails("-q", "check", path)


def test_a_slice_that_is_damaged_anywhere_is_found(tmp_path: Path, fails) -> None:
    values = np.ones((40, 8, 9), np.float32)
    values[37, 2, 3] = np.inf
    write_stack(tmp_path / "scan", values, voxel_um=5.0)
    assert "slice 37" in fails("-q", "check", tmp_path / "scan")


def test_colours_of_float_are_not_a_slide(tmp_path: Path, fails) -> None:
    colours = np.random.default_rng(0).random((64, 64, 3), np.float32)
    tifffile.imwrite(
        tmp_path / "float.tif",
        colours,
        photometric="rgb",
        metadata=None,
        resolution=(20000, 20000),
        resolutionunit="CENTIMETER",
    )
    assert "float32" in fails("-q", "check", tmp_path / "float.tif")


def test_the_options_that_it_asks_for(tmp_path: Path, fails, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["a"], file["b"] = grey_values((4, 12, 10)), grey_values((5, 12, 10))
    assert "--dataset" in fails("-q", "check", tmp_path / "two.h5", "--voxel-um", 5)
    assert tomostain("check", tmp_path / "two.h5", "--voxel-um", 5, "--dataset", "b") == 0
    assert "5 x 12 x 10 voxels" in capsys.readouterr().out
    write_image(tmp_path / "slide.png", np.zeros((40, 41, 3), np.uint8))
    assert "--pixel-um" in fails("-q", "check", tmp_path / "slide.png")
    assert tomostain("check", tmp_path / "slide.png", "--pixel-um", 0.5) == 0
    assert "40 x 41 px of 0.5 µm" in capsys.readouterr().out


def test_an_export_with_another_number_of_slices(made: Path, tmp_path: Path, fails) -> None:
    shutil.copytree(made / "slices", tmp_path / "slices")
    values = yaml.safe_load((tmp_path / "slices/export.yaml").read_text())
    (tmp_path / "slices/export.yaml").write_text(yaml.safe_dump(values | {"shape": [5, 40, 41]}))
    assert "has 4 slices, but export.yaml states 5" in fails("-q", "check", tmp_path / "slices")
