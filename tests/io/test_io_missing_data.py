"""Data that were never written or not copied: an error that names the slices, or zeros with `allow_missing`."""

import json
import logging
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from tomostain.cli.main import run
from tomostain.errors import InputError
from tomostain.imaging.intensity_estimation import reference_samples
from tomostain.io import create_ome_zarr, open_volume, write_stack
from tomostain.io.volumes.missing import format_slices, merged, ranges_of
from tomostain.io.volumes.slice_files import natural_slices

Z, Y, X = np.indices((9, 16, 20))
VOLUME = (20000 + Z * 100 + Y * 7 + X).astype(np.uint16)


def _refused(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_volume(path, voxel_um=5)
    assert str(path) in str(caught.value)
    assert "`allow_missing=True`" in str(caught.value)
    assert "\n" not in str(caught.value)


def _filled(path: Path, missing: tuple[tuple[int, int], ...], values: np.ndarray = VOLUME) -> None:
    """Compare the volume with zeros in the missing slices, and the others with what was written."""
    volume = open_volume(path, voxel_um=5, allow_missing=True)
    assert volume.missing == missing
    assert "filled with zeros" in volume.describe()
    expected = values.copy()
    for start, stop in missing:
        expected[start:stop] = 0
    np.testing.assert_array_equal(np.asarray(volume), expected)


def _hdf5(path: Path, slices: list[int], **options: object) -> Path:
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", shape=VOLUME.shape, dtype="u2", **options)
        for z in slices:
            data[z] = VOLUME[z]
    return path


def test_hdf5_chunks_that_were_not_written(tmp_path: Path) -> None:
    path = _hdf5(tmp_path / "a.h5", list(range(5)), chunks=(1, 16, 20))
    _refused(path, "slices 5 to 8 of /data")
    _filled(path, ((5, 9),))


def test_an_hdf5_dataset_that_was_not_written(tmp_path: Path) -> None:
    _refused(_hdf5(tmp_path / "contiguous.h5", []), "slices 0 to 8")
    _refused(_hdf5(tmp_path / "chunked.h5", [], chunks=(2, 8, 8)), "slices 0 to 8")


def test_one_missing_chunk_of_a_slice(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", shape=VOLUME.shape, dtype="u2", chunks=(2, 8, 20))
        data[:, :8] = VOLUME[:, :8]
        data[:4, 8:] = VOLUME[:4, 8:]
        data[6:, 8:] = VOLUME[6:, 8:]
    _refused(path, "slices 4 and 5 of /data")


def test_fill_values_that_are_not_numbers_become_zero(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("data", shape=VOLUME.shape, dtype="f4", chunks=(1, 16, 20), fillvalue=np.nan)
        data[:8] = VOLUME[:8]
    _filled(tmp_path / "a.h5", ((8, 9),), VOLUME.astype(np.float32))


def test_virtual_datasets_with_gaps(tmp_path: Path) -> None:
    for number in range(2):
        _hdf5(tmp_path / f"part{number}.h5", list(range(9)) if number == 0 else [0, 1, 2], chunks=(1, 16, 20))
    layout = h5py.VirtualLayout((30, 16, 20), "u2")
    for number in range(2):
        layout[9 * number : 9 * number + 9] = h5py.VirtualSource(f"part{number}.h5", "data", VOLUME.shape)
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file.create_virtual_dataset("data", layout)
    _refused(tmp_path / "all.h5", "slices 9 to 29 of /data")


def test_an_external_file_that_is_too_short(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(VOLUME.tobytes()[: 6 * 16 * 20 * 2 + 10])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", VOLUME.shape, "u2", external=[("a.raw", 0, h5py.h5f.UNLIMITED)])
    _refused(tmp_path / "a.h5", "slices 6 to 8 of /data")


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("separator", [".", "/"])
def test_zarr_chunks_that_were_not_copied(tmp_path: Path, zarr_format: int, separator: str) -> None:
    path = tmp_path / "a.zarr"
    encoding = {"name": "v2" if zarr_format == 2 else "default", "separator": separator}
    options = {"chunk_key_encoding": encoding}
    array = zarr.create_array(
        path, shape=VOLUME.shape, chunks=(1, 16, 20), dtype="u2", zarr_format=zarr_format, **options
    )
    array[...] = VOLUME
    assert open_volume(path, voxel_um=5).missing == ()
    for z in (3, 7):
        key = array.metadata.encode_chunk_key((z, 0, 0))
        (path / key).unlink()
    _refused(path, "slices 3 and 7 have chunks that are missing")
    _filled(path, ((3, 4), (7, 8)))


def test_empty_chunks_in_a_shard(tmp_path: Path) -> None:
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=VOLUME.shape, shards=(6, 16, 20), chunks=(2, 16, 20), dtype="u2"
    )
    array[...] = VOLUME
    assert open_volume(tmp_path / "a.zarr", voxel_um=5).missing == ()
    array[2:4] = 0  # zarr does not store chunks of zeros
    array[6:] = 0
    _refused(tmp_path / "a.zarr", "slices 2, 3 and 6 to 8 have chunks that are missing")


def test_a_chunk_that_is_a_folder_or_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    zarr.create_array(path, shape=VOLUME.shape, chunks=(1, 16, 20), dtype="u2", zarr_format=2)[...] = VOLUME
    (path / "2.0.0").unlink()
    (path / "2.0.0").mkdir()
    with pytest.raises(InputError, match=r"2\.0\.0: is a folder, but a chunk is a file"):
        open_volume(path, voxel_um=5)
    (path / "2.0.0").rmdir()
    os.mkfifo(path / "2.0.0")
    with pytest.raises(InputError, match=r"2\.0\.0: is a pipe"):
        open_volume(path, voxel_um=5)


def test_a_missing_shard_of_a_volume_that_tomostain_wrote(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    writer = create_ome_zarr(path, VOLUME.shape, 5, z_chunk=3, provenance={}, dtype="uint16")
    values = VOLUME.copy()
    values[3:6] = 0  # a shard of zeros is not stored, and not missing
    for start, stop in writer.pending():
        writer.write(start, values[start:stop])
    writer.finish()
    np.testing.assert_array_equal(np.asarray(open_volume(path)), values)
    (path / "0/c/0/2/0/0").unlink()
    _refused(path, r"slices 6 to 8 are missing \(file 0/c/0/2/0/0\)")


def _folder(folder: Path, suffix: str = ".tif") -> Path:
    folder.mkdir()
    for z, image in enumerate(VOLUME):
        tifffile.imwrite(folder / f"slice_{z:04d}{suffix}", image, metadata=None)
    return folder


def test_gaps_and_broken_links_in_a_folder(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "scan")
    for z in (6, 7):
        (folder / f"slice_{z:04d}.tif").unlink()
    _refused(folder, r"slice numbers 6 to 7 are missing \(slice_0005.tif is followed by slice_0008.tif\)")
    with pytest.raises(InputError, match="restore it, or renumber the slices"):
        natural_slices(folder)
    (folder / "slice_0008.tif").unlink()
    (folder / "slice_0008.tif").symlink_to("../.git/annex/objects/slice_0008.tif")
    _refused(folder, "slice_0008.tif is a link to a file that is not there")
    _filled(folder, ((6, 9),))


@pytest.mark.parametrize("name", ["slice_0008.tif.part", ".slice_0008.tif.aB3dE6", ".slice_0008.tif.icloud"])
def test_a_last_slice_that_is_still_being_copied(tmp_path: Path, name: str) -> None:
    folder = _folder(tmp_path / "scan")
    (folder / "slice_0008.tif").rename(folder / name)
    _refused(folder, "slice_0008.tif.* is compressed, or its copy is not complete")
    _filled(folder, ((8, 9),))


def test_an_empty_last_slice(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "scan")
    (folder / "slice_0008.tif").write_bytes(b"")
    _refused(folder, "slice_0008.tif: is empty, a truncated copy")
    _filled(folder, ((8, 9),))


def test_a_slice_that_is_a_folder_or_a_pipe(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "scan")
    (folder / "slice_0009.tif").mkdir()
    with pytest.raises(InputError, match=r"slice_0009\.tif: is a folder, but a slice is a file"):
        open_volume(folder, voxel_um=5)
    (folder / "slice_0009.tif").rmdir()
    os.mkfifo(folder / "slice_0009.tif")
    with pytest.raises(InputError, match=r"slice_0009\.tif: is a pipe"):
        open_volume(folder, voxel_um=5)


def _without_data(path: Path, page: int) -> None:
    """Set the bytes of the first tile or strip of a page to 0, as for a part that was never written."""
    with tifffile.TiffFile(path) as tif:
        tags = tif.pages[page].tags
        kinds = ("TileByteCounts", "TileOffsets") if "TileByteCounts" in tags else ("StripByteCounts", "StripOffsets")
        places = [(tags[kind].valueoffset, {3: 2, 4: 4, 16: 8}[int(tags[kind].dtype)]) for kind in kinds]
    with path.open("r+b") as file:
        for offset, size in places:
            file.seek(offset)
            file.write(b"\0" * size)


def test_tiles_of_no_bytes(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", VOLUME, tile=(16, 16), photometric="minisblack", metadata=None, compression="zlib"
    )
    _without_data(tmp_path / "a.tif", 3)
    _refused(tmp_path / "a.tif", r"strips or tiles of slice 3 were never written \(0 bytes\)")
    assert open_volume(tmp_path / "a.tif", voxel_um=5, allow_missing=True).missing == ((3, 4),)
    folder = _folder(tmp_path / "scan")
    tifffile.imwrite(folder / "slice_0002.tif", VOLUME[2], compression="zlib", rowsperstrip=4, metadata=None)
    _without_data(folder / "slice_0002.tif", 0)
    _refused(folder, r"strips or tiles of slice_0002\.tif were never written \(0 bytes; slice 2\)")


def _ome(folder: Path, order: list[int], announced: int, *, more: str = "", sizes: str = 'SizeC="1" SizeT="1"') -> Path:
    """Write an OME-TIFF of one file for each slice; slice z is in the file number ``order[z]``."""
    folder.mkdir()
    parts = "".join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="s_{number:03d}.ome.tif">urn:uuid:{z}</UUID>'
        "</TiffData>"
        for z, number in enumerate(order)
    )
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="20" SizeY="16" SizeZ="{announced}" {sizes} '
        f'PhysicalSizeX="5" PhysicalSizeY="5" PhysicalSizeZ="7"><Channel ID="Channel:0:0"/>{parts}{more}</Pixels>'
        "</Image></OME>"
    )
    for z, number in enumerate(order):
        file = folder / f"s_{number:03d}.ome.tif"
        tifffile.imwrite(file, VOLUME[z], photometric="minisblack", description=xml.encode(), metadata=None)
    return folder


def test_a_missing_file_of_an_ome_tiff(tmp_path: Path) -> None:
    folder = _ome(tmp_path / "a", list(range(9)), 9)
    assert open_volume(folder).voxel_um == (7, 5, 5)
    (folder / "s_008.ome.tif").unlink()
    _refused(folder, r"8 of 9 slices .* s_008\.ome\.tif is missing")
    _filled(folder, ((8, 9),))
    _refused(folder / "s_000.ome.tif", r"slice 8 of 9 that its metadata announce is missing \(file s_008\.ome\.tif\)")


def test_the_order_of_an_ome_tiff_is_that_of_its_xml(tmp_path: Path) -> None:
    folder = _ome(tmp_path / "a", list(range(8, -1, -1)), 9)
    np.testing.assert_array_equal(np.asarray(open_volume(folder)), VOLUME)


def test_renamed_files_of_an_ome_tiff_are_counted(tmp_path: Path) -> None:
    folder = _ome(tmp_path / "a", list(range(9)), 9)
    for file in list(folder.iterdir()):
        file.rename(folder / file.name.replace("s_", "scan_"))
    assert open_volume(folder).shape == VOLUME.shape
    (folder / "scan_008.ome.tif").unlink()
    _refused(folder, "8 of 9 slices that its OME-XML announces are in the folder")


def test_ome_tiff_that_is_not_a_volume_or_references_another_folder(tmp_path: Path) -> None:
    folder = _ome(tmp_path / "channels", list(range(9)), 3, sizes='SizeC="3" SizeT="1"')
    with pytest.raises(InputError, match=r"s_000\.ome\.tif: its OME-XML states 3 channels or time points"):
        open_volume(folder)
    _ome(folder / "volume", list(range(9)), 9)
    _ome(folder / "truth", [0], 1)  # fewer files
    with pytest.raises(InputError, match=r"are the slices in .*volume\?"):
        open_volume(folder)
    more = '<TiffData FirstZ="9"><UUID FileName="../../secret.tif">urn:uuid:9</UUID></TiffData>'
    for path in (_ome(tmp_path / "outside", list(range(9)), 10, more=more), tmp_path / "outside/s_000.ome.tif"):
        with pytest.raises(InputError, match=r"name the file \.\./\.\./secret\.tif, outside its folder"):
            open_volume(path)


def test_the_slices_of_a_message() -> None:
    assert format_slices(ranges_of([1, 5, 6, 7])) == "slices 1 and 5 to 7"
    assert format_slices(ranges_of(range(0, 40, 2))) == "slices 0, 2, 4, 6, 8 and 15 more"
    assert merged([(3, 3), (0, 2)]) == ((0, 2),)


def test_zeros_do_not_shift_the_estimated_grey_values(tmp_path: Path) -> None:
    path = _hdf5(tmp_path / "a.h5", [0, 1, 7, 8], chunks=(1, 16, 20))
    assert reference_samples(open_volume(path, voxel_um=5, allow_missing=True)).min() > 0


def test_a_region_lists_its_missing_slices(tmp_path: Path) -> None:
    path = _hdf5(tmp_path / "a.h5", [0, 1, 2, 6, 7, 8], chunks=(1, 16, 20))
    volume = open_volume(path, voxel_um=5, allow_missing=True)
    assert volume.region((2, 0, 0), (5, 4, 4)).missing == ((1, 3),)
    assert volume.missing_record() == {"missing_slices": [[3, 5]]}


def test_a_warning_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = _hdf5(tmp_path / "a.h5", [0, 1], chunks=(1, 16, 20))
    with caplog.at_level(logging.WARNING, "tomostain"):
        open_volume(path, voxel_um=5, allow_missing=True)
    assert "slices 2 to 8" in caplog.text


def test_the_command_line_names_the_option_and_records_what_was_filled(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = _hdf5(tmp_path / "a.h5", [0, 1, 2, 3, 4, 5], chunks=(1, 16, 20))
    out = tmp_path / "b.ome.zarr"
    command = ["resample", str(path), str(out), "--voxel-um", "10", "--input-voxel-um", "5"]
    assert run(command) == 2
    assert "add --allow-missing to fill with zeros" in capfd.readouterr().err
    assert run([*command, "--allow-missing"]) == 0
    attributes = json.loads((out / "zarr.json").read_text())["attributes"]
    assert attributes["tomostain"]["provenance"]["input"]["missing_slices"] == [[6, 8]]
    assert run(["check", str(path), "--voxel-um", "5", "--allow-missing"]) == 0
    assert "slices 6 to 8 filled with zeros" in capfd.readouterr().out


def _bmp(folder: Path, mode: str = "L") -> np.ndarray:
    folder.mkdir()
    values = (VOLUME % 251).astype(np.uint8)
    for z, image in enumerate(values):
        Image.fromarray(image).convert(mode).save(folder / f"rat_rec{z:08d}.bmp")
    return values


def test_a_folder_of_bmp_is_read(tmp_path: Path) -> None:
    values = _bmp(tmp_path / "a")
    Image.fromarray(values[0]).save(tmp_path / "a" / "rat_rec_spr.bmp")
    np.testing.assert_array_equal(np.asarray(open_volume(tmp_path / "a", voxel_um=5)), values)
    (tmp_path / "a" / "rat_rec00000004.bmp").unlink()
    _refused(tmp_path / "a", "slice number 4 is missing")


@pytest.mark.parametrize(("tiff", "bmp", "is_read"), [(6, 1, True), (6, 3, True), (6, 4, False), (1, 9, False)])
def test_a_few_bmp_next_to_tiff_slices_are_not_slices(tmp_path: Path, tiff: int, bmp: int, is_read: bool) -> None:
    values = _bmp(tmp_path / "a")
    for z, file in enumerate(sorted((tmp_path / "a").iterdir())):
        if z < tiff:
            tifffile.imwrite(file.with_suffix(".tif"), values[z])
        if z >= bmp:
            file.unlink()
    if is_read:
        assert len(open_volume(tmp_path / "a", voxel_um=5)) == tiff
        return
    with pytest.raises(InputError, match=f"holds {tiff} TIFF and {bmp} BMP files"):
        open_volume(tmp_path / "a", voxel_um=5)


def test_bmp_that_are_not_grey_or_not_complete(tmp_path: Path) -> None:
    _bmp(tmp_path / "rgb", "RGB")
    with pytest.raises(InputError, match=r"rat_rec00000000\.bmp: a BMP with colours .* a µCT volume is grey"):
        open_volume(tmp_path / "rgb", voxel_um=5)
    _bmp(tmp_path / "cut")
    path = tmp_path / "cut" / "rat_rec00000008.bmp"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(InputError, match=r"rat_rec00000008\.bmp: truncated BMP"):
        open_volume(tmp_path / "cut", voxel_um=5)


def test_the_error_of_a_folder_of_other_images_lists_its_content(tmp_path: Path) -> None:
    values = _bmp(tmp_path / "a")
    for z, image in enumerate(values):
        Image.fromarray(image).save(tmp_path / f"slice_{z}.png")
    with pytest.raises(InputError, match=r"it holds 9 \.png files, which are not read .*; save them as TIFF slices"):
        open_volume(tmp_path, voxel_um=5)
    write_stack(tmp_path / "b", values, voxel_um=5)
    for file in list((tmp_path / "a").iterdir()):
        file.rename(tmp_path / "b" / file.name)
    with pytest.raises(InputError, match="holds 9 TIFF and 9 BMP files"):
        open_volume(tmp_path / "b", voxel_um=5)


@pytest.mark.parametrize("kind", ["slices", "zarr"])
def test_opening_asks_the_file_system_at_most_once_for_each_part(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, parts = tmp_path / f"a.{kind}", 40
    if kind == "slices":
        path.mkdir()
        for z in range(parts):
            tifffile.imwrite(path / f"a{z:02}.tif", VOLUME[0])
    else:
        zarr.create_array(path, shape=(parts, 4, 4), chunks=(1, 4, 4), dtype="u2")[...] = 1
    calls: list[object] = []
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda *args, **options: (calls.append(args), stat(*args, **options))[1])
    assert open_volume(path, voxel_um=5).shape[0] == parts
    opened = [args for args in calls if str(args[0]).startswith(str(path))]  # not those of imports
    assert len(opened) < parts + 30


def _masked(path: Path, **options: object) -> np.ndarray:
    """Write a volume with a column of chunks of zeros at a corner, which Zarr does not store by default."""
    values = VOLUME.copy()
    values[:, :8, :10] = 0
    array = zarr.create_array(path, shape=VOLUME.shape, dtype="u2", **options)
    array[...] = values
    return values


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (3, 8, 10), "zarr_format": 2},
        {"chunks": (3, 8, 10)},
        {"chunks": (3, 8, 10), "shards": (6, 16, 20)},
    ],
    ids=["zarr 2", "zarr 3", "shards"],
)
def test_chunks_of_zeros_in_layers_that_have_others(
    tmp_path: Path, options: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    values = _masked(tmp_path / "a.zarr", **options)
    with caplog.at_level(logging.WARNING, "tomostain.io"):
        volume = open_volume(tmp_path / "a.zarr", voxel_um=5)
    assert volume.missing == ()
    np.testing.assert_array_equal(np.asarray(volume), values)
    assert [record.message.split(": ", 1)[1] for record in caplog.records] == [
        "some chunks of slices 0 to 8 are not stored; they are read as zeros, as their fill value states"
    ]


def test_a_layer_without_chunks_in_a_masked_zarr(tmp_path: Path) -> None:
    values = _masked(tmp_path / "a.zarr", chunks=(3, 8, 10))
    for file in (tmp_path / "a.zarr/c/1").rglob("*"):
        if file.is_file():
            file.unlink()
    _refused(tmp_path / "a.zarr", "slices 3 to 5 have chunks that are missing")
    _filled(tmp_path / "a.zarr", ((3, 6),), values)


def test_a_missing_shard_of_a_masked_zarr(tmp_path: Path) -> None:
    _masked(tmp_path / "a.zarr", chunks=(3, 4, 5), shards=(3, 8, 10))
    _refused(tmp_path / "a.zarr", "slices 0 to 8 have chunks that are missing")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_another_fill_value_of_a_zarr_is_replaced_by_zeros(tmp_path: Path, zarr_format: int) -> None:
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=VOLUME.shape, chunks=(3, 16, 10), dtype="u2", fill_value=7, zarr_format=zarr_format
    )
    array[:6] = VOLUME[:6]
    array[6:, :, 10:] = VOLUME[6:, :, 10:]
    _refused(tmp_path / "a.zarr", "slices 6 to 8 have chunks that are missing")
    volume = open_volume(tmp_path / "a.zarr", voxel_um=5, allow_missing=True)
    expected = VOLUME.copy()
    expected[6:, :, :10] = 0
    assert volume.missing == ((6, 9),)
    np.testing.assert_array_equal(np.asarray(volume), expected)


