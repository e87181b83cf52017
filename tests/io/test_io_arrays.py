"""Volumes and stained volumes as arrays: creation from an array, NumPy indexing and conversion to dask."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tomostain.errors import InputError
from tomostain.io import StainedVolume, Volume, create_stained, open_stained, open_volume, write_stack

GREY = np.random.default_rng(0).integers(0, 60000, (7, 11, 13)).astype(np.uint16)
RGB = np.random.default_rng(1).integers(0, 255, (7, 11, 13, 3)).astype(np.uint8)

INDICES = [
    0,
    -1,
    np.int64(3),
    slice(None),
    slice(2, 5),
    slice(-3, None),
    slice(4, 1),
    slice(None, None, 3),
    slice(None, None, -2),
    (slice(1, 3), slice(2, 5)),
    (3, 4, 5),
    (slice(None), 4),
    (slice(None), slice(None), -2),
    (slice(6, 0, -1), slice(None, None, -1), slice(1, None, 4)),
    (Ellipsis, slice(0, 2)),
    (2, Ellipsis, 1),
    (slice(None), slice(5, 5)),
    Ellipsis,
    (),
]


@pytest.fixture(scope="module", params=["array", "file"])
def volume(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Volume:
    if request.param == "array":
        return Volume.from_array(GREY, voxel_um=5)
    folder = tmp_path_factory.mktemp("volume") / "slices"
    write_stack(folder, GREY, voxel_um=5)
    return open_volume(str(folder))


@pytest.fixture(scope="module")
def stained(tmp_path_factory: pytest.TempPathFactory) -> StainedVolume:
    path = tmp_path_factory.mktemp("stained") / "a.zarr"
    writer = create_stained(path, RGB.shape[:3], 5, z_chunk=3, provenance={})
    for z0, z1 in writer.pending():
        writer.write(z0, RGB[z0:z1])
    writer.finish()
    return open_stained(str(path))


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_volumes_index_as_numpy_does(volume: Volume, index: object) -> None:
    part = volume[index]
    np.testing.assert_array_equal(part, GREY[index])
    assert part.dtype == GREY.dtype


@pytest.mark.parametrize(
    "index", [*INDICES, (1, 2, 3, 0), (Ellipsis, 0), (slice(2), 1, slice(None), slice(1, 3))], ids=str
)
def test_stained_volumes_index_as_numpy_does(stained: StainedVolume, index: object) -> None:
    np.testing.assert_array_equal(stained[index], RGB[index])


@pytest.mark.parametrize("index", [7, -8, (0, 11), (0, 0, 0, 0), (Ellipsis, Ellipsis)], ids=str)
def test_an_index_out_of_range_is_an_index_error(volume: Volume, index: object) -> None:
    with pytest.raises(IndexError):
        volume[index]


@pytest.mark.parametrize("index", [None, [0, 1], True, 1.0, np.array([0, 1])], ids=str)
def test_other_indices_are_a_type_error(volume: Volume, index: object) -> None:
    with pytest.raises(TypeError, match="index volumes with integers and slices"):
        volume[index]


def test_a_volume_is_iterated_slice_by_slice(volume: Volume) -> None:
    assert len(volume) == 7
    for image, true in zip(volume, GREY, strict=True):
        np.testing.assert_array_equal(image, true)


def test_a_volume_becomes_an_array(volume: Volume, stained: StainedVolume) -> None:
    np.testing.assert_array_equal(np.asarray(volume), GREY)
    assert np.asarray(volume, dtype=np.float32).dtype == np.float32
    assert (volume.ndim, stained.ndim, stained.array_shape) == (3, 4, RGB.shape)
    np.testing.assert_array_equal(np.asarray(stained), RGB)
    with pytest.raises(ValueError, match="without a copy"):
        np.array(volume, copy=False)


def test_a_part_may_be_changed_without_changing_the_array() -> None:
    array = GREY.copy()
    part = Volume.from_array(array, voxel_um=5)[2:4]
    part[:] = 0
    np.testing.assert_array_equal(array, GREY)


def test_only_the_slices_asked_for_are_read() -> None:
    class Counted:
        shape, dtype = GREY.shape, GREY.dtype

        def __init__(self) -> None:
            self.asked: list[tuple[int, int]] = []

        def __getitem__(self, index: slice) -> np.ndarray:
            self.asked.append((index.start, index.stop))
            return GREY[index]

    counted = Counted()
    volume = Volume.from_array(counted, voxel_um=5)
    assert counted.asked == []
    volume[2:4], volume[5], volume[::3]
    assert counted.asked == [(2, 4), (5, 6), (0, 1), (3, 4), (6, 7)]


def test_volumes_from_arrays_are_as_those_from_files(tmp_path: Path) -> None:
    write_stack(tmp_path / "slices", GREY, voxel_um=(10, 5, 5))
    stored, made = open_volume(tmp_path / "slices"), Volume.from_array(GREY, voxel_um=(10, 5, 5), name="scan")
    assert made.fingerprint() == stored.fingerprint()
    assert made.describe() == "7 x 11 x 13 voxels of 10 x 5 x 5 µm (z, y, x), uint16; voxel size given"
    assert str(made.path) == "scan"
    assert Volume.from_array(GREY.astype(np.int32), voxel_um=5).read(0, 1).dtype == np.float32


@pytest.mark.parametrize(
    ("array", "voxel_um", "message"),
    [
        (GREY[0], 5, r"scan: holds an array of shape \(11, 13\), not a volume"),
        (GREY[:0], 5, r"scan: holds an array of shape \(0, 11, 13\), not a volume"),
        (GREY.astype(complex), 5, "scan: values of NumPy kind 'c' are not grey values"),
        (GREY, -5, "-5 is not a length"),
    ],
)
def test_arrays_that_are_not_volumes_are_refused(array: np.ndarray, voxel_um: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Volume.from_array(array, voxel_um, name="scan")


def test_nan_is_refused_with_the_slice() -> None:
    array = GREY.astype(np.float32)
    array[3, 0, 0] = np.nan
    volume = Volume.from_array(array, voxel_um=5)
    assert volume[2].shape == (11, 13)
    with pytest.raises(InputError, match="array: NaN or infinite values in slice 3"):
        volume[2:5]


def test_dask_reads_chunk_by_chunk(volume: Volume, stained: StainedVolume) -> None:
    pytest.importorskip("dask.array")
    lazy = volume.to_dask(slices=3)
    assert (lazy.shape, lazy.dtype, lazy.chunks[0]) == (GREY.shape, GREY.dtype, (3, 3, 1))
    np.testing.assert_array_equal(lazy[2:5, ::2].compute(scheduler="synchronous"), GREY[2:5, ::2])
    np.testing.assert_array_equal(stained.to_dask().compute(scheduler="synchronous"), RGB)


def test_without_dask_the_extra_is_named(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask", None)
    monkeypatch.setitem(sys.modules, "dask.array", None)
    with pytest.raises(InputError, match=r"needs dask; pip install 'tomostain\[io\]'"):
        volume.to_dask()
