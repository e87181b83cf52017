"""Zarr: the order of axes is honoured or refused, and damaged metadata end in one line."""

import json
from collections.abc import Sequence
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr

from tomostain.errors import InputError
from tomostain.io import open_stained, open_volume

Z, Y, X = np.indices((4, 5, 6))
VOLUME = (Z * 1000 + Y * 37 + X + 1).astype(np.uint16)
ORDERS = ["zyx", "xyz", "yzx", "zyxc", "czyx", "tczyx", "tzyxc", "xyzc"]


def _stored(order: str) -> np.ndarray:
    spatial = VOLUME.transpose(["zyx".index(axis) for axis in order if axis in "zyx"])
    return spatial[tuple(slice(None) if axis in "zyx" else None for axis in order)]


def _is_volume(path: Path) -> None:
    volume = open_volume(path, voxel_um=5)
    assert volume.shape == VOLUME.shape
    np.testing.assert_array_equal(volume.read(0, 4), VOLUME)
    np.testing.assert_array_equal(volume.read(2, 3), VOLUME[2:3])


def _plain(path: Path, order: str, names: Sequence[str] | None = None) -> Path:
    zarr.create_array(path, data=_stored(order), dimension_names=names)
    return path


def _ome(path: Path, order: str, names: Sequence[str] | None = None, level: str = "0") -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.create_array("0", data=_stored(order), dimension_names=names)
    kinds = {"t": "time", "c": "channel"}
    axes = [
        {"name": name, "type": kinds.get(name, "space")} | ({} if name in kinds else {"unit": "micrometer"})
        for name in order
    ]
    steps = {"z": 7, "y": 6, "x": 5}
    scale = [{"type": "scale", "scale": [steps.get(name, 1) for name in order]}]
    image = {"axes": axes, "datasets": [{"path": level, "coordinateTransformations": scale}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    return path


@pytest.mark.parametrize("order", ORDERS)
def test_axes_that_a_zarr_names(tmp_path: Path, order: str) -> None:
    _is_volume(_plain(tmp_path / "names.zarr", order, list(order)))
    array = zarr.create_array(tmp_path / "xarray.zarr", data=_stored(order), zarr_format=2)
    array.attrs["_ARRAY_DIMENSIONS"] = list(order)
    _is_volume(tmp_path / "xarray.zarr")
    _is_volume(_ome(tmp_path / "ome.zarr", order, list(order)))
    assert open_volume(tmp_path / "ome.zarr").voxel_um == (7, 6, 5)


@pytest.mark.parametrize("order", ["zyx", "czyx", "zyxc"])
def test_axes_without_names(tmp_path: Path, order: str) -> None:
    _is_volume(_plain(tmp_path / "a.zarr", order))


def test_axes_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"its axes are z, y, x by OME-Zarr, and x, y, z by the array; correct one"):
        open_volume(_ome(tmp_path / "a.zarr", "zyx", ["x", "y", "z"]))
    with pytest.raises(InputError, match="these are projections, not a volume"):
        open_volume(_plain(tmp_path / "b.zarr", "zyx", ["theta", "y", "x"]), voxel_um=5)
    zarr.create_array(tmp_path / "c.zarr", data=np.zeros((2, 4, 5, 6), np.uint8))
    with pytest.raises(InputError, match="a µCT volume has z, y, x and one channel"):
        open_volume(tmp_path / "c.zarr", voxel_um=5)


@pytest.mark.parametrize("level", ["../other", "../other/", "/etc", "0/../../other", "link"])
def test_an_array_outside_of_the_folder_is_refused(tmp_path: Path, level: str) -> None:
    _plain(tmp_path / "other", "zyx")
    path = _ome(tmp_path / "a.zarr", "zyx", level=level)
    (path / "link").symlink_to(tmp_path / "other")
    with pytest.raises(InputError, match="lies outside of it, and is not read"):
        open_volume(path)


NESTED = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "text",
    [
        *("null", "[]", "3", '"x"', "", "{", NESTED, "\x00\x01", '{"a": ' + NESTED + "}"),
        *('{"zarr_format": 3}', '{"zarr_format": 9, "node_type": 1}'),
        '{"zarr_format": 3, "node_type": "group", "attributes": null}',
    ],
)
def test_damaged_metadata_give_a_one_line_error(tmp_path: Path, text: str) -> None:
    for path in (_ome(tmp_path / "a.zarr", "zyx"), _ome(tmp_path / "a.zarr", "zyx") / "0"):
        (path / "zarr.json").write_text(text)
        for function in (lambda p: open_volume(p, voxel_um=5), open_stained):
            with pytest.raises(InputError) as caught:
                function(tmp_path / "a.zarr")
            assert "\n" not in str(caught.value)
            assert "a.zarr" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shape", [0, 5, 6]),
        ("shape", [-4, 5, 6]),
        ("shape", "4"),
        ("shape", [4, 5]),
        ("shape", [10**9, 5, 6]),
        ("shape", None),
        ("chunk_shape", [0, 5, 6]),
        ("chunk_shape", [4, 5]),
        ("chunk_shape", [4.5, 5, 6]),
        ("chunk_shape", [4, 20000, 20000]),
        ("data_type", "float1"),
        ("data_type", None),
        ("codecs", [{"name": "exec"}]),
        ("codecs", None),
        ("fill_value", "x"),
        ("dimension_names", [1, 2]),
    ],
)
def test_impossible_arrays_give_a_one_line_error(tmp_path: Path, key: str, value: object) -> None:
    path = _ome(tmp_path / "a.zarr", "zyx")
    values = json.loads((path / "0" / "zarr.json").read_text())
    if key == "chunk_shape":
        values["chunk_grid"]["configuration"]["chunk_shape"] = value
    else:
        values[key] = value
    (path / "0" / "zarr.json").write_text(json.dumps(values))
    with pytest.raises(InputError) as caught:
        open_volume(path, voxel_um=5).read(0, 4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_truncated_chunks_in_blosc_are_refused(tmp_path: Path, zarr_format: int) -> None:
    """The library does not compare the length of a chunk with its header, and reads what follows in memory."""
    values = np.random.default_rng(0).integers(0, 60000, (6, 20, 24)).astype("u2")
    blosc = numcodecs.Blosc() if zarr_format == 2 else zarr.codecs.BloscCodec()
    options = {"chunks": (3, 20, 24), "compressors": blosc, "zarr_format": zarr_format}
    zarr.create_array(tmp_path / "a.zarr", shape=values.shape, dtype="u2", **options)[:] = values
    np.testing.assert_array_equal(open_volume(tmp_path / "a.zarr", voxel_um=5).read(0, 6), values)
    file = tmp_path / "a.zarr" / ("1.0.0" if zarr_format == 2 else "c/1/0/0")
    good = file.read_bytes()
    bomb = bytearray(good)
    bomb[4:8] = (2**31 - 100).to_bytes(4, "little")
    for bad, message in ((good[:-1], "truncated"), (good[:9], "truncated"), (bytes(bomb), "but a chunk has 2880")):
        file.write_bytes(bad)
        volume = open_volume(tmp_path / "a.zarr", voxel_um=5)
        np.testing.assert_array_equal(volume.read(0, 3), values[:3])
        with pytest.raises(InputError, match=message):
            volume.read(2, 4)
