"""Scan logs: each log gives the correct line and unit, and only its beginning is read."""

import re
import string
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import facilities as lay
from tomostain.errors import InputError
from tomostain.io import open_volume
from tomostain.io.metadata.hereon_log import p05_log
from tomostain.io.metadata.logs import MAX_LOG_BYTES, nabu_log, read_log
from tomostain.io.metadata.skyscan_log import skyscan_log

RECO = Path("reco.log")
SIZES = st.floats(0.05, 500).map(lambda value: float(f"{value:g}"))
NAMES = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=30)


@given(unbinned=SIZES, raw_bin=st.integers(1, 8), scan=NAMES, old=st.booleans())
def test_hereon_sizes_come_back(unbinned: float, raw_bin: int, scan: str, old: bool) -> None:
    write = lay.old_hereon_log if old else lay.hereon_log
    log = p05_log(RECO, write(unbinned, raw_bin * unbinned, scan))
    assert log is not None
    assert (log.scan, log.raw_bin) == (scan, raw_bin)
    assert log.voxel_um == pytest.approx((raw_bin * unbinned,) * 3, rel=1e-5)
    assert (log.unbinned_um or log.voxel_um[0]) == pytest.approx(unbinned, rel=1e-5)


@given(pixel=SIZES, step=st.integers(1, 9), prefix=NAMES)
def test_bruker_sizes_come_back(pixel: float, step: int, prefix: str) -> None:
    log = skyscan_log(Path("x.log"), lay.skyscan_log(pixel, step, prefix).replace("\r\n", "\n"))
    assert log is not None
    assert log.scan == prefix
    assert log.voxel_um == pytest.approx((step * pixel, pixel, pixel), abs=1e-5 * step)


@given(sizes=st.tuples(SIZES, SIZES, SIZES), brackets=st.sampled_from(["{}, {}, {}", "({}, {}, {})", "[ {} {} {} ]"]))
def test_nabu_sizes_come_back(sizes: tuple[float, float, float], brackets: str) -> None:
    text = brackets.format(*(size * 1e-4 for size in sizes))
    log = nabu_log(Path("bone_infos.txt"), lay.nabu_infos(text))
    assert log is not None
    assert (log.scan, log.voxel_um) == ("bone", pytest.approx(sizes))


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("logs")
    for name in ("reco.log", "a_rec.log", "a_infos.txt"):
        (folder / name).write_bytes(data)
        read_log(folder / name)


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("eff_pixel_size : 1.28 micron\n", (1.28, 1.28)),
        ("effective_pixel_size_mu : 1.28\neffective_pixel_size_binned_mu : 2.56\n", (1.28, 2.56)),
        ("par.eff_pixel_size : 1.28 micron\npar.eff_pixel_size_binned : 2.56 micron\n", (1.28, 2.56)),
        ("effective_pixel_size : 1.28 micron\nraw_binning_factor : 3\n", (1.28, 3.84)),
        ("eff_pixel_size : 0.00128 mm\neff_pixel_size_binned : 2.56 um\n", (1.28, 2.56)),
        ("raw_bin : 2\neff_pixel_size_binned : 2.56 micron\n", (1.28, 2.56)),
        ("eff_pixel_size : 1.28e-06\n", None),
        ("energy : 45000 eV\n", None),
    ],
)
def test_the_spellings_of_hereon(text: str, sizes: tuple[float, float] | None) -> None:
    log = p05_log(RECO, text)
    actual = None if log is None else (log.unbinned_um or log.voxel_um[0], log.voxel_um[0])
    assert actual == (None if sizes is None else pytest.approx(sizes))


def test_the_log_of_a_bruker_scan_without_reconstruction() -> None:
    text = lay.skyscan_log().replace("\r\n", "\n").split("[Reconstruction]")[0]
    log = skyscan_log(Path("rat3.log"), text)
    assert log is not None
    assert (log.scan, log.voxel_um[0]) == ("rat3", 7.000817)


def test_two_sizes_for_one_thing(tmp_path: Path) -> None:
    path = tmp_path / "reco.log"
    path.write_text("eff_pixel_size : 1.28 micron\neff_pixel_size : 2.56 micron\n")
    message = r"reco\.log: states pixels of 1\.28 and of 2\.56 µm; give the right voxel size with"
    with pytest.raises(InputError, match=message):
        p05_log(path, path.read_text())
    log = read_log(path)
    assert log is not None
    assert re.search(message, log.problem)


