"""NRRD and MHD headers that name files: inside their folder they are read, outside of it refused; bombs too."""

import gzip
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

from tomostain.errors import InputError
from tomostain.io import open_volume
from tomostain.io.output_folder import check_sources_outside

pytest.importorskip("SimpleITK")
VOLUME = np.random.default_rng(0).integers(0, 60000, (4, 5, 6)).astype("<u2")
OUTSIDE = ("../a.raw", "{tmp}/a.raw", "sub/../../a.raw", "link.raw", "/etc/passwd")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.raw").write_bytes(VOLUME.tobytes())
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "link.raw").symlink_to(tmp_path / "a.raw")
    (tmp_path / "in" / "sub" / "a.raw").write_bytes(VOLUME.tobytes())
    for number, image in enumerate(VOLUME):
        (tmp_path / "in" / f"s{number}.raw").write_bytes(image.tobytes())
    os.mkfifo(tmp_path / "in" / "pipe.raw")
    return tmp_path / "in"


def _nrrd(path: Path, data_file: str, *more: str, encoding: str = "raw") -> Path:
    lines = ["NRRD0004", "type: uint16", "dimension: 3", "sizes: 6 5 4", "endian: little", f"encoding: {encoding}"]
    path.write_text("\n".join([*lines, f"data file: {data_file}", *more, ""]))
    return path


def _mhd(path: Path, data_file: str, *more: str) -> Path:
    lines = ["ObjectType = Image", "NDims = 3", "DimSize = 6 5 4", "ElementType = MET_USHORT"]
    path.write_text("\n".join([*lines, f"ElementDataFile = {data_file}", *more, ""]))
    return path


def _is_volume(path: Path) -> None:
    np.testing.assert_array_equal(open_volume(path, voxel_um=5).read(0, 4), VOLUME)


def _refused(path: Path, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        open_volume(path, voxel_um=5).read(0, 4)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


def test_files_in_the_folder_are_read(folder: Path) -> None:
    _is_volume(_nrrd(folder / "a.nhdr", "sub/a.raw"))
    _is_volume(_nrrd(folder / "b.nhdr", "./sub/a.raw"))
    _is_volume(_nrrd(folder / "c.nhdr", "LIST", "s0.raw", "s1.raw", "s2.raw", "s3.raw"))
    _is_volume(_mhd(folder / "a.mhd", "sub/a.raw"))
    _is_volume(_mhd(folder / "b.mhd", "LIST", "s0.raw", "s1.raw", "s2.raw", "s3.raw"))
    _is_volume(_mhd(folder / "c.mhd", "s%d.raw 0 3 1"))


@pytest.mark.parametrize("name", ["a.mhd", "a.nhdr"])
def test_a_link_to_a_header_next_to_its_values(folder: Path, tmp_path: Path, name: str) -> None:
    write = _mhd if name == "a.mhd" else _nrrd
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / name).symlink_to(write(folder / name, "sub/a.raw"))
    _is_volume(tmp_path / "links" / name)


@pytest.mark.parametrize("name", OUTSIDE)
def test_files_outside_of_the_folder_are_refused(folder: Path, name: str) -> None:
    name = name.format(tmp=folder.parent)
    says = "its data file .* lies outside of .*, and is not read; copy it there"
    _refused(_nrrd(folder / "a.nhdr", name), says)
    _refused(_nrrd(folder / "a.nrrd", name), says)
    _refused(_nrrd(folder / "b.nhdr", "LIST", "s0.raw", "s1.raw", "s2.raw", name), says)
    _refused(_mhd(folder / "a.mhd", name), says)
    _refused(_mhd(folder / "b.mhd", "LIST", "s0.raw", "s1.raw", "s2.raw", name), says)


def test_patterns_that_lead_out_of_the_folder_are_refused(folder: Path) -> None:
    for number in range(4):
        (folder.parent / f"s{number}.raw").write_bytes(VOLUME[number].tobytes())
    _refused(_nrrd(folder / "a.nhdr", "../s%d.raw 0 3 1"), "lies outside of")
    _refused(_mhd(folder / "a.mhd", "../s%d.raw 0 3 1"), "lies outside of")
    _refused(_mhd(folder / "b.mhd", "s%d.raw 0 99999999999 1"), "has no valid numbers")


@pytest.mark.parametrize(("name", "says"), [("lost.raw", "is missing"), ("pipe.raw", "is not a regular file")])
def test_missing_files_and_pipes(folder: Path, name: str, says: str) -> None:
    _refused(_nrrd(folder / "a.nhdr", name), f"its data file {name} {says}")
    _refused(_mhd(folder / "a.mhd", name), f"its data file {name} {says}")


