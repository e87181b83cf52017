"""Volumes in every format, also from other libraries: voxels and voxel size agree, also when read in parts."""

import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.facilities import skyscan_log
from tomostain.errors import InputError
from tomostain.io import open_volume, write_stack
from tomostain.io.tiff import stated_spacing
from tomostain.io.volumes.slice_files import natural_slices

SHARED = Path(__file__).parents[2] / "../shared/data"
VOXEL_UM = (10.0, 5.0, 5.0)
Array = np.ndarray


def _itk(name: str, compress: bool = False) -> Callable[[Path, Array], Path]:
    def write(folder: Path, volume: Array) -> Path:
        sitk = pytest.importorskip("SimpleITK")
        image = sitk.GetImageFromArray(volume)
        image.SetSpacing([um / 1000 for um in reversed(VOXEL_UM)])  # (x, y, z) in mm
        sitk.WriteImage(image, str(folder / name), compress)
        return folder / name

    return write


def _imagej(folder: Path, volume: Array, byteorder: str = "<") -> Path:
    metadata = {"spacing": 0.01, "unit": "mm", "axes": "ZYX"}
    options = {"imagej": True, "resolution": (200, 200), "metadata": metadata}
    tifffile.imwrite(folder / "imagej.tif", volume, byteorder=byteorder, **options)
    return folder / "imagej.tif"


def _ome_tiff(folder: Path, volume: Array) -> Path:
    sizes = {"PhysicalSizeX": 0.005, "PhysicalSizeXUnit": "mm", "PhysicalSizeY": 5000, "PhysicalSizeYUnit": "nm"}
    metadata = {"axes": "ZYX", "PhysicalSizeZ": 10, **sizes}
    tifffile.imwrite(folder / "a.ome.tif", volume, compression="zstd", metadata=metadata)
    return folder / "a.ome.tif"


def _hdf5(folder: Path, volume: Array) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file["thumbnail"] = volume[0]
        data = file.create_dataset(
            "entry/reconstruction", data=volume, chunks=(1, *volume.shape[1:]), compression="gzip"
        )
        data.attrs["element_size_um"] = VOXEL_UM
    return folder / "a.h5"


def _ome_zarr(version: str, unit: str, factor: float) -> Callable[[Path, Array], Path]:
    def write(folder: Path, volume: Array) -> Path:
        group = zarr.open_group(folder / "a.zarr", mode="w", zarr_format=3 if version == "0.5" else 2)
        group.create_array("s0", data=volume[None, None], chunks=(1, 1, 2, 64, 64))
        axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
        axes += [{"name": axis, "type": "space", **({"unit": unit} if unit else {})} for axis in "zyx"]
        scale = [{"type": "scale", "scale": [1, 1, *(um * factor for um in VOXEL_UM)]}]
        image = {"version": version, "axes": axes, "datasets": [{"path": "s0", "coordinateTransformations": scale}]}
        group.attrs.update(
            {"ome": {"version": version, "multiscales": [image]}} if version == "0.5" else {"multiscales": [image]}
        )
        return folder / "a.zarr"

    return write


def _stack(folder: Path, volume: Array) -> Path:
    write_stack(folder / "stack", volume, voxel_um=VOXEL_UM)
    (folder / "stack" / "notes.txt").touch()
    (folder / "stack" / "._slice_0000.tif").touch()  # files that macOS adds next to other files
    return folder / "stack"


FORMATS: dict[str, Callable[[Path, Array], Path]] = {
    "folder of TIFF": _stack,
    "ImageJ TIFF": _imagej,
    "big-endian ImageJ TIFF": lambda folder, volume: _imagej(folder, volume, ">"),
    "OME-TIFF": _ome_tiff,
    "HDF5": _hdf5,
    "MHA": _itk("a.mha"),
    "compressed MHA": _itk("a.mha", True),
    "NRRD": _itk("a.nrrd"),
    "compressed NRRD": _itk("a.nrrd", True),
    "detached NRRD": _itk("a.nhdr"),
    "NIfTI": _itk("a.nii"),
    "compressed NIfTI": _itk("a.nii.gz"),
    "OME-Zarr 0.5": _ome_zarr("0.5", "micrometer", 1),
    "OME-Zarr 0.4": _ome_zarr("0.4", "millimeter", 1e-3),
}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS.keys())
def test_every_format_gives_the_same_volume(tmp_path: Path, write: Callable[[Path, Array], Path], dtype: str) -> None:
    volume = np.random.default_rng(0).integers(0, 256, (7, 12, 17)).astype(dtype)
    opened = open_volume(write(tmp_path, volume))
    assert (opened.shape, opened.dtype) == (volume.shape, volume.dtype)
    np.testing.assert_allclose(opened.voxel_um, VOXEL_UM, rtol=1e-6)
    for start, stop in ((0, 7), (2, 5), (6, 7)):
        part = opened.read(start, stop)
        assert part.dtype == volume.dtype
        assert part.dtype.isnative
        np.testing.assert_array_equal(part, volume[start:stop])


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).integers(0, 256, (5, 6, 7)).astype(np.uint16)
    paths = [FORMATS[name](tmp_path, volume) for name in ("OME-TIFF", "HDF5", "MHA", "NRRD")]
    prints = {open_volume(path, voxel_um=5).fingerprint() for path in paths}
    assert len(prints) == 1
    volume[2, 3, 3] += 1
    assert open_volume(FORMATS["HDF5"](tmp_path, volume), voxel_um=5).fingerprint() not in prints


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dtype=st.sampled_from(["int8", "int16", "int32", "uint32", "float16", "float64", ">u2", ">f4", "bool"]),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
)
def test_other_number_types_are_converted_without_loss(tmp_path: Path, dtype: str, shape: tuple[int, int, int]) -> None:
    volume = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 120, shape).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["volume"] = volume.astype(np.uint8) if dtype == "bool" else volume
    opened = open_volume(tmp_path / "a.h5", voxel_um=1)
    assert opened.dtype.name in ("uint8", "uint16", "float32")
    np.testing.assert_array_equal(opened.read(0, shape[0]), volume.astype(np.float64))