def test_only_the_beginning_of_a_huge_log_is_read(tmp_path: Path) -> None:
    path = tmp_path / "reco.log"
    path.write_text("x" * MAX_LOG_BYTES + "\neff_pixel_size : 1.28 micron\n")
    assert read_log(path) is None
    path.write_text("eff_pixel_size : 1.28 micron\n" + "x\n" * MAX_LOG_BYTES)
    log = read_log(path)
    assert log is not None
    assert log.voxel_um[0] == 1.28


def test_other_texts_are_not_logs(tmp_path: Path) -> None:
    for name, text in (("notes.log", "eff_pixel_size : 1.28 micron"), ("a.txt", lay.skyscan_log()), ("reco.log", "")):
        (tmp_path / name).write_text(text)
        assert read_log(tmp_path / name) is None
    assert read_log(tmp_path / "missing.log") is None


def _skyscan(acquisition: str, reconstruction: str, more: str = "") -> str:
    parts = (
        "[System]",
        "Camera Pixel Size (um)=75.0",
        "[Acquisition]",
        acquisition,
        "[Reconstruction]",
        reconstruction,
    )
    return "\n".join([*parts, more, "[File name convention]", "Filename Prefix=rat_rec", ""])


IMAGE = "Image Pixel Size (um)=   4.50"


@pytest.mark.parametrize(
    ("acquisition", "reconstruction", "more", "size"),
    [
        (IMAGE, "Pixel Size (um)=   9,00", "", 9.0),
        ("Image Pixel Size (um)=   4,50", "Pixel Size (um)=   9,00", "", 9.0),
        (IMAGE, "Pixel Size (um)=9,000", "", 9.0),
        (IMAGE, "Pixel Size (mm)=0.009", "", 9.0),
        (IMAGE, "Pixel Size (um)=9.0\nPixel Size (um)=9.00", "", 9.0),
        (IMAGE, "Pixel Size (um)=9.0", "[Reconstruction]\nPixel Size (um)=9.0", 9.0),
        (IMAGE, "Reconstruction Program=NRecon", "", 4.5),
        ("Image Pixel Size (um)=unknown", "Pixel Size (um)=9.0", "", 9.0),
        (IMAGE, "Pixel Size (um)=9.0", "[Resize]\nPixel Size (um)=9.0", 9.0),
    ],
)
def test_sizes_of_bruker_that_are_understood(acquisition: str, reconstruction: str, more: str, size: float) -> None:
    log = skyscan_log(Path("x_rec.log"), _skyscan(acquisition, reconstruction, more))
    assert log is not None
    assert log.voxel_um == (size, size, size)


@pytest.mark.parametrize(
    ("reconstruction", "more", "message"),
    [
        ("Pixel Size (um)=9,0,0", "", "states 'pixel size .um.' as '9,0,0', which is not understood"),
        ("Pixel Size (um)=", "", "not understood"),
        ("Pixel Size (um)=9.0 x 9.0", "", "not understood"),
        ("Pixel Size (um)=-9.0", "", "not understood"),
        ("Pixel Size (um)=nan", "", "not understood"),
        ("Pixel Size (um)=1.234,5", "", "not understood"),
        ("Pixel Size (furlong)=9", "", "not understood"),
        ("Pixel Size=9", "", "not understood"),
        ("Pixel Size (um)=9\nSection to Section Step=two", "", "'Section to Section Step' as 'two'"),
        ("Pixel Size (um)=9\nPixel Size (um)=18", "", "states pixels of 9 and of 18 µm"),
        ("Pixel Size (um)=9", "[Reconstruction]\nPixel Size (um)=18", "states pixels of 9 and of 18 µm"),
        ("Pixel Size (um)=9", "[Resize]\nPixel Size (um)=18", "states pixels of 9 and of 18 µm"),
        ("Pixel Size (um)=9", "[Resize]\nFactor=2", r"was resized \(section \[resize\]\)"),
    ],
)
def test_sizes_of_bruker_that_are_not_understood(tmp_path: Path, reconstruction: str, more: str, message: str) -> None:
    path = tmp_path / "rat_rec.log"
    path.write_text(_skyscan(IMAGE, reconstruction, more))
    log = read_log(path)
    assert log is not None
    assert log.scan == "rat_rec"
    assert re.search(message, log.problem)
    assert "`voxel_um`" in log.problem


