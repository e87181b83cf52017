"""Files and logs that contradict each other, or themselves: read as the format defines, or refused with the reason."""

import logging
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tomostain.errors import InputError
from tomostain.io import open_volume

VOLUME = np.random.default_rng(0).integers(0, 60000, (6, 16, 20)).astype(np.uint16)
NRECON = (
    "[Acquisition]\nImage Pixel Size (um)=5\n[Reconstruction]\nPixel Size (um)=5\nSections Count={count}\n"
    "First Section={first}\nLast Section={last}\n[File name convention]\nFilename Prefix=s_\n"
)


def _slices(folder: Path, first: int = 0, count: int = 6, **options: object) -> Path:
    folder.mkdir()
    for number, image in enumerate(VOLUME[:count], first):
        tifffile.imwrite(folder / f"s_{number:04d}.tif", image, metadata=None, **options)
    return folder


def _log(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    (folder / "s__rec.log").write_bytes(text.encode(encoding))
    return folder


@pytest.mark.parametrize("levels", [1, 2])
def test_slices_with_their_own_pyramid_in_sub_ifds(tmp_path: Path, levels: int) -> None:
    for name, stacks in (("pages.tif", list(VOLUME)), ("shaped.tif", [VOLUME])):
        options = {"metadata": None} if name == "pages.tif" else {}
        with tifffile.TiffWriter(tmp_path / name) as writer:
            for stack in stacks:
                writer.write(stack, subifds=levels, **options)
                for level in range(1, levels + 1):
                    writer.write(stack[..., :: 2**level, :: 2**level], subfiletype=1, **options)
        np.testing.assert_array_equal(open_volume(tmp_path / name, voxel_um=5).read(0, 6), VOLUME)


def test_the_last_slices_that_the_log_states_are_missing(tmp_path: Path) -> None:
    path = _log(_slices(tmp_path / "a", first=421, count=4), NRECON.format(count=6, first=421, last=426))
    for voxel_um in (5, None):
        with pytest.raises(InputError, match=r"4 of 6 slices that s__rec\.log .*slice numbers 425 to 426 are missing"):
            open_volume(path, voxel_um=voxel_um)
    volume = open_volume(path, allow_missing=True)
    assert volume.shape[0] == 6
    assert volume.missing == ((4, 6),)
    np.testing.assert_array_equal(volume.read(0, 4), VOLUME[:4])


def test_all_slices_that_the_log_states(tmp_path: Path) -> None:
    path = _log(_slices(tmp_path / "a", first=3), NRECON.format(count=6, first=3, last=8))
    assert open_volume(path).voxel_um == (5, 5, 5)
    # Slices of another size than the log states were cropped: so may have been their number.
    cropped = NRECON.replace("[Recon", "[Recon").replace("Sections", "Result Image Width (pixels)=24\nSections")
    cropped = cropped.replace("Sections", "Result Image Height (pixels)=20\nSections", 1)
    assert open_volume(_log(path, cropped.format(count=9, first=0, last=8))).shape == (6, 16, 20)


def test_the_depth_that_a_log_of_hereon_states(tmp_path: Path) -> None:
    folder = _slices(tmp_path / "float_rawBin2", count=5)
    (folder / "reco.log").write_text("scan_name : s\neff_pixel_size_binned : 5 micron\nvol_shape : [16 20 6]\n")
    with pytest.raises(InputError, match=r"5 of 6 slices that reco\.log states"):
        open_volume(folder)


IMAGEJ = "ImageJ=1.54f\nimages=1\nunit={unit}\nspacing=5.0\n"


@pytest.mark.parametrize(("unit", "size"), [("micron", 10), ("mm", 5)])
def test_a_slice_of_another_scan(tmp_path: Path, unit: str, size: float) -> None:
    path = _slices(tmp_path / "a", resolution=(0.2, 0.2), description=IMAGEJ.format(unit="micron"))
    assert open_volume(path).voxel_um == (5, 5, 5)
    odd = {"resolution": (1 / size, 1 / size), "description": IMAGEJ.format(unit=unit)}
    tifffile.imwrite(path / "s_0003.tif", VOLUME[3], metadata=None, **odd)
    with pytest.raises(InputError, match=r"s_0003\.tif states pixels of .*, s_0000\.tif of .* 5 µm; give the right"):
        open_volume(path)
    assert open_volume(path, voxel_um=7).shape == VOLUME.shape


def test_a_page_of_another_scan(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for image, size in zip(VOLUME, (5, 5, 5, 10, 10, 10), strict=True):
            writer.write(image, metadata=None, resolution=(1e4 / size,) * 2, resolutionunit="CENTIMETER")
    with pytest.raises(InputError, match="slice 3 states voxels of y 10 µm, x 10 µm, slice 0 of y 5 µm"):
        open_volume(tmp_path / "a.tif")


@pytest.mark.parametrize(("axis", "what"), [("T", "6 time points"), ("C", "6 channels")])
def test_an_axis_that_is_not_z(tmp_path: Path, axis: str, what: str, caplog: pytest.LogCaptureFixture) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", VOLUME, metadata={"axes": f"{axis}YX"})
    with pytest.raises(InputError, match=f"its metadata state {what}"):
        open_volume(tmp_path / "a.ome.tif", voxel_um=5)
    # ImageJ users often have their slices there.
    tifffile.imwrite(tmp_path / "a.tif", VOLUME, imagej=True, metadata={"axes": f"{axis}YX"})
    with caplog.at_level(logging.WARNING):
        assert open_volume(tmp_path / "a.tif", voxel_um=5).shape == VOLUME.shape
    assert f"{what}; they are read as slices" in caplog.text


@pytest.mark.parametrize("in_folder", [True, False])
def test_the_calibration_of_imagej_is_applied(tmp_path: Path, in_folder: bool) -> None:
    def description(images: int) -> str:
        return f"ImageJ=1.54f\nimages={images}\nslices={images}\ncf=0\nc0=-32768.0\nc1=1.0\nvunit=gray value\n"

    if in_folder:
        path = _slices(tmp_path / "a", description=description(1))
    else:
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, VOLUME, metadata=None, description=description(6))
    volume = open_volume(path, voxel_um=5)
    assert volume.dtype == np.float32
    np.testing.assert_array_equal(volume.read(1, 3), VOLUME[1:3].astype(np.float32) - 32768)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le"])
def test_the_encoding_of_a_log(tmp_path: Path, encoding: str) -> None:
    text = NRECON.format(count=6, first=0, last=5).replace("(um)", "(µm)")
    assert open_volume(_log(_slices(tmp_path / "a"), text, encoding)).voxel_um == (5, 5, 5)


def test_units_in_the_plural_and_unknown_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for unit, size in (("micrometers", 5), ("Millimetres", 5000)):
        tifffile.imwrite(path, VOLUME, imagej=True, resolution=(0.2, 0.2), metadata={"unit": unit, "spacing": 5})
        assert open_volume(path).voxel_um == (size, size, size)
    tifffile.imwrite(path, VOLUME, imagej=True, resolution=(0.2, 0.2), metadata={"unit": "furlong", "spacing": 5})
    with pytest.raises(InputError, match=r"not in the file in a known unit \('furlong'\); give it with `voxel_um`"):
        open_volume(path)