def test_slices_stand_in_natural_order(tmp_path: Path) -> None:
    for number in range(8, 13):
        tifffile.imwrite(tmp_path / f"scan5um_{number}.tif", np.full((3, 4), number, np.uint8))
    assert open_volume(tmp_path, voxel_um=5).read(0, 5)[:, 0, 0].tolist() == [8, 9, 10, 11, 12]


@settings(max_examples=50, deadline=None)
@given(
    start=st.integers(0, 10**6),
    count=st.integers(1, 30),
    digits=st.integers(1, 7),
    prefix=st.sampled_from(["reco_syn7_2um_", "", "a.b-", "rec"]),
    order=st.randoms(use_true_random=False),
)
def test_any_numbering_without_a_gap_is_read_in_its_order(
    tmp_path_factory: pytest.TempPathFactory, start: int, count: int, digits: int, prefix: str, order: random.Random
) -> None:
    folder = tmp_path_factory.mktemp("slices")
    names = [f"{prefix}{number:0{digits}d}.tif" for number in range(start, start + count)]
    for name in order.sample(names, len(names)):
        (folder / name).touch()
    assert [path.name for path in natural_slices(folder)] == names


def test_the_given_voxel_size_stands_above_the_files(tmp_path: Path) -> None:
    path = _stack(tmp_path, np.zeros((2, 3, 4), np.uint8))
    assert open_volume(path, voxel_um=7).voxel_um == (7.0, 7.0, 7.0)
    assert open_volume(path, voxel_um=(1, 2, 3)).voxel_um == (1.0, 2.0, 3.0)
    for bad in (0, -5, float("nan"), float("inf"), (1, 2, 0)):
        with pytest.raises(InputError, match=r"`voxel_um`: .* is not a length; give a positive number of µm"):
            open_volume(path, voxel_um=bad)
    with pytest.raises(InputError, match="has 2 numbers; give one, or three"):
        open_volume(path, voxel_um=(1, 2))


@pytest.mark.parametrize(
    ("options", "stated"),
    [
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, (None, None, None)),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, (None, None, None)),
        ({"resolution": (118.11, 118.11), "resolutionunit": "CENTIMETER"}, (None, None, None)),
        ({"resolution": (1, 1), "resolutionunit": "CENTIMETER"}, (None, None, None)),
        ({"resolution": (5, 5), "resolutionunit": "NONE"}, (None, None, None)),
        ({"resolution": (2000, 2000), "resolutionunit": "CENTIMETER"}, (None, 5.0, 5.0)),
        ({"imagej": True, "resolution": (0.2, 0.2), "metadata": {"unit": "pixel", "spacing": 1}}, (None, None, None)),
        ({"imagej": True, "resolution": (96, 96), "metadata": {"unit": "inch", "spacing": 1}}, (None, None, None)),
        ({"imagej": True, "resolution": (0.2, 0.2), "metadata": {"unit": "micron"}}, (None, 5.0, 5.0)),
        ({"imagej": True, "resolution": (0.2, 0.2), "metadata": {"unit": "\\u00B5m", "spacing": 8}}, (8.0, 5.0, 5.0)),
    ],
)
def test_a_voxel_size_is_used_only_where_it_was_measured(tmp_path: Path, options: dict, stated: tuple) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((6, 5, 7), np.uint8), photometric="minisblack", **options)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert stated_spacing(tif) == pytest.approx(stated)
    if None in stated:
        only = r" \(only y 5 µm, x 5 µm\)" if stated[1] else ""
        with pytest.raises(InputError, match=f"the voxel size is not in the file{only}; give it with `voxel_um`"):
            open_volume(tmp_path / "a.tif")


