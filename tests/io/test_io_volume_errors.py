"""Errors of volumes: one line names the file, the problem and the solution."""

import gzip
import json
import zlib
from pathlib import Path

import h5py
import numcodecs
import numpy as np
import pytest
import tifffile
import zarr

from tomostain.errors import InputError
from tomostain.io import create_ome_zarr, open_volume, write_stack

SHARED = Path(__file__).parents[2] / "../shared/data"


def _read_all(path: Path, **options: object) -> None:
    volume = open_volume(path, **{"voxel_um": 5, **options})  # type: ignore[arg-type]
    volume.read(0, volume.shape[0])


def _says(message: str, path: Path, **options: object) -> None:
    """Open the volume, read it if it opens, and compare its one-line error with `message`."""
    with pytest.raises(InputError, match=message) as caught:
        _read_all(path, **options)
    assert "\n" not in str(caught.value)
    assert str(path.name) in str(caught.value)


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    volume = np.random.default_rng(0).integers(0, 60000, (6, 20, 30)).astype(np.uint16)
    write_stack(tmp_path / "stack", volume, voxel_um=5)
    return tmp_path / "stack"


def test_a_gap_in_the_numbers(stack: Path) -> None:
    (stack / "slice_0003.tif").unlink()
    _says(r"slice number 3 is missing \(slice_0002.tif is followed by slice_0004.tif\)", stack)


def test_two_slices_of_one_number(stack: Path) -> None:
    (stack / "slice_02.tif").write_bytes((stack / "slice_0002.tif").read_bytes())
    with pytest.raises(InputError, match="has the same slice number 2 as"):
        open_volume(stack)


def test_mixed_shapes(stack: Path) -> None:
    tifffile.imwrite(stack / "slice_0004.tif", np.zeros((20, 31), np.uint16))
    with pytest.raises(
        InputError, match=r"slice_0004\.tif: its shape is \(20, 31\), that of slice_0000\.tif is \(20, 30\)"
    ):
        open_volume(stack)


def test_mixed_types(stack: Path) -> None:
    tifffile.imwrite(stack / "slice_0002.tif", np.zeros((20, 30), np.uint8))
    with pytest.raises(InputError, match=r"slice_0002\.tif: its type is uint8, that of slice_0000\.tif is uint16"):
        open_volume(stack)


def test_a_truncated_slice(stack: Path) -> None:
    path = stack / "slice_0005.tif"
    whole = path.read_bytes()
    for length in (0, 6, 100, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"slice_0005\.tif: .*(truncated|damaged)") as caught:
            open_volume(stack)
        assert "\n" not in str(caught.value)


def test_damaged_data_are_found_on_reading(stack: Path) -> None:
    path = stack / "slice_0001.tif"
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[0].dataoffsets[0]
    data = bytearray(path.read_bytes())
    data[offset : offset + 40] = b"\xff" * 40
    path.write_bytes(data)
    volume = open_volume(stack)
    assert volume.read(0, 1).shape == (1, 20, 30)
    with pytest.raises(InputError, match=r"slice_0001\.tif: cannot be read as TIFF"):
        volume.read(1, 2)


def test_colour_slices(tmp_path: Path) -> None:
    write_stack(tmp_path / "rgb", np.zeros((3, 4, 5, 3), np.uint8), voxel_um=5)
    with pytest.raises(InputError, match=r"slice_0000\.tif: a colour image .* a µCT volume is grey"):
        open_volume(tmp_path / "rgb")
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((3, 14, 15, 3), np.uint8), photometric="rgb")
    _says("a colour image", tmp_path / "rgb.tif")


def test_folders_without_slices(tmp_path: Path) -> None:
    _says("no such file or folder", tmp_path / "none")
    (tmp_path / "empty").mkdir()
    _says("no TIFF slices in this folder; give the folder that holds them", tmp_path / "empty")
    (tmp_path / "specimen" / "volume").mkdir(parents=True)
    _says(r"no TIFF slices in this folder; it has the folder\(s\) volume; give one of them", tmp_path / "specimen")