@pytest.mark.parametrize("is_chunked", [True, False])
def test_another_fill_value_of_an_hdf5_dataset_is_replaced_by_zeros(tmp_path: Path, is_chunked: bool) -> None:
    expected = np.zeros_like(VOLUME)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        chunks = (2, 6, 20, 1) if is_chunked else None
        data = file.create_dataset("data", shape=(*VOLUME.shape, 1), dtype="u2", fillvalue=7, chunks=chunks)
        if is_chunked:
            data[:4, ..., 0] = VOLUME[:4]
            data[4:, :6, :, 0] = VOLUME[4:, :6]
            data[4, 0, 0] = 7
            expected[:4], expected[4:, :6] = VOLUME[:4], VOLUME[4:, :6]
            expected[4, 0, 0] = 7
    volume = open_volume(tmp_path / "a.h5", voxel_um=5, allow_missing=True)
    assert volume.missing == (((4, 9),) if is_chunked else ((0, 9),))
    np.testing.assert_array_equal(np.asarray(volume), expected)
    np.testing.assert_array_equal(volume.read(3, 6), expected[3:6])


def test_a_slice_that_is_a_link_to_itself_is_missing(tmp_path: Path) -> None:
    write_stack(tmp_path / "stack", VOLUME, voxel_um=5)
    (tmp_path / "stack/slice_0003.tif").unlink()
    (tmp_path / "stack/slice_0003.tif").symlink_to("slice_0003.tif")
    (tmp_path / "stack/other").symlink_to("other")
    _refused(tmp_path / "stack", r"slice_0003\.tif is a link to a file that is not there")
    _filled(tmp_path / "stack", ((3, 4),))


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_chunks_under_other_names_than_the_metadata_state_are_missing(tmp_path: Path, zarr_format: int) -> None:
    path = tmp_path / "a.zarr"
    zarr.create_array(path, shape=VOLUME.shape, chunks=(3, 16, 20), dtype="u2", zarr_format=zarr_format)[:] = VOLUME
    open_volume(path, voxel_um=5)
    file = path / (".zarray" if zarr_format == 2 else "zarr.json")
    values = json.loads(file.read_text())
    other = {"dimension_separator": "/"} if zarr_format == 2 else {"chunk_key_encoding": {"name": "v2"}}
    file.write_text(json.dumps(values | other))
    _refused(path, "slices 0 to 8 have chunks that are missing")
    _filled(path, ((0, 9),))


@pytest.mark.parametrize(("site", "target"), [("1/0/1", "1"), ("1/0/1", "nowhere"), ("1/0", "0"), ("1", "nowhere")])
def test_broken_links_to_chunks_are_missing(tmp_path: Path, site: str, target: str) -> None:
    """Also where chunks of zeros need not be stored: the link says that there was a chunk."""
    path = tmp_path / "a.zarr"
    array = zarr.create_array(path, shape=VOLUME.shape, chunks=(3, 16, 10), dtype="u2", zarr_format=3, fill_value=0)
    array[:] = VOLUME
    place = path / "c" / site
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    place.symlink_to(target)
    _refused(path, "slices 3 to 5 have chunks that are missing")