def test_short_values_of_a_detached_header(folder: Path) -> None:
    (folder / "short.raw").write_bytes(VOLUME.tobytes()[:100])
    with pytest.raises(InputError, match="100 bytes, but its header states 240; the file is truncated"):
        open_volume(_mhd(folder / "a.mhd", "short.raw"), voxel_um=5)


def test_compressed_data_that_declare_far_too_much(tmp_path: Path) -> None:
    sizes = "20000 20000 20000"
    head = f"NRRD0004\ntype: uint16\ndimension: 3\nsizes: {sizes}\nendian: little\nencoding: gzip\n\n"
    (tmp_path / "a.nrrd").write_bytes(head.encode() + gzip.compress(bytes(10**6)))
    _refused(tmp_path / "a.nrrd", r"states 1.6e\+04 GB of values, but holds .* MB of compressed data")
    packed = zlib.compress(bytes(10**6))
    lines = ["ObjectType = Image", "NDims = 3", "CompressedData = True", f"CompressedDataSize = {len(packed)}"]
    lines += [f"DimSize = {sizes}", "ElementType = MET_USHORT", "ElementDataFile = LOCAL", ""]
    (tmp_path / "a.mha").write_bytes("\n".join(lines).encode() + packed)
    _refused(tmp_path / "a.mha", "of values, but holds .* MB of compressed data")


def test_more_than_is_declared_is_not_unpacked(tmp_path: Path) -> None:
    head = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 6 5 4\nencoding: gzip\n\n"
    (tmp_path / "a.nrrd").write_bytes(head.encode() + gzip.compress(bytes(120)))
    assert open_volume(tmp_path / "a.nrrd", voxel_um=5).read(0, 4).shape == (4, 5, 6)
    (tmp_path / "a.nrrd").write_bytes(head.encode() + gzip.compress(bytes(5 * 10**7)))
    tracemalloc.start()
    _refused(tmp_path / "a.nrrd", "its compressed data are longer than its header says")
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


def test_a_nrrd_whose_labels_state_another_order(tmp_path: Path) -> None:
    def write(labels: str) -> Path:
        lines = ["NRRD0004", "type: uint16", "dimension: 3", "sizes: 6 5 4", "endian: little", "encoding: raw"]
        text = "\n".join([*lines, f"labels: {labels}", "", ""])
        (tmp_path / "a.nrrd").write_bytes(text.encode() + VOLUME.tobytes())
        return tmp_path / "a.nrrd"

    _is_volume(write('"x" "y" "z"'))
    _is_volume(write('"" "" ""'))
    _refused(write('"z" "y" "x"'), "its labels state the axes z, y, x, fastest first; store it as x, y, z")


