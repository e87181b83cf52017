"""Label volumes and maps on disk."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile

from tomostain.errors import InputError
from tomostain.io import Volume, create_ome_zarr, open_volume
from tomostain.io.metadata.placement import Placement
from tomostain.measure.classes import COLOURS, TissueClass
from tomostain.measure.label_files import create_labels, open_labels, write_labels, write_map
from tomostain.measure.label_source import LabelArray

UM = (20.0, 10.0, 10.0)


@pytest.fixture
def source():
    rng = np.random.default_rng(0)
    labels = rng.choice(np.array(list(TissueClass), np.uint8), (37, 300, 60))
    return LabelArray(labels, UM)


def level(path, number):
    import zarr

    return np.asarray(zarr.open_group(path, mode="r")[str(number)])[0]


def test_labels_are_read_back(tmp_path, source):
    place = Placement(origin_um=(100.0, -50.0, 7.0))
    path = write_labels(tmp_path / "labels.ome.zarr", source, placement=place, provenance={"classifier": "x"})
    back = open_labels(path, source)
    assert back.shape == source.shape
    assert back.voxel_um == UM
    assert back.placement.origin_um == place.origin_um
    np.testing.assert_array_equal(back.read(0, 37), source.labels)
    np.testing.assert_array_equal(back.read(31, 34), source.labels[31:34])


def test_coarser_levels_hold_no_other_classes(tmp_path, source):
    path = write_labels(tmp_path / "labels.ome.zarr", source)
    np.testing.assert_array_equal(level(path, 1), source.labels[::2, ::2, ::2])
    attributes = json.loads((path / "zarr.json").read_text(encoding="utf-8"))["attributes"]
    assert attributes["ome"]["multiscales"][0]["type"] == "nearest"


@pytest.mark.parametrize("z_chunk", [5, 8])
def test_coarser_levels_do_not_depend_on_the_chunks(tmp_path, source, z_chunk):
    writer = create_labels(tmp_path / "labels.ome.zarr", source.shape, UM, z_chunk=z_chunk)
    for start, stop in reversed(writer.z_chunks()):
        writer.write(start, source.read(start, stop))
    writer.finish()
    np.testing.assert_array_equal(level(writer.path, 1), source.labels[::2, ::2, ::2])


def test_labels_state_names_and_colours(tmp_path, source):
    path = write_labels(tmp_path / "labels.ome.zarr", source)
    ome = json.loads((path / "zarr.json").read_text(encoding="utf-8"))["attributes"]["ome"]
    colours = {each["label-value"]: each["rgba"] for each in ome["image-label"]["colors"]}
    names = {each["label-value"]: each["name"] for each in ome["image-label"]["properties"]}
    assert colours[TissueClass.METAL] == [*COLOURS[TissueClass.METAL], 255]
    assert names[TissueClass.NEW_BONE] == "new woven bone"
    assert set(colours) == set(names) == {int(each) for each in TissueClass}


def test_other_volumes_state_neither(tmp_path):
    writer = create_ome_zarr(tmp_path / "grey.ome.zarr", (4, 4, 4), 5, provenance={})
    attributes = json.loads((writer.path / "zarr.json").read_text(encoding="utf-8"))["attributes"]
    assert "image-label" not in attributes["ome"]
    assert not {"reduction", "labels"} & attributes["tomostain"].keys()
    assert attributes["ome"]["multiscales"][0]["type"] == "mean 2×2×2"


def test_labels_are_replaced_only_on_request(tmp_path, source):
    path = write_labels(tmp_path / "labels.ome.zarr", source)
    with pytest.raises(InputError, match="overwrite=True"):
        write_labels(path, source)
    other = LabelArray(np.zeros((4, 5, 6), np.uint8), 10.0)
    assert open_labels(write_labels(path, other, overwrite=True)).shape == (4, 5, 6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_labels_of_a_user(tmp_path, source, dtype):
    """A TIFF stack without a voxel size has that of the stained volume."""
    folder = tmp_path / "labels"
    folder.mkdir()
    for number, image in enumerate(source.labels[:4].astype(dtype)):
        tifffile.imwrite(folder / f"slice{number:03}.tif", image)
    like = LabelArray(source.labels[:4], UM)
    labels = open_labels(folder, like)
    assert labels.voxel_um == UM
    assert labels.read(1, 3).dtype == np.uint8
    np.testing.assert_array_equal(labels.read(0, 4), like.labels)
    with pytest.raises(InputError, match="voxel_um"):
        open_labels(folder)
    assert open_labels(folder, voxel_um=UM).voxel_um == UM


def test_nrrd_labels(tmp_path, source):
    nrrd = pytest.importorskip("nrrd")
    header = {"space directions": np.diag([10.0, 10.0, 20.0]) / 1000, "space": "left-posterior-superior"}
    header["space units"] = ["mm"] * 3
    nrrd.write(str(tmp_path / "labels.nrrd"), source.labels.transpose(2, 1, 0), header)
    labels = open_labels(tmp_path / "labels.nrrd", source)
    np.testing.assert_array_equal(labels.read(3, 9), source.labels[3:9])


@pytest.mark.parametrize(("dtype", "value"), [(np.uint8, 9), (np.uint16, 300), (np.float32, 2.5)])
def test_unknown_values_are_refused_by_file_and_value(tmp_path, source, dtype, value):
    volume = source.labels[:4].astype(dtype)
    volume[2, 3, 4] = value
    tifffile.imwrite(tmp_path / "mine.tif", volume, photometric="minisblack")
    labels = open_labels(tmp_path / "mine.tif", LabelArray(source.labels[:4], UM))
    labels.read(0, 2)
    with pytest.raises(InputError, match=rf"mine\.tif: the values {value:g} are not tissue classes.*5 \(metal\)"):
        labels.read(0, 4)


def test_another_grid_is_refused(tmp_path, source):
    path = write_labels(tmp_path / "labels.ome.zarr", source)
    with pytest.raises(InputError, match=r"labels\.ome\.zarr: has 37 x 300 x 60 voxels, but .* has 36 x 300 x 60"):
        open_labels(path, LabelArray(source.labels[1:], UM))
    with pytest.raises(InputError, match="voxels of 20 x 10 x 10 µm, but the measured volume has 20 x 20 x 20 µm"):
        open_labels(path, LabelArray(source.labels, 20.0))
    assert open_labels(path, LabelArray(source.labels, (20.1, 10.0, 10.0))).shape == source.shape


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_maps(tmp_path, source, dtype):
    values = np.linspace(0, 900, source.labels.size, dtype=np.float32).reshape(source.shape)
    path = write_map(
        tmp_path / "thickness.ome.zarr", lambda start, stop: values[start:stop], source, dtype=dtype, provenance={}
    )
    volume = open_volume(path)
    assert volume.dtype == dtype
    assert volume.voxel_um == UM
    np.testing.assert_allclose(volume.read(0, 37), values if dtype == np.float32 else np.rint(values))
    with pytest.raises(InputError, match=r"x\.ome\.zarr: .*not finite"):
        write_map(tmp_path / "x.ome.zarr", lambda a, b: np.full((b - a, 300, 60), np.nan, np.float32), source)


def test_labels_that_were_turned_or_lie_elsewhere_are_refused(source):
    def at(*origin_um, flip=1.0):
        volume = Volume.from_array(source.labels, UM)
        direction = ((1.0, 0.0, 0.0), (0.0, flip, 0.0), (0.0, 0.0, flip))
        return replace(volume, placement=Placement(origin_um, direction))

    for labels, measured in (
        (at(0, 990, 590, flip=-1.0), at(100, 0, 0)),  # the same place, with the voxels in another order
        (at(100, 0, 0, flip=-1.0), at(100, 0, 0)),
        (at(400, 0, 0), at(100, 0, 0)),
    ):
        with pytest.raises(InputError, match=r"has another position or direction .* than the measured volume"):
            open_labels(labels, measured)
    open_labels(at(100, 5, 0, flip=-1.0), at(100, 0, 0, flip=-1.0))
    open_labels(at(100, 0, 0), at(100, 0, 0, flip=-1.0))  # a format that cannot hold directions
    open_labels(Volume.from_array(source.labels, UM), at(100, 0, 0))
