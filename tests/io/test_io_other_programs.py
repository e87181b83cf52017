"""Volumes as other programs write them: axes, signs, padding, origins and directions that are stated next to values."""

import logging
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from tomostain.errors import InputError, PlacementWarning
from tomostain.io import open_volume

VOLUME = np.random.default_rng(0).integers(0, 60000, (6, 20, 24)).astype(np.uint16)
_TURNED_Y = ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0))


def _hdf5(path: Path, write: Callable[[h5py.File], None]) -> Path:
    with h5py.File(path, "w") as file:
        write(file)
    return path


def test_rows_and_columns_of_a_matlab_file(tmp_path: Path) -> None:
    def write(file: h5py.File) -> None:  # V(row, column, slice) in MATLAB
        file["V"] = VOLUME.transpose(0, 2, 1)
        file["V"].attrs["MATLAB_class"] = np.bytes_("uint16")

    volume = open_volume(_hdf5(tmp_path / "v.h5", write), voxel_um=5)
    np.testing.assert_array_equal(volume.read(0, 6), VOLUME)


def test_bigdataviewer_stores_unsigned_values_as_signed_ones(tmp_path: Path) -> None:
    def write(file: h5py.File) -> None:
        file["t00000/s00/0/cells"] = VOLUME.view(np.int16)
        file["t00000/s00/1/cells"] = VOLUME[:, ::2, ::2].view(np.int16)

    volume = open_volume(_hdf5(tmp_path / "v.h5", write), voxel_um=5, dataset="t00000/s00/0/cells")
    assert volume.dtype == np.uint16
    np.testing.assert_array_equal(volume.read(0, 6), VOLUME)


@pytest.mark.parametrize("stated", ["true", np.bytes_("true"), True])
def test_signed_values_that_are_stated_to_be_unsigned(tmp_path: Path, stated: object) -> None:
    def write(file: h5py.File) -> None:
        file["recon"] = VOLUME.astype("<u2").view("<i2")
        file["recon"].attrs["_Unsigned"] = stated

    paths = [_hdf5(tmp_path / "v.h5", write)]
    if not isinstance(stated, bytes):
        array = zarr.create_array(tmp_path / "v.zarr", shape=VOLUME.shape, dtype="int16", chunks=(2, 20, 24))
        array[:] = VOLUME.view(np.int16)
        array.attrs["_Unsigned"] = stated
        paths.append(tmp_path / "v.zarr")
    for path in paths:
        np.testing.assert_array_equal(open_volume(path, voxel_um=5).read(0, 6), VOLUME)


def test_unsigned_values_that_are_stated_to_be_signed(tmp_path: Path) -> None:
    def write(file: h5py.File) -> None:
        file["recon"] = VOLUME
        file["recon"].attrs["_Unsigned"] = "false"

    values = open_volume(_hdf5(tmp_path / "v.h5", write), voxel_um=5).read(0, 6)
    np.testing.assert_array_equal(values, VOLUME.view(np.int16))


@pytest.mark.parametrize("stated", [[], [[1], [2, 3]], {"a": 1}, np.zeros((2, 2)), h5py.Empty("S1")])
def test_a_sign_that_is_not_understood_is_ignored(tmp_path: Path, stated: object) -> None:
    signed = VOLUME.view(np.int16)
    if isinstance(stated, list | dict):
        path = tmp_path / "v.zarr"
        array = zarr.create_array(path, shape=signed.shape, dtype="int16", chunks=signed.shape)
        array[:] = signed
        array.attrs["_Unsigned"] = stated
    else:
        path = _hdf5(tmp_path / "v.h5", lambda file: file.create_dataset("recon", data=signed))
        with h5py.File(path, "a") as file:
            file["recon"].attrs["_Unsigned"] = stated
    np.testing.assert_array_equal(open_volume(path, voxel_um=5).read(0, 6), signed)


def test_an_image_of_three_colours_is_not_a_volume(tmp_path: Path) -> None:
    image = np.zeros((40, 50, 3), np.uint8)
    path = _hdf5(tmp_path / "rgb.h5", lambda file: file.create_dataset("rgb", data=image))
    zarr.create_array(tmp_path / "rgb.zarr", shape=image.shape, dtype="uint8", chunks=(40, 50, 3))[:] = image + 1
    for each in (path, tmp_path / "rgb.zarr"):
        with pytest.raises(InputError, match="40, 50, 3: an image of 3 colours, not a volume"):
            open_volume(each, voxel_um=5)
    with h5py.File(path, "a") as file:  # a preview next to the volume
        file["recon"] = VOLUME
    assert open_volume(path, voxel_um=5).shape == VOLUME.shape


