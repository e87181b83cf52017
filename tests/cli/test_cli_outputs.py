"""Names of outputs: nothing is cut off, nothing surprises, and nothing is written into the folder of a scan."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.support.toys import grey_values, toy_model
from tomostain.cli.main import run
from tomostain.io import open_stained, write_stack

GREYS = ("--background", "100", "--bone", "900")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_model(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two scans of different specimens, and one slice."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate("ab"):
        write_stack(tmp_path / "scans" / name, grey_values((3, 40, 41), seed), voxel_um=5.0)
    tifffile.imwrite(tmp_path / "slice.tif", grey_values((40, 41)))
    Image.fromarray(grey_values((40, 41))).save(tmp_path / "slice.png")
    return tmp_path


def tomostain(*arguments: object) -> int:
    return run(["--quiet", *map(str, arguments)])


def test_a_dot_in_a_name_is_not_the_start_of_its_ending(work: Path, model: Path) -> None:
    for name, scan in (("rat_5.3um", "a"), ("rat_5.7um", "b")):
        assert tomostain("stain", model, f"scans/{scan}", f"out/{name}.ome.zarr", *GREYS) == 0
        assert tomostain("view", f"out/{name}.ome.zarr") == 0
    assert sorted(path.name for path in (work / "out").iterdir()) == [
        "rat_5.3um-levels.png",
        "rat_5.3um-view",
        "rat_5.3um.ome.zarr",
        "rat_5.7um-levels.png",
        "rat_5.7um-view",
        "rat_5.7um.ome.zarr",
    ]


def test_the_histogram_of_another_volume_is_not_replaced(work: Path, model: Path, fails) -> None:
    assert tomostain("stain", model, "scans/a", "x.ome.zarr", *GREYS) == 0
    before = (work / "x-levels.png").read_bytes()
    message = fails("-q", "stain", model, "scans/b", "x.zarr", *GREYS)
    assert "x-levels.png: the figure of the grey values shows another volume" in message
    assert "give another name, or add --overwrite" in message
    assert (work / "x-levels.png").read_bytes() == before
    assert not (work / "x.zarr").exists()


def test_the_histogram_of_a_deleted_volume_is_replaced(work: Path, model: Path, fails) -> None:
    assert tomostain("stain", model, "scans/a", "x.ome.zarr", *GREYS) == 0
    before = (work / "x-levels.png").read_bytes()
    shutil.rmtree(work / "x.ome.zarr")
    assert tomostain("stain", model, "scans/b", "x.ome.zarr", *GREYS) == 0
    assert (work / "x-levels.png").read_bytes() != before
    shutil.rmtree(work / "x.ome.zarr")
    Image.new("RGB", (4, 4)).save(work / "x-levels.png")
    assert "x-levels.png: the figure of the grey values" in fails("-q", "stain", model, "scans/a", "x.zarr", *GREYS)
    with Image.open(work / "x-levels.png") as image:
        assert image.size == (4, 4)


def test_a_histogram_with_another_name_is_not_replaced(work: Path, model: Path, fails) -> None:
    named = ("--intensity-figure", "a.png")
    assert tomostain("stain", model, "scans/a", "x.ome.zarr", *GREYS, *named) == 0
    shutil.rmtree(work / "x.ome.zarr")
    assert "a.png: the figure of the grey values" in fails("-q", "stain", model, "scans/b", "x.zarr", *GREYS, *named)


@pytest.mark.parametrize("source", ["slice.tif", "slice.png"])
@pytest.mark.parametrize("name", ["stained.tif", "stained.png", "stained_5.3um.tif", "stained.ome.tif", "stained.TIF"])
def test_one_image_becomes_one_image(work: Path, model: Path, source: str, name: str) -> None:
    assert tomostain("stain", model, source, name, "--voxel-um", 5, *GREYS) == 0
    if name.lower().endswith(".png"):
        assert np.asarray(Image.open(work / name)).shape == (40, 41, 3)
        return
    with tifffile.TiffFile(work / name) as file:
        page = file.pages[0]
        assert page.shape == (40, 41, 3)
        assert page.photometric == tifffile.PHOTOMETRIC.RGB
        numerator, denominator = page.tags["XResolution"].value
        assert numerator / denominator == 2000  # pixels of 5 µm per cm


def test_all_ways_to_write_one_image_agree(work: Path, model: Path) -> None:
    for name in ("one.tif", "one.png", "one.ome.tif"):
        assert tomostain("stain", model, "slice.tif", name, "--voxel-um", 5, *GREYS) == 0
    assert tomostain("stain", model, "slice.tif", "one.ome.zarr", "--voxel-um", 5, *GREYS) == 0
    reference = np.asarray(Image.open(work / "one.png"))
    for name in ("one.tif", "one.ome.tif"):
        np.testing.assert_array_equal(tifffile.imread(work / name), reference)
    np.testing.assert_array_equal(open_stained(work / "one.ome.zarr").read(0, 1)[0], reference)


def test_the_pixel_size_that_one_tiff_states_is_compared(work: Path, model: Path, fails) -> None:
    tifffile.imwrite(work / "coarse.tif", grey_values((40, 41)), resolution=(1e4 / 50, 1e4 / 50), resolutionunit=3)
    line = fails("-q", "stain", model, "coarse.tif", "stained.tif", *GREYS)
    assert "50" in line
    assert not (work / "stained.tif").exists()


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        ("scans/a", "stained.tif", "is the name of one image, but scans/a is a folder; give NAME.ome.zarr"),
        ("scans/a", "stained.nrrd", "ends in .nrrd; give NAME.ome.zarr"),
        ("scans/a", "stained.nii.gz", "ends in .nii.gz; give NAME.ome.zarr"),
        ("slice.png", "stained.ome.zarr", "slice.png is one image, which is stained into NAME.png or NAME.tif"),
        ("slice.png", "stained", "slice.png is one image, which is stained into NAME.png or NAME.tif"),
        ("slice.tif", "stained.jpg", "slice.tif is one image, which is stained into NAME.png or NAME.tif"),
        ("stack.tif", "stained.tif", "A volume is stained into NAME.ome.zarr"),
        ("slice.tif", "folder.tif", "folder.tif: is a folder; give the name of a file for one image"),
        ("scans/a", "s3://bucket/stained.ome.zarr", "stained.ome.zarr: is an address, not a path"),
        ("-scan", "stained.ome.zarr", "No such option: -s; a path that begins with '-' is written ./-s"),
    ],
)
def test_names_that_do_not_fit_are_refused(
    work: Path,
    model: Path,
    fails,
    source: str,
    name: str,
    message: str,
) -> None:
    tifffile.imwrite(work / "stack.tif", grey_values((5, 40, 41)), photometric="minisblack")
    (work / "folder.tif").mkdir()
    before = sorted(work.iterdir())
    assert message in fails("-q", "stain", model, source, name, "--voxel-um", 5, *GREYS).replace("\\", "/")
    assert sorted(work.iterdir()) == before


def test_figures_of_a_scan_are_not_written_into_its_folder(work: Path) -> None:
    (work / "elsewhere").mkdir()
    tifffile.imwrite(work / "elsewhere" / "x_5.3um.tif", grey_values((5, 40, 41)), photometric="minisblack")
    for source, out in (("elsewhere/x_5.3um.tif", "x_5.3um-view"), ("scans/a", "a-view")):
        assert tomostain("view", source, "--voxel-um", 5) == 0
        assert (work / out / "planes.png").is_file()
    assert [path.name for path in (work / "elsewhere").iterdir()] == ["x_5.3um.tif"]
    assert sorted(path.name for path in (work / "scans").iterdir()) == ["a", "b"]


@pytest.mark.parametrize(
    ("to", "name"), [("rgba-tiff", "one.tif"), ("rgb-tiff", "x.ome.zarr"), ("ome-zarr-0.4", "x.tif"), ("vti", "x.nrrd")]
)
def test_an_export_has_a_name_of_its_kind(work: Path, model: Path, fails, to: str, name: str) -> None:
    assert tomostain("stain", model, "scans/a", "s.ome.zarr", *GREYS) == 0
    before = sorted(work.iterdir())
    assert f"{name}: " in fails("-q", "export", "s.ome.zarr", name, "--to", to)
    assert sorted(work.iterdir()) == before


def test_slices_keep_the_dots_of_their_names(work: Path, model: Path) -> None:
    named = [f"rat_5.3um_{z:04d}.tif" for z in range(3)]
    write_stack(work / "named", grey_values((3, 40, 41)), names=named, voxel_um=5.0)
    assert tomostain("stain", model, "named", "s.ome.zarr", *GREYS) == 0
    assert tomostain("export", "s.ome.zarr", "export_5.3um", "--to", "rgb-tiff", "--like", "named") == 0
    assert sorted(path.name for path in (work / "export_5.3um").glob("*.tif")) == named


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resample", "scans/a", "b.tif", "--voxel-um", "10"), "give NAME.ome.zarr, or a name without suffix"),
        (("phantom", "p.tif", "--size", "64"), "is a folder, but the name ends in .tif"),
        (
            ("prepare", "--aligned", "scans/a", "scans/b", "d.yaml", "--voxel-um", "5"),
            "is a folder, but the name ends in .yaml",
        ),
        (("view", "scans/a", "--out", "planes.png"), "is a folder, but the name ends in .png"),
    ],
)
def test_other_folders_are_not_named_as_files(work: Path, fails, arguments: tuple[str, ...], message: str) -> None:
    before = sorted(work.iterdir())
    assert message in fails("-q", *arguments)
    assert sorted(work.iterdir()) == before


def test_a_resampled_folder_may_have_a_dot(work: Path) -> None:
    assert tomostain("resample", "scans/a", "rat_10.5um", "--voxel-um", "10.5") == 0
    assert (work / "rat_10.5um" / "slice_0000.tif").is_file()


def test_an_export_is_complete_although_its_input_vanished(
    work: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that is read after the swap may turn a complete output into a failure."""
    from tomostain.view.export import placed

    assert tomostain("stain", model, "scans/a", "s.ome.zarr", *GREYS) == 0
    described = placed.describe_file

    def vanished(path: Path, *options: object) -> str:
        path.rename(work / "gone.ome.zarr")
        return described(path, *options)

    monkeypatch.setattr(placed, "describe_file", vanished)
    assert tomostain("export", "s.ome.zarr", "slices", "--to", "rgb-tiff") == 0
    assert len(list((work / "slices").glob("*.tif"))) == 3