@pytest.mark.parametrize(
    "text",
    [
        "eff_pixel_size : 1,28 micron\neff_pixel_size_binned : 2.56 micron\n",
        "eff_pixel_size : 1.28 furlong\neff_pixel_size_binned : 2.56 micron\n",
        "eff_pixel_size : 1.28 micron\neff_pixel_size_binned : about 2.56 micron\n",
        "eff_pixel_size : -1.28 micron\n",
        "eff_pixel_size : 1.28 micron\nraw_binning_factor : two\n",
    ],
)
def test_sizes_of_hereon_that_are_not_understood(text: str) -> None:
    with pytest.raises(InputError, match="not understood"):
        p05_log(RECO, text)


@pytest.mark.parametrize(
    "size", ["(1,28e-4, 1,28e-4, 1,28e-4)", "1,28e-4", "(1e-4, 1e-4)", "(1e-4, 0, 1e-4)", "about 1e-4"]
)
def test_sizes_of_nabu_that_are_not_understood(size: str) -> None:
    with pytest.raises(InputError, match=r"states 'voxel_size_cm' as .*not understood"):
        nabu_log(Path("bone_infos.txt"), lay.nabu_infos(size) + "pixel_size_cm = 2e-4\n")


def test_the_log_of_another_scan_may_be_not_understood(tmp_path: Path) -> None:
    scan = write_slices(tmp_path / "scan", "mouse_rec")
    (tmp_path / "rat_rec.log").write_text(_skyscan(IMAGE, "Pixel Size (um)=9,0,0"))
    with pytest.raises(InputError, match="the voxel size is not in the file"):
        open_volume(scan)
    (scan / "rat_rec.log").write_text(_skyscan(IMAGE, "Pixel Size (um)=9,0,0"))
    with pytest.raises(InputError, match=r"rat_rec\.log: states 'pixel size \(um\)' as '9,0,0'"):
        open_volume(scan)
    assert open_volume(scan, voxel_um=9).voxel_um == (9, 9, 9)


def test_slices_of_half_the_size_that_the_log_states(tmp_path: Path) -> None:
    size = "Result Image Width (pixels)={}\nResult Image Height (pixels)={}\nPixel Size (um)=9.0"
    scan = write_slices(tmp_path / "rat")
    (scan / "rat_rec.log").write_text(_skyscan(IMAGE, size.format(16, 12)))
    with pytest.raises(InputError, match=r"states voxels of 9 µm or 9 x 18 x 18 µm or 18 µm, and neither"):
        open_volume(scan)
    for width, height in ((8, 6), (9, 7), (16, 6)):  # as reconstructed, or cropped
        (scan / "rat_rec.log").write_text(_skyscan(IMAGE, size.format(width, height)))
        assert open_volume(scan).voxel_um == (9, 9, 9)


@pytest.mark.parametrize(
    ("stated", "binned", "expected"),
    [
        ("Sections Count=12", (1, 2, 2), (9, 18, 18)),
        ("Sections Count=12", (2, 2, 2), (18, 18, 18)),
        ("Sections Count=13", (2, 2, 2), (18, 18, 18)),
        ("First Section=4\nLast Section=26\nSection to Section Step=2", (2, 2, 2), (36, 18, 18)),
        ("Sections Count=40", (2, 2, 2), None),
        ("", (2, 2, 2), None),
    ],
)
def test_slices_that_fiji_binned_next_to_the_log(tmp_path: Path, stated: str, binned: tuple, expected: tuple) -> None:
    volume = np.random.default_rng(0).integers(0, 60000, (12, 24, 32)).astype(np.float32)
    z, y, x = (side // factor for side, factor in zip(volume.shape, binned, strict=True))
    means = volume.reshape(z, binned[0], y, binned[1], x, binned[2]).mean(axis=(1, 3, 5))
    fiji = {"description": "ImageJ=1.54f\nunit=micron\n", "resolution": (1 / 18, 1 / 18), "resolutionunit": "none"}
    scan = lay.slices(tmp_path / "rat", means.astype(np.uint16), "rat_rec{:04d}.tif", **fiji)
    size = f"Result Image Width (pixels)=32\nResult Image Height (pixels)=24\nPixel Size (um)=9.0\n{stated}"
    (scan / "rat_rec.log").write_text(_skyscan(IMAGE, size))
    if expected is None:
        with pytest.raises(InputError, match=r"states voxels of 9 x 18 x 18 µm or 18 µm, and neither .* `voxel_um`"):
            open_volume(scan)
    else:
        assert open_volume(scan).voxel_um == pytest.approx(expected, rel=1e-6)


def write_slices(folder: Path, name: str = "rat_rec") -> Path:
    """Write three slices of 6 × 8 pixels without a size."""
    return lay.slices(folder, np.zeros((3, 6, 8), np.uint16), name + "{:04d}.tif")