def _imaris(file: h5py.File) -> None:
    name = "DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data"
    file[name] = np.pad(VOLUME, ((0, 2), (0, 12), (0, 8)))
    for axis, size in zip("ZYX", VOLUME.shape, strict=True):
        file[name].parent.attrs[f"ImageSize{axis}"] = _characters(size)
    attributes = file.create_group("DataSetInfo/Image").attrs
    ends = {"ExtMin0": 10, "ExtMax0": 10 + 2 * 24, "ExtMin1": 0, "ExtMax1": 2 * 20, "ExtMin2": 0, "ExtMax2": 3 * 6}
    for key, value in (ends | {"Unit": "um"}).items():
        attributes[key] = _characters(value)


def _characters(value: object) -> np.ndarray:
    return np.frombuffer(str(value).encode(), "S1")


def test_the_padding_and_the_size_of_an_imaris_file(tmp_path: Path) -> None:
    volume = open_volume(_hdf5(tmp_path / "v.h5", _imaris))
    assert volume.shape == VOLUME.shape
    assert volume.voxel_um == (3, 2, 2)
    assert volume.placement is not None
    assert volume.placement.origin_um == pytest.approx((1.5, 1, 11))  # ExtMin is the edge of the first voxel
    np.testing.assert_array_equal(volume.read(2, 6), VOLUME[2:])


def _scaled(
    tmp_path: Path, starts: Sequence[float], steps: Sequence[float], units: str = "mm", *, is_nexus: bool = False
) -> Path:
    def write(file: h5py.File) -> None:
        group = file.create_group("entry") if is_nexus else file
        values = group.create_dataset("data", data=VOLUME)
        if is_nexus:
            group.attrs.update({"NX_class": "NXdata", "signal": "data", "axes": ["z", "y", "x"]})
        for axis, (name, start, step, size) in enumerate(zip("zyx", starts, steps, VOLUME.shape, strict=True)):
            group[name] = start + step * np.arange(size)
            group[name].attrs["units"] = units
            if not is_nexus:
                group[name].make_scale(name)
                values.dims[axis].attach_scale(group[name])

    return _hdf5(tmp_path / "v.h5", write)


@pytest.mark.parametrize("is_nexus", [False, True])
def test_the_first_position_and_the_direction_of_hdf5_axes(tmp_path: Path, is_nexus: bool) -> None:
    path = _scaled(tmp_path, (1.0, 0.2, 0.0), (0.003, -0.002, 0.002), is_nexus=is_nexus)
    volume = open_volume(path)
    assert volume.voxel_um == pytest.approx((3, 2, 2))
    assert volume.placement is not None
    assert volume.placement.origin_um == pytest.approx((1000, 200, 0))
    assert volume.placement.direction == _TURNED_Y


def test_positions_without_a_unit_do_not_place_a_volume(tmp_path: Path) -> None:
    assert open_volume(_scaled(tmp_path, (1, 0, 0), (3, 2, 2), ""), voxel_um=5).placement is None


def test_a_negative_scale_of_an_ome_zarr_is_a_direction(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "v.zarr", mode="w")
    group.create_array("0", shape=VOLUME.shape, dtype="uint16", chunks=VOLUME.shape)[:] = VOLUME
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    transforms = [{"type": "scale", "scale": [3, -2, 2]}, {"type": "translation", "translation": [0, 40, 0]}]
    level = {"path": "0", "coordinateTransformations": transforms}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [level]}]}
    volume = open_volume(tmp_path / "v.zarr")
    assert volume.voxel_um == (3, 2, 2)
    assert volume.placement is not None
    assert volume.placement.origin_um == (0, 40, 0)
    assert volume.placement.direction == _TURNED_Y


def _imagej(path: Path, unit: str) -> Path:
    header = f"ImageJ=1.53t\nimages=6\nslices=6\n{unit}spacing=3.0\nxorigin=10\nyorigin=20\nzorigin=2\n"
    tifffile.imwrite(path, VOLUME, description=header, resolution=(0.5, 0.5), metadata=None)
    return path


