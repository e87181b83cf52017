"""The order of axes that a file states is honoured, or the file is refused."""

import json
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest

from tomostain.errors import InputError
from tomostain.io import open_volume
from tomostain.io.metadata.axes import AxesError, letter_of, volume_order

Z, Y, X = np.indices((4, 5, 6))
VOLUME = (Z * 1000 + Y * 37 + X).astype(np.uint16)


def _stored(order: str) -> np.ndarray:
    """Return the volume with its axes in this order; c and t are axes of length 1."""
    spatial = VOLUME.transpose(["zyx".index(axis) for axis in order if axis in "zyx"])
    return spatial[tuple(slice(None) if axis in "zyx" else None for axis in order)]


def _axistags(keys: Sequence[str]) -> str:
    return json.dumps({"axes": [{"key": key, "typeFlags": 2, "resolution": 0, "description": ""} for key in keys]})


def _is_volume(path: Path, **options: str) -> None:
    volume = open_volume(path, voxel_um=5, **options)  # type: ignore[arg-type]
    assert volume.shape == VOLUME.shape
    np.testing.assert_array_equal(volume.read(0, 4), VOLUME)
    np.testing.assert_array_equal(volume.read(2, 3), VOLUME[2:3])


@pytest.mark.parametrize(
    "order", ["zyx", "xyz", "yzx", "xzy", "zyxc", "czyx", "tzyxc", "xyzc", "tczyx", "xcyz", "zcyx"]
)
@pytest.mark.parametrize("stated", ["axistags", "labels", "axes", "axes:list", "scales", "long names"])
def test_axes_that_an_hdf5_names(tmp_path: Path, order: str, stated: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("exported_data", data=_stored(order))
        if stated == "axistags":
            data.attrs["axistags"] = _axistags(order)
        elif stated == "axes":
            data.attrs["axes"] = order
        elif stated == "axes:list":
            data.attrs["axes"] = [f"{name.upper()} [µm]" for name in order]
        for place, name in enumerate(order):
            if stated in ("labels", "long names"):
                long = {"z": "voxel_z.mm", "y": "row", "x": "columns", "c": "Channel", "t": "time"}
                data.dims[place].label = name if stated == "labels" else long[name]
            elif stated == "scales":
                file[name] = np.arange(data.shape[place])
                file[name].make_scale(name)
                data.dims[place].attach_scale(file[name])
    _is_volume(tmp_path / "a.h5")


@pytest.mark.parametrize("order", ["zyx", "czyx", "zyxc", "tczyx"])
def test_axes_without_names(tmp_path: Path, order: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = _stored(order)
    _is_volume(tmp_path / "a.h5")
    _is_volume(tmp_path / "a.h5", dataset="/data")


def test_the_voxel_size_follows_the_axes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("data", data=_stored("xyz"))
        for place, (name, step) in enumerate((("x", 0.005), ("y", 0.006), ("z", 0.007))):
            file[name] = step * np.arange(data.shape[place])
            file[name].attrs["units"] = "mm"
            file[name].make_scale(name)
            data.dims[place].attach_scale(file[name])
    np.testing.assert_allclose(open_volume(tmp_path / "a.h5").voxel_um, (7, 6, 5))


def test_an_element_size_of_another_order_is_asked_for(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("data", data=_stored("xyz"))
        data.attrs["axistags"], data.attrs["element_size_um"] = _axistags("xyz"), (5, 5, 5)
    assert open_volume(tmp_path / "a.h5").voxel_um == (5, 5, 5)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["data"].attrs["element_size_um"] = (7, 6, 5)
    with pytest.raises(InputError, match="the voxel size is not in the file; give it with `voxel_um`"):
        open_volume(tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("z", "y", "z"), "its axes are z 4, y 5, z 6; two of them have the same name"),
        (("a", "z", "b"), "it is ambiguous which are z, y and x. Store the volume as"),
        (("c", "y", "x"), "one channel, and these are 4 channels"),
        (("time", "y", "x"), "these are 4 time points"),
        (("theta", "y", "x"), "holds projections and no volume"),
        (("rotation_angle.degrees", "detector_y.pixel", "detector_x.pixel"), "holds projections and no volume"),
    ],
)
def test_axes_that_are_refused(tmp_path: Path, names: tuple[str, ...], says: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("data", data=VOLUME)
        for place, name in enumerate(names):
            data.dims[place].label = name
    for options in ({}, {"dataset": "data"}):
        with pytest.raises(InputError, match=says if not options else ".") as caught:
            open_volume(tmp_path / "a.h5", voxel_um=5, **options)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


def test_two_statements_that_contradict_each_other(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("data", data=VOLUME)
        data.attrs["axistags"], data.attrs["axes"] = _axistags("zyx"), "xyz"
    with pytest.raises(InputError, match="stated differently by axistags and its attribute axes; correct one"):
        open_volume(tmp_path / "a.h5", voxel_um=5)


@pytest.mark.parametrize(
    ("shape", "names", "order"),
    [
        ((4, 5, 6), ("dim_0", "dim_1", "dim_2"), (0, 1, 2)),
        ((4, 5, 6), ("phony_dim_0", "phony_dim_1", "phony_dim_2"), (0, 1, 2)),
        ((4, 5, 6), (None, "y", "x"), (0, 1, 2)),
        ((4, 5, 6), ("x", "y", ""), (2, 1, 0)),
        ((1, 5, 6), ("z", "y", "x"), (0, 1, 2)),
        ((1, 5, 6), None, (0, 1, 2)),
        ((4, 1, 1, 5, 6), ("z", "t", "c", "y", "x"), (0, 3, 4)),
        ((1, 1, 5, 6), ("t", "z", "y", "x"), (1, 2, 3)),
    ],
)
def test_orders(shape: tuple[int, ...], names: tuple | None, order: tuple[int, int, int]) -> None:
    assert volume_order(shape, names) == order


@pytest.mark.parametrize("shape", [(1, 5, 6, 1), (4, 5, 6, 3), (2, 4, 5, 6), (4, 1, 5, 6)])
def test_arrays_of_four_axes_that_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(AxesError):
        volume_order(shape)


def test_names_of_no_axis() -> None:
    assert [letter_of(name) for name in ("", "data", "zoo", "detector_y", "3", "matrix")] == [""] * 6


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DIMENSION_LIST", np.array([1, 2, 3])),
        ("DIMENSION_LABELS", np.array([1, 2, 3])),
        ("DIMENSION_LABELS", "zyx"),
        ("DIMENSION_LABELS", np.array([b"z", b"y"])),
    ],
)
def test_damaged_labels_and_scales_of_dimensions_are_refused(tmp_path, name, value):
    with h5py.File(tmp_path / "v.h5", "w") as file:  # the HDF5 library ends the process for these
        file["data"] = np.zeros((5, 6, 7), np.uint16)
        file["data"].attrs[name] = value
    with pytest.raises(InputError, match=f"its attribute {name} is damaged; correct or remove it"):
        open_volume(tmp_path / "v.h5", voxel_um=5)


def test_labels_of_fixed_length_state_the_order(tmp_path):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["data"] = np.zeros((5, 6, 7), np.uint16)
        file["data"].attrs["DIMENSION_LABELS"] = np.array([b"x", b"y", b"z"])
    assert open_volume(tmp_path / "v.h5", voxel_um=5).shape == (7, 6, 5)


def test_indices_that_contradict_the_axes_of_a_group_are_refused(tmp_path):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        group = file.create_group("entry")
        group["data"] = np.zeros((5, 6, 7), np.uint16)
        group.attrs.update({"NX_class": "NXdata", "signal": "data", "axes": ["x", "y", "z"], "x_indices": [2]})
    with pytest.raises(InputError, match="axes names x as axis 0, but x_indices states 2"):
        open_volume(tmp_path / "v.h5", voxel_um=5)
