"""Read one array from the file layout of each facility: voxels and voxel size must agree."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from tests.support import facilities as lay
from tomostain.errors import InputError
from tomostain.io import open_volume, write_stack

Array = np.ndarray


@pytest.fixture
def volume() -> Array:
    return np.random.default_rng(0).normal(size=(7, 12, 17)).astype(np.float32)


@pytest.mark.parametrize("name", lay.LAYOUTS)
def test_every_facility_gives_the_same_volume_and_voxel_size(tmp_path: Path, volume: Array, name: str) -> None:
    opened = open_volume(lay.LAYOUTS[name](tmp_path, volume))
    np.testing.assert_allclose(opened.voxel_um, (lay.VOXEL_UM,) * 3, rtol=1e-4)
    assert (opened.shape, opened.dtype) == (volume.shape, volume.dtype)
    for start, stop in ((0, 7), (2, 5), (6, 7)):
        np.testing.assert_array_equal(opened.read(start, stop), volume[start:stop])


@pytest.mark.parametrize("name", lay.SILENT)
def test_programs_that_write_no_voxel_size_are_asked_for_it(tmp_path: Path, volume: Array, name: str) -> None:
    path = lay.SILENT[name](tmp_path, volume)
    with pytest.raises(InputError, match="the voxel size is not in the file; give it with `voxel_um`"):
        open_volume(path)
    opened = open_volume(path, voxel_um=5)
    np.testing.assert_array_equal(opened.read(0, 7), volume)
    assert opened.voxel_from == "given"


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("Hereon", "reco_rawBin2.log"),
        ("Bruker", "rat3_A12__rec.log"),
        ("nabu TIFF", "bone_vol_infos.txt"),
        ("nabu", "rec.hdf5"),
    ],
)
def test_check_states_the_source_of_the_voxel_size(tmp_path: Path, volume: Array, name: str, source: str) -> None:
    opened = open_volume(lay.LAYOUTS[name](tmp_path, volume))
    assert opened.voxel_from == source
    assert opened.describe().endswith(f"voxel size from {source}")


def test_the_first_and_last_slice_are_named(tmp_path: Path, volume: Array) -> None:
    opened = open_volume(lay.skyscan(tmp_path, volume))
    assert opened.describe() == (
        "7 x 12 x 17 voxels of 5 x 5 x 5 µm (z, y, x), float32; rat3_A12__rec00000421.tif to "
        "rat3_A12__rec00000427.tif; voxel size from rat3_A12__rec.log"
    )
    assert " to " not in open_volume(lay.nabu(tmp_path, volume)).describe()


def test_the_given_voxel_size_stands_above_file_and_log(tmp_path: Path, volume: Array) -> None:
    path = lay.hereon(tmp_path, volume)
    (path.parent / "reco_rawBin2.log").write_text(lay.hereon_log() + "eff_pixel_size : 9 micron\n")
    assert open_volume(path, voxel_um=(3, 2, 1)).voxel_um == (3, 2, 1)


def test_file_and_log_that_contradict_each_other(tmp_path: Path, volume: Array) -> None:
    write_stack(tmp_path / "stack", volume, voxel_um=(7, 7, 7))
    log = tmp_path / "stack" / "a_rec.log"
    log.write_text(lay.skyscan_log(5))
    with pytest.raises(
        InputError,
        match=r"slice_0000.tif states voxels of z 7 µm, y 7 µm, x 7 µm, \S+a_rec.log states 5 µm; give the right size "
        "with `voxel_um`",
    ):
        open_volume(tmp_path / "stack")
    log.write_text(lay.skyscan_log(7.05))
    opened = open_volume(tmp_path / "stack")
    np.testing.assert_allclose(opened.voxel_um, 7)
    assert opened.voxel_from == "slice_0000.tif"


def test_plain_resolution_tags_are_completed_by_the_log(tmp_path: Path, volume: Array) -> None:
    folder = lay.slices(tmp_path / "a", volume, "a_rec{:08d}.tif", resolution=(2000, 2000), resolutionunit="CENTIMETER")
    with pytest.raises(InputError, match=r"only y 5 µm, x 5 µm"):
        open_volume(folder)
    (folder / "a_rec.log").write_text(lay.skyscan_log(5, step=3, prefix="a_rec"))
    assert open_volume(folder).voxel_um == (15, 5, 5)


def test_a_size_in_a_wrong_unit_is_refused(tmp_path: Path, volume: Array) -> None:
    # nabu 2026.1.2 passes its pixel size in µm to a writer that expects metres (pipeline/fullfield/chunked.py).
    path = lay.nabu_zarr(tmp_path, volume, unit="meter")
    with pytest.raises(InputError, match=r"rec\.zarr: states a voxel size of 5e\+06 µm, so its unit is wrong; give it"):
        open_volume(path)
    assert open_volume(path, voxel_um=5).voxel_um == (5, 5, 5)


@pytest.mark.parametrize("names", [("a_1.tif", "a_01.tif"), ("a_1.tif", "a_2.tif", "a_002.tif", "a_3.tif")])
def test_one_number_written_twice_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        tifffile.imwrite(tmp_path / name, np.zeros((3, 4), np.uint8))
    with pytest.raises(InputError, match=r"a_\d+.tif: has the same slice number \d as a_\d+.tif; remove one"):
        open_volume(tmp_path, voxel_um=5)


def test_a_gap_names_the_slices_about_it(tmp_path: Path, volume: Array) -> None:
    path = lay.hereon(tmp_path, volume)
    (path / "reco_syn7_Mg10Gd_000003.tif").unlink()
    with pytest.raises(
        InputError,
        match=r"slice number 3 is missing \(reco_syn7_Mg10Gd_000002.tif is followed by reco_syn7_Mg10Gd_000004.tif\)",
    ):
        open_volume(path)


@pytest.mark.parametrize("write", [lay.nabu, lay.httomo, lay.nxtomoproc], ids=["nabu", "httomo", "NXtomoproc"])
def test_an_absurd_volume_is_refused_before_memory_is_taken(
    tmp_path: Path, volume: Array, write: Callable[[Path, Array], Path]
) -> None:
    path = write(tmp_path, volume)
    with h5py.File(path, "a") as file:
        name = next(n for n in ("data", "entry/data/data", "entry0000/reconstruction/results/data") if n in file)
        del file[name]
        file.create_dataset(name, shape=(10**6, 10**6, 10**6), dtype="f4", chunks=(1, 64, 64))
    with pytest.raises(InputError, match="more than can be read at once"):
        open_volume(path, voxel_um=5, dataset=name)