def test_the_origin_that_imagej_states_in_voxels(tmp_path: Path) -> None:
    stated = open_volume(_imagej(tmp_path / "um.tif", "unit=um\n"))
    assert stated.placement is not None
    assert stated.placement.origin_um == (-6, -40, -20)
    given = open_volume(_imagej(tmp_path / "no.tif", ""), voxel_um=5)
    assert given.placement is not None
    assert given.placement.origin_um == (-10, -100, -50)


def _nrrd(path: Path, *lines: str, sizes: str = "24 20 6", values: bytes = VOLUME.tobytes()) -> Path:
    header = ["NRRD0004", "type: uint16", f"dimension: {len(sizes.split())}", f"sizes: {sizes}", "encoding: raw"]
    path.write_bytes("\n".join([*header, "endian: little", *lines, "", ""]).encode() + values)
    return path


def test_the_directions_of_a_nrrd_without_an_origin(tmp_path: Path) -> None:
    vectors = "space directions: (0.002,0,0) (0,-0.002,0) (0,0,0.003)"
    volume = open_volume(_nrrd(tmp_path / "v.nrrd", "space: left-posterior-superior", vectors))
    assert volume.placement is not None
    assert volume.placement.direction == _TURNED_Y


def test_a_sheared_volume_is_named(tmp_path: Path) -> None:
    vectors = "space directions: (0.002,0,0) (0,0.002,0) (0,0.001,0.003)"
    path = _nrrd(tmp_path / "v.nrrd", "space: left-posterior-superior", vectors)
    with pytest.warns(PlacementWarning, match="its axes are not perpendicular to each other; in space the volume is"):
        open_volume(path)


def test_a_nrrd_with_one_component_for_each_voxel(tmp_path: Path) -> None:
    path = _nrrd(tmp_path / "v.nrrd", "kinds: scalar domain domain domain", sizes="1 24 20 6")
    np.testing.assert_array_equal(open_volume(path, voxel_um=5).read(0, 6), VOLUME)


_MHA = "ObjectType = Image\nNDims = 3\nBinaryData = True\n{}DimSize = 24 20 6\nElementType = MET_USHORT\n"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("HeaderSize = 16\n", "states a HeaderSize of 16 bytes, but its values begin at byte"),
        ("BinaryDataByteOrderMSB = False\nElementByteOrderMSB = True\n", "states two byte orders"),
    ],
)
def test_a_meta_image_that_contradicts_itself(tmp_path: Path, lines: str, message: str) -> None:
    path = tmp_path / "v.mha"
    path.write_bytes((_MHA.format(lines) + "ElementDataFile = LOCAL\n").encode() + VOLUME.tobytes())
    with pytest.raises(InputError, match=message):
        open_volume(path, voxel_um=5)