def test_names_that_are_not_a_series(stack: Path) -> None:
    (stack / "mask.tif").write_bytes((stack / "slice_0000.tif").read_bytes())
    with pytest.raises(InputError, match=r"mask\.tif: its name differs from the others' \(slice_#, where"):
        open_volume(stack)
    (stack / "mask.tif").unlink()
    (stack / "slice_0005.tif").rename(stack / "slice_0005b.tif")
    with pytest.raises(InputError, match=r"slice_0005b\.tif: its name differs from the others'"):
        open_volume(stack)
    for path in stack.iterdir():
        path.unlink()
    for name in ("a1_b1.tif", "a2_b2.tif"):
        tifffile.imwrite(stack / name, np.zeros((3, 4), np.uint8))
    _says("differ in more than one number", stack)


def test_a_stack_among_the_slices(stack: Path) -> None:
    tifffile.imwrite(stack / "slice_0001.tif", np.zeros((3, 20, 30), np.uint16), photometric="minisblack")
    with pytest.raises(InputError, match=r"slice_0001\.tif: holds 3 images, but a slice has one"):
        open_volume(stack)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_truncated_tiff_stack(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "stack.tif"
    volume = np.random.default_rng(0).integers(0, 60000, (9, 20, 30)).astype(np.uint16)
    tifffile.imwrite(path, volume, compression=compression, metadata=None)
    whole = path.read_bytes()
    for part in (0.1, 0.5, 0.9, 0.97):
        path.write_bytes(whole[: int(part * len(whole))])
        _says("truncated|damaged", path)


def test_a_tiff_with_channels(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.zeros((5, 2, 14, 15), np.uint8), metadata={"axes": "ZCYX"})
    _says(r"has axes ZCYX of \(5, 2, 14, 15\); a µCT volume has z, y, x only", path)


def test_an_absurd_slice_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("volume", shape=(2, 10**6, 10**6), dtype="u2", chunks=(1, 256, 256))
    _says("more than can be read at once", tmp_path / "a.h5")
    header = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 30000 30000 30000\nencoding: raw\n\n"
    (tmp_path / "a.nrrd").write_text(header + "x" * 100)
    _says("shorter than its header says", tmp_path / "a.nrrd")


def test_an_incomplete_gzip_stream_of_a_nrrd_is_reported_as_such(tmp_path: Path) -> None:
    packed = gzip.compress(np.random.default_rng(0).bytes(4 * 5 * 6))
    header = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 6 5 4\nencoding: gzip\n\n"
    (tmp_path / "a.nrrd").write_bytes(header + packed[:40])
    _says("its compressed data are incomplete", tmp_path / "a.nrrd")
    (tmp_path / "a.nrrd").write_bytes(header + gzip.compress(b"short"))
    _says("shorter than its header says", tmp_path / "a.nrrd")


def test_hdf5_with_none_or_several_volumes(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["image"] = np.zeros((4, 5))
    _says(r"holds no three-dimensional dataset; found image 4×5", path)
    with h5py.File(path, "a") as file:
        file["x/first"], file["x/second"] = np.zeros((3, 4, 5)), np.ones((3, 4, 5))
    _says(r"holds 2 volumes \(x/first, x/second\); name one with `dataset`", path)
    assert open_volume(path, voxel_um=5, dataset="x/second").read(0, 1).min() == 1
    _says(r"`dataset`: x/third is not in the file; found image 4×5, x/first 3×4×5", path, dataset="x/third")
    _says(r"`dataset`: x is not in the file", path, dataset="x")
    _says(r"`dataset`: image is float64 of shape \(4, 5\), not a volume", path, dataset="image")
    path.write_bytes(path.read_bytes()[:1000])
    _says("cannot be read as HDF5", path)


def test_projections_are_not_a_volume(tmp_path: Path) -> None:
    path = tmp_path / "nxtomo.nxs"
    with h5py.File(path, "w") as file:
        file["entry/data/data"] = np.zeros((9, 4, 5), np.float32)
        file["entry/data/rotation_angle"] = np.linspace(0, 180, 9)
    _says("holds projections and no volume", path)
    with h5py.File(path, "a") as file:
        file["entry/recon/volume"] = np.zeros((4, 5, 5), np.float32)
    assert open_volume(path, voxel_um=5).shape == (4, 5, 5)


def test_the_real_projections() -> None:
    path = SHARED / "tooth" / "tooth.h5"
    if not path.is_file():
        pytest.skip("optional real data are not there")
    _says(r"holds projections and no volume \(found exchange/data 181×2×640", path)
    _says("`dataset`: exchange/data holds 181 projections", path, dataset="exchange/data")


@pytest.mark.parametrize("name", ["a.mha", "c.mha", "a.nrrd", "c.nrrd", "a.nii", "a.nii.gz"])
def test_truncated_medical_formats(tmp_path: Path, name: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    volume = np.random.default_rng(0).integers(0, 60000, (9, 20, 30)).astype(np.uint16)
    sitk.WriteImage(sitk.GetImageFromArray(volume), str(tmp_path / name), name.startswith("c"))
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    _says("truncated", tmp_path / name)
    (tmp_path / name).write_bytes(b"nothing of the kind")
    _says("cannot be read", tmp_path / name)


def test_medical_formats_that_are_not_a_grey_volume(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    colours = sitk.GetImageFromArray(np.zeros((3, 4, 5, 3), np.uint8), isVector=True)
    sitk.WriteImage(colours, str(tmp_path / "rgb.mha"))
    _says("has 3 values per voxel; a µCT volume is grey", tmp_path / "rgb.mha")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5), np.uint8)), str(tmp_path / "flat.mha"))
    _says(r"holds an array of shape \(4, 5\), not a volume", tmp_path / "flat.mha")