def test_messages_of_itk_do_not_reach_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"\x5c\x01\0\0" + bytes(400))
    (tmp_path / "a.mha").write_text("ObjectType = Image\nNDims = 3\nDimSize = 1 x\nElementDataFile = LOCAL\n")
    for name in ("a.nii", "a.mha"):
        command = [sys.executable, "-m", "tomostain", "check", str(tmp_path / name), "--voxel-um", "5"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (result.returncode, result.stdout) == (2, "")
        assert len(result.stderr.strip().splitlines()) == 1


def _mha(path: Path, data: bytes, **changes: str) -> Path:
    fields = {"ObjectType": "Image", "NDims": "3", "DimSize": "6 5 4", "ElementType": "MET_USHORT"} | changes
    lines = [f"{name} = {value}" for name, value in fields.items()]
    path.write_bytes("\n".join([*lines, "ElementDataFile = LOCAL", ""]).encode() + data)
    return path


def test_more_values_than_the_header_states(tmp_path: Path) -> None:
    """Size or type of the values is wrong then, and all values would be."""
    data = VOLUME.tobytes()
    _is_volume(_mha(tmp_path / "a.mha", data))
    _refused(_mha(tmp_path / "a.mha", data, ElementType="MET_UCHAR"), "correct the size or the type of the values")
    _refused(_mha(tmp_path / "a.mha", b"ElementNumberOfChannels = 3\n" + data), "correct the size or the type")
    (tmp_path / "v.raw").write_bytes(data + bytes(100))
    _is_volume(_mhd(tmp_path / "a.mhd", "v.raw"))
    _is_volume(_nrrd(tmp_path / "a.nhdr", "v.raw"))
    (tmp_path / "v.raw").write_bytes(data + bytes(5000))
    for path in (_mhd(tmp_path / "a.mhd", "v.raw"), _nrrd(tmp_path / "a.nhdr", "v.raw")):
        with pytest.raises(InputError, match=r"v\.raw: has 5240 bytes, but its header states 240"):
            open_volume(path, voxel_um=5)


@pytest.mark.parametrize("name", ["a.mha", "a.mhd", "a.nrrd", "a.nii.gz"])
def test_compressed_values_are_compared_with_their_checksum(tmp_path: Path, name: str) -> None:
    """SimpleITK returns wrong values of some files without an error."""
    import SimpleITK as sitk

    path, values = tmp_path / name, np.random.default_rng(0).integers(0, 60000, (20, 50, 60)).astype("<u2")
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.02, 0.02, 0.02))
    sitk.WriteImage(image, str(path), True)
    np.testing.assert_array_equal(open_volume(path, voxel_um=20).read(0, 20), values)
    data = path.with_suffix(".zraw") if name == "a.mhd" else path
    good = data.read_bytes()
    middle = len(good) // 2
    for bad in (
        good[:middle] + bytes([good[middle] ^ 16]) + good[middle + 1 :],
        good[:middle] + bytes(2000) + good[middle + 2000 :],
        good[:-1],
        good[: middle // 2],
    ):
        data.write_bytes(bad)
        with pytest.raises(InputError, match=r"damaged|truncated|incomplete") as caught:
            open_volume(path, voxel_um=20).read(0, 20)
        assert "\n" not in str(caught.value)


def test_a_nifti_whose_values_begin_in_its_header(tmp_path: Path) -> None:
    import SimpleITK as sitk

    sitk.WriteImage(sitk.GetImageFromArray(VOLUME), str(tmp_path / "a.nii"))
    content = bytearray((tmp_path / "a.nii").read_bytes())
    for offset in (0.0, 348.0):
        struct.pack_into("<f", content, 108, offset)
        (tmp_path / "a.nii").write_bytes(content)
        _refused(tmp_path / "a.nii", "states that its values begin at byte")


@pytest.mark.parametrize("dimensions", ["1000000000", "-3", "0", "abc"])
def test_an_mha_of_impossible_dimensions_is_refused_at_once(tmp_path: Path, dimensions: str) -> None:
    _refused(_mha(tmp_path / "a.mha", VOLUME.tobytes(), NDims=dimensions), r"dimensions \(NDims\), not 1 to 10")


@pytest.mark.parametrize("skipped", ["-5", "1000000000000000", "abc"])
def test_an_impossible_size_of_the_header(tmp_path: Path, skipped: str) -> None:
    _refused(_mha(tmp_path / "a.mha", VOLUME.tobytes(), HeaderSize=skipped), "HeaderSize")
    if skipped != "abc":
        path = _nrrd(tmp_path / "a.nhdr", "sub/a.raw", f"byte skip: {skipped}")
        _refused(path, "header is damaged")


def test_an_mha_of_text_is_refused(tmp_path: Path) -> None:
    """SimpleITK may end the process where the text is not one."""
    _refused(_mha(tmp_path / "a.mha", VOLUME.tobytes(), BinaryData="False"), "its values are text")


def test_a_voxel_size_that_overflows(tmp_path: Path) -> None:
    _refused(_mha(tmp_path / "a.mha", VOLUME.tobytes(), ElementSpacing="1e300 1 1"), r"states voxels of 1e\+300")


def test_compressed_values_that_are_not_all_there_are_refused_when_opened(tmp_path: Path) -> None:
    packed = zlib.compress(VOLUME.tobytes())
    (tmp_path / "a.zraw").write_bytes(packed[:-1])
    path = _mhd(tmp_path / "a.mhd", "a.zraw")
    path.write_text(f"CompressedData = True\nCompressedDataSize = {len(packed)}\n" + path.read_text())
    with pytest.raises(InputError, match="of compressed values, but there are"):
        open_volume(path, voxel_um=5)


@pytest.mark.parametrize("size", [0, 347, -1])
def test_a_nifti_whose_header_has_another_length(tmp_path: Path, size: int) -> None:
    import SimpleITK as sitk

    sitk.WriteImage(sitk.GetImageFromArray(VOLUME), str(tmp_path / "a.nii"))
    _is_volume(tmp_path / "a.nii")
    content = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "a.nii").write_bytes(struct.pack("<i", size) + content[4:])
    _refused(tmp_path / "a.nii", "does not begin with a header of NIfTI")


def test_an_input_that_is_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "v.nrrd").symlink_to("v.nrrd")
    with pytest.raises(InputError, match=r"v\.nrrd: is a link that leads back to itself"):
        check_sources_outside(tmp_path / "out", "export", [tmp_path / "v.nrrd"])
    with pytest.raises(InputError, match=r"v\.nrrd: "):
        open_volume(tmp_path / "v.nrrd")