def _nifti(path: Path, *, code: int = 512, bits: int = 16, rows: Sequence[float] = (), values: bytes = b"") -> Path:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 24, 20, 6, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, code, bits)
    struct.pack_into("<8f", header, 76, 1, 0.002, 0.002, 0.003, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    header[123] = 2
    if rows:
        struct.pack_into("<hh", header, 252, 0, 1)
        struct.pack_into("<12f", header, 280, *rows)
    header[344:348] = b"n+1\0"
    path.write_bytes(bytes(header) + (values or VOLUME.tobytes()))
    return path


def test_a_sheared_nifti_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = _nifti(tmp_path / "v.nii", rows=(0.002, 0, 0.001, 0, 0, 0.002, 0, 0, 0, 0, 0.003, 0))
    with pytest.raises(InputError, match="its axes are not perpendicular to each other, which is not read"):
        open_volume(path)


def test_a_nifti_in_colour_is_not_called_truncated(tmp_path: Path) -> None:
    path = _nifti(tmp_path / "v.nii", code=128, bits=24, values=bytes(VOLUME.size * 3))
    with pytest.raises(InputError, match="has 3 values per voxel; a µCT volume is grey"):
        open_volume(path)


@pytest.mark.parametrize("separator", [" : ", "\t"])
def test_a_line_of_a_log_of_bruker_without_an_equals_sign(tmp_path: Path, separator: str) -> None:
    for number, image in enumerate(VOLUME):
        tifffile.imwrite(tmp_path / f"s_rec{number:04d}.tif", image, metadata=None)
    text = f"[Acquisition]\nImage Pixel Size (um)=4.5\n[Reconstruction]\nPixel Size (um){separator}9\n"
    (tmp_path / "s_rec.log").write_text(text)
    with pytest.raises(InputError, match=r"states 'Pixel Size \(um\)' as '9', which is not understood"):
        open_volume(tmp_path)


def test_the_given_size_is_shown_with_the_one_that_the_file_states(tmp_path: Path) -> None:
    path = tmp_path / "um.tif"
    sizes = {"spacing": 3, "unit": "um", "axes": "ZYX"}
    tifffile.imwrite(path, VOLUME, imagej=True, resolution=(0.5, 0.5), metadata=sizes)
    other = open_volume(path, voxel_um=5)
    assert other.voxel_um == (5, 5, 5)
    assert "voxel size given, although um.tif states 3 x 2 x 2 µm" in other.describe()
    assert "although" not in open_volume(path, voxel_um=(3, 2, 2)).describe()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v.tif", b"", "it is empty"),
        ("v.tif", b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        ("v.h5", b"/annex/objects/SHA256E-s1--abc.h5\n", "a pointer of git-annex"),
        ("v.tif", b"<!DOCTYPE html><html>", "a web page"),
        ("v.h5", b"II*\0" + bytes(100), r"its content is TIFF; rename it to end in \.tif"),
        ("v.tif", b"\x89HDF\r\n\x1a\n" + bytes(100), r"its content is HDF5; rename it to end in \.h5"),
        ("IM0001", bytes(128) + b"DICM", "a name without an ending is not a volume format .*it is DICOM; convert"),
        ("v.ims", b"\x89HDF\r\n\x1a\n" + bytes(100), "it is HDF5: copy it to NAME.h5"),
        ("v.isq", b"CTDATA-HEADER_V1", "Scanco IPL"),
        ("v.crdownload", b"x", "the download or copy is not complete"),
    ],
)
def test_the_content_of_a_file_that_is_not_read_is_named(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_volume(tmp_path / name, voxel_um=5)


@pytest.mark.parametrize("name", ["IM0001", "IM0001.dcm"])
def test_a_folder_of_dicom_has_a_way_out(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(128) + b"DICM" + bytes(100))
    with pytest.raises(InputError, match="holds DICOM files, which are not read; convert the series to NIfTI or NRRD"):
        open_volume(tmp_path)


def test_letters_with_accents_as_one_or_two_characters(tmp_path: Path) -> None:
    for number, image in enumerate(VOLUME):
        letter = "\u00e9" if number < 3 else "e\u0301"
        tifffile.imwrite(tmp_path / f"{letter}_{number:04d}.tif", image, metadata=None)
    np.testing.assert_array_equal(open_volume(tmp_path, voxel_um=5).read(0, 6), VOLUME)


def test_a_zarr_group_without_an_image_names_its_arrays(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "v.zarr", mode="w", zarr_format=2)
    array = group.create_array("recon", shape=VOLUME.shape, dtype="uint16", chunks=VOLUME.shape)
    array[:] = VOLUME
    array.attrs["_ARRAY_DIMENSIONS"] = ["z", "y", "x"]
    with pytest.raises(InputError, match=r"describes no image .*holds the arrays recon: give one of them, .*recon"):
        open_volume(tmp_path / "v.zarr", voxel_um=5)
    assert open_volume(tmp_path / "v.zarr" / "recon", voxel_um=5).shape == VOLUME.shape


@pytest.mark.parametrize("address", ["https://host/v.ome.zarr", "s3://bucket/v.ome.zarr"])
def test_an_address_is_not_a_path(address: str) -> None:
    with pytest.raises(InputError, match="is an address, not a path"):
        open_volume(address)


def test_a_volume_of_booleans_that_is_stored_inverted_has_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tifffile.imwrite(tmp_path / "v.tif", VOLUME > 30000)  # tifffile states that white is 0
    with caplog.at_level(logging.WARNING, "tomostain"):
        values = open_volume(tmp_path / "v.tif", voxel_um=5).read(0, 6)
    np.testing.assert_array_equal(values == 0, VOLUME > 30000)
    assert "states that white is 0, in one bit, and is inverted" in caplog.text
