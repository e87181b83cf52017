"""Axes and voxel sizes in HDF5: choice of the dataset, order of the axes, and invalid files."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support import facilities as lay
from tomostain.errors import InputError
from tomostain.io import open_volume

VOLUME = np.random.default_rng(0).integers(0, 60000, (4, 6, 8)).astype(np.uint16)


@pytest.mark.parametrize("axes", ["zyx", "xyz", "yzx", "xzy"])
@pytest.mark.parametrize("old", [False, True])
def test_axes_in_any_order_come_back_as_z_y_x(tmp_path: Path, axes: str, old: bool) -> None:
    opened = open_volume(lay.nxtomoproc(tmp_path, VOLUME, axes, old))
    assert opened.shape == VOLUME.shape
    np.testing.assert_array_equal(opened.read(1, 3), VOLUME[1:3])


def _data_group(tmp_path: Path, volume: np.ndarray = VOLUME) -> Path:
    with h5py.File(tmp_path / "a.nxs", "w") as file:
        group = file.create_group("entry/data")
        group.attrs["NX_class"] = "NXdata"
        group["data"] = volume
    return tmp_path / "a.nxs"


def test_unnamed_axes_are_identified_by_their_lengths(tmp_path: Path) -> None:
    path = _data_group(tmp_path, VOLUME.T)
    with h5py.File(path, "a") as file:
        for axis, size in zip("xyz", VOLUME.T.shape, strict=True):
            file[f"entry/data/{axis}"] = np.arange(size) * 2.0
            file[f"entry/data/{axis}"].attrs["units"] = np.bytes_("um")
    opened = open_volume(path)
    assert (opened.shape, opened.voxel_um) == (VOLUME.shape, (2, 2, 2))


def test_axes_as_a_text_and_different_steps(tmp_path: Path) -> None:
    path = _data_group(tmp_path)
    with h5py.File(path, "a") as file:
        file["entry/data/data"].attrs["axes"] = "sample_z:sample_y:sample_x"
        for axis, size, step in zip("zyx", VOLUME.shape, (-0.01, 0.005, 0.005), strict=True):
            file[f"entry/data/sample_{axis}"] = step * np.arange(size)
            file[f"entry/data/sample_{axis}"].attrs["units"] = "mm"
    np.testing.assert_allclose(open_volume(path).voxel_um, (10, 5, 5))


@pytest.mark.parametrize("units", ["", "voxels", "pixel", "degree"])
def test_axes_without_a_length_are_asked_for(tmp_path: Path, units: str) -> None:
    # Savu (https://github.com/DiamondLightSource/Savu) labels its axes voxel_x.voxels.
    path = _data_group(tmp_path)
    with h5py.File(path, "a") as file:
        file["entry/data"].attrs["axes"] = ["voxel_z", "voxel_y", "voxel_x"]
        for axis, size in zip("zyx", VOLUME.shape, strict=True):
            file[f"entry/data/voxel_{axis}"] = np.arange(size)
            file[f"entry/data/voxel_{axis}"].attrs["units"] = units
    known = r" in a known unit \('degree'\)" if units == "degree" else ""
    with pytest.raises(InputError, match=f"the voxel size is not in the file{known}; give it"):
        open_volume(path)


def test_uneven_positions_do_not_give_a_voxel_size(tmp_path: Path) -> None:
    path = lay.nxtomoproc(tmp_path, VOLUME)
    with h5py.File(path, "a") as file:
        file["entry/data/z"][2] += 0.001
    with pytest.raises(InputError, match=r"not in the file \(only y 5 µm, x 5 µm\)"):
        open_volume(path)


def test_the_default_volume_of_a_file_with_several_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name in ("a", "b"):
            file[f"entry/{name}/data"] = VOLUME + (name == "b")
            file[f"entry/{name}"].attrs["NX_class"] = "NXdata"
    with pytest.raises(InputError, match=r"holds 2 volumes \(entry/a/data, entry/b/data\); name one with `dataset`"):
        open_volume(path, voxel_um=5)
    with h5py.File(path, "a") as file:
        file.attrs["default"], file["entry"].attrs["default"] = "entry", "b"
    np.testing.assert_array_equal(open_volume(path, voxel_um=5).read(0, 4), VOLUME + 1)


def test_a_volume_in_another_file_is_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file["v"] = VOLUME
    path = _data_group(tmp_path)
    with h5py.File(path, "a") as file:
        del file["entry/data/data"]
        file["entry/data/data"] = h5py.ExternalLink("raw.h5", "v")
    np.testing.assert_array_equal(open_volume(path, voxel_um=5).read(0, 4), VOLUME)
    (tmp_path / "raw.h5").unlink()
    with pytest.raises(InputError, match=r"a\.nxs: holds no three-dimensional dataset"):
        open_volume(path, voxel_um=5)


def test_a_missing_part_of_a_nabu_volume_is_not_filled_with_zeros(tmp_path: Path) -> None:
    path = lay.nabu(tmp_path, VOLUME)
    (tmp_path / "rec" / "rec_00002.hdf5").unlink()
    with pytest.raises(InputError, match=r"rec\.hdf5: its part rec/rec_00002\.hdf5 is missing; copy the folder"):
        open_volume(path)


def test_the_voxel_size_of_nabu_before_2023(tmp_path: Path) -> None:
    path = lay.nabu(tmp_path, VOLUME)
    with h5py.File(path, "a") as file:
        options = file["entry0000/reconstruction/configuration/processing_options/reconstruction"]
        del options["voxel_size_cm"]
        options["pixel_size_cm"] = 0.0007
    np.testing.assert_allclose(open_volume(path).voxel_um, 7)


def test_httomo_with_as_many_angles_as_rows_is_not_distinguished_from_projections(tmp_path: Path) -> None:
    path = lay.httomo(tmp_path, VOLUME, angles=VOLUME.shape[1])
    with pytest.raises(InputError, match=r"projections .*; reconstruct them first, or name one with `dataset` if"):
        open_volume(path, voxel_um=5)
    np.testing.assert_array_equal(open_volume(path, voxel_um=5, dataset="data").read(0, 4), VOLUME)