def test_zarr_that_is_not_a_grey_volume(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    _says("cannot be read as Zarr", tmp_path / "a.zarr")
    zarr.open_group(tmp_path / "b.zarr", mode="w").create_array("x", data=np.zeros((3, 4, 5)))
    _says(r"describes no image \(multiscales\); it holds the arrays x", tmp_path / "b.zarr")
    zarr.save_array(tmp_path / "c.zarr", np.zeros((2, 3, 4, 5), np.uint8))
    _says("a µCT volume has z, y, x", tmp_path / "c.zarr")


def test_other_bad_input(tmp_path: Path, stack: Path) -> None:
    (tmp_path / "a.docx").touch()
    _says("'.docx' is not a volume format known here", tmp_path / "a.docx")
    _says("names a dataset inside HDF5, but .* is not an HDF5 file", stack, dataset="x")
    with h5py.File(tmp_path / "complex.h5", "w") as file:
        file["volume"] = np.zeros((3, 4, 5), np.complex64)
    _says("holds no three-dimensional dataset", tmp_path / "complex.h5")


def _zeros(size: int) -> bytes:
    """Return zlib bytes of many zeros: one compressed block of 16 MB, repeated."""
    block, packer = bytes(1 << 24), zlib.compressobj(9)
    first = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + again * (size // (1 << 24) - 2) + packer.compress(block) + packer.flush()


def test_large_chunks_of_one_value_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    packed, side = _zeros(1 << 29), 1 << 14
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("data", (2, side, side), "u2", chunks=(1, side, side), compression="gzip")
        for z in range(2):
            data.id.write_direct_chunk((z, 0, 0), packed)
    _says(r"states 1\.07 GB of values, but holds 1\.04 MB of compressed data", tmp_path / "a.h5")
    options = {"chunks": (1, side, side), "compressors": numcodecs.Zlib(level=1), "zarr_format": 2}
    zarr.create_array(tmp_path / "a.zarr", shape=(2, side, side), dtype="u2", **options)
    for z in range(2):
        (tmp_path / f"a.zarr/{z}.0.0").write_bytes(packed)
    _says(r"states 1\.07 GB of values, but holds 1\.04 MB of compressed data", tmp_path / "a.zarr")


def test_more_levels_than_a_volume_can_have(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    writer = create_ome_zarr(path, (6, 20, 30), (5.0, 5.0, 5.0), z_chunk=6, provenance={})
    writer.write(0, np.ones((6, 20, 30), np.uint8))
    writer.finish()
    values = json.loads((path / "zarr.json").read_text())
    image = values["attributes"]["ome"]["multiscales"][0]
    image["datasets"] = image["datasets"][:1] * 1000
    (path / "zarr.json").write_text(json.dumps(values))
    _says("it states 1000 levels", path)