def test_other_formats_that_are_silent_are_asked_for(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    for name in ("a.mha", "a.nrrd", "a.nii"):
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4, 5), np.uint8)), str(tmp_path / name))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["volume"] = np.zeros((3, 4, 5), np.uint8)
    zarr.save_array(tmp_path / "plain.zarr", np.ones((3, 4, 5), np.uint8))
    paths = [tmp_path / name for name in ("a.mha", "a.nrrd", "a.nii", "a.h5", "plain.zarr")]
    for path in [*paths, _ome_zarr("0.5", "", 1)(tmp_path, np.ones((3, 4, 5), np.uint8))]:
        with pytest.raises(InputError, match=r"the voxel size is not in the file; give it with `voxel_um`"):
            open_volume(path)
        assert open_volume(path, voxel_um=5).shape == (3, 4, 5)


def test_nan_and_infinite_values_are_named_by_slice(tmp_path: Path) -> None:
    volume = np.zeros((5, 4, 4), np.float32)
    volume[1, 2, 2], volume[3, 0, 0] = np.nan, np.inf
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["volume"] = volume
    opened = open_volume(tmp_path / "a.h5", voxel_um=5)
    assert opened.read(0, 1).max() == 0
    with pytest.raises(InputError, match=r"a\.h5: NaN or infinite values in slices 1, 3; replace them"):
        opened.read(0, 5)


def test_slices_outside_the_volume_are_an_error(tmp_path: Path) -> None:
    opened = open_volume(_stack(tmp_path, np.zeros((2, 3, 4), np.uint8)))
    for start, stop in ((-1, 1), (0, 3), (1, 1)):
        with pytest.raises(ValueError, match="of a volume of 2 slices"):
            opened.read(start, stop)


@pytest.mark.parametrize("name", ["ImageJ TIFF", "HDF5", "MHA", "NRRD", "compressed NRRD", "NIfTI", "OME-Zarr 0.5"])
def test_reading_two_slices_takes_the_memory_of_two_slices(tmp_path: Path, name: str) -> None:
    path = FORMATS[name](tmp_path, np.random.default_rng(0).integers(0, 99, (64, 256, 256), np.uint16))
    tracemalloc.start()
    try:
        open_volume(path).read(30, 32)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * 256 * 256 * 2 / 4  # the volume is 8 MiB, two slices 256 KiB


def test_reading_two_slices_opens_two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_volume(_stack(tmp_path, np.zeros((20, 3, 4), np.uint8)))
    seen: list[str] = []
    real = tifffile.TiffFile

    def watched(path: Path, **options: object) -> tifffile.TiffFile:
        seen.append(Path(path).name)
        return real(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(tifffile, "TiffFile", watched)
    opened.read(7, 9)
    assert seen == ["slice_0007.tif", "slice_0008.tif"]


def test_real_trabecular_bone() -> None:
    folder = SHARED / "trabecular_bone"
    if not folder.is_dir():
        pytest.skip("optional real data are not there")
    with pytest.raises(InputError, match="the voxel size is not in the file"):
        open_volume(folder)
    volume = open_volume(folder, voxel_um=19.5)
    assert (volume.shape, volume.dtype) == ((200, 200, 200), np.uint8)  # from the README of the data
    truth = tifffile.imread(sorted(folder.glob("*.tif"))[120])
    np.testing.assert_array_equal(volume.read(120, 121)[0], truth)


@pytest.mark.parametrize("step", [2, 10])
def test_slices_numbered_in_steps(tmp_path: Path, step: int) -> None:
    volume = np.arange(5 * 3 * 4, dtype=np.uint8).reshape(5, 3, 4)
    for z, image in enumerate(volume):
        tifffile.imwrite(tmp_path / f"a_rec{z * step:04}.tif", image)
    for options in ({"voxel_um": 5}, {"voxel_um": (5, 5, 5)}, {"voxel_um": 5, "allow_missing": True}):
        with pytest.raises(InputError, match=f"numbered in steps of {step}, .*; give \\(z, y, x\\)") as caught:
            open_volume(tmp_path, **options)
        assert "allow_missing" not in str(caught.value)
    np.testing.assert_array_equal(np.asarray(open_volume(tmp_path, voxel_um=(5 * step, 5, 5))), volume)
    log = tmp_path / "a_rec.log"
    log.write_text(skyscan_log(5, step=1, prefix="a_rec"))
    with pytest.raises(InputError, match=f"numbered in steps of {step}, "):
        open_volume(tmp_path)
    log.write_text(skyscan_log(5, step=step, prefix="a_rec"))
    opened = open_volume(tmp_path)
    assert opened.voxel_um == (5 * step, 5, 5)
    np.testing.assert_array_equal(np.asarray(opened), volume)
    (tmp_path / f"a_rec{3 * step:04}.tif").unlink()
    with pytest.raises(InputError, match=f"slice number {3 * step} is missing"):
        open_volume(tmp_path)
    assert open_volume(tmp_path, allow_missing=True).missing == ((3, 4),)
