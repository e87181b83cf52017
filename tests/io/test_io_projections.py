"""Raw scans are refused, however they name their angles; reconstructions next to them are read."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tomostain.errors import InputError
from tomostain.io import open_volume

FRAMES = np.random.default_rng(0).integers(1000, 30000, (9, 6, 8)).astype(np.uint16)
ANGLES = np.linspace(0, 180, 9)
KEYS = np.array([2, 1, 0, 0, 0, 0, 0, 0, 1])


def _nxtomo(file: h5py.File) -> None:
    entry = file.create_group("entry0000")
    entry.attrs["NX_class"], entry["definition"] = "NXentry", "NXtomo"
    entry["instrument/detector/data"], entry["instrument/detector/image_key"] = FRAMES, KEYS
    entry["sample/rotation_angle"] = ANGLES
    data = entry.create_group("data")
    data.attrs.update({"NX_class": "NXdata", "signal": "data"})
    data["data"] = h5py.SoftLink("/entry0000/instrument/detector/data")


def _nxtomo_without_keys(file: h5py.File) -> None:
    _nxtomo(file)
    del file["entry0000/instrument/detector/image_key"], file["entry0000/sample"]


def _diad(file: h5py.File) -> None:  # k11_diad of httomo's tests: image key and angles in other groups
    file["entry/imaging/data"] = FRAMES
    file["entry/imaging"].attrs["NX_class"] = "NXdata"
    file["entry/instrument/imaging/image_key"] = KEYS
    file["entry/imaging_sum/gts_cs_theta"] = ANGLES


def _diad_angles_only(file: h5py.File) -> None:
    _diad(file)
    del file["entry/instrument"]


def _detector(file: h5py.File) -> None:
    file["entry/instrument/camera/frames"] = FRAMES
    file["entry/instrument/camera"].attrs["NX_class"] = "NXdetector"


def _savu(file: h5py.File) -> None:
    file["entry/data/data"] = FRAMES
    group = file["entry/data"]
    group.attrs.update({"NX_class": "NXdata", "signal": "data"})
    group.attrs["axes"] = ["rotation_angle", "detector_y", "detector_x"]


def _dxchange(*names: str) -> Callable[[h5py.File], None]:
    def write(file: h5py.File) -> None:
        file["exchange/data"] = FRAMES
        for name in names:
            file[name] = np.linspace(0, 180, 12) if name.endswith(("theta", "deg")) else FRAMES[:2]

    return write


def _units_only(file: h5py.File) -> None:
    file["scan/images"], file["scan/motor_1"] = FRAMES, ANGLES
    file["scan/motor_1"].attrs["units"] = "deg"


RAW = {
    "NXtomo": _nxtomo,
    "NXtomo without keys": _nxtomo_without_keys,
    "DIAD": _diad,
    "DIAD without keys": _diad_angles_only,
    "NXdetector": _detector,
    "Savu": _savu,
    "DXchange": _dxchange("exchange/data_white", "exchange/data_dark", "exchange/theta"),
    "DXchange without theta": _dxchange("exchange/data_white", "exchange/data_dark"),
    "DXchange with flats only": _dxchange("exchange/flats"),
    "DXchange, more angles": _dxchange("exchange/theta"),
    "DXchange, other name": _dxchange("exchange/angles_deg"),
    "DXchange alone": _dxchange(),
    "angles by their unit": _units_only,
    "named projections": lambda file: file.update({"projections": FRAMES}),
}


@pytest.mark.parametrize("write", RAW.values(), ids=RAW.keys())
def test_projections_are_refused(tmp_path: Path, write: Callable[[h5py.File], None]) -> None:
    with h5py.File(tmp_path / "a.nxs", "w") as file:
        write(file)
    with pytest.raises(InputError, match=r"a\.nxs: holds projections and no volume \(found") as caught:
        open_volume(tmp_path / "a.nxs", voxel_um=5)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["NXtomo", "DIAD", "NXdetector", "Savu", "DXchange without theta"])
def test_certain_projections_are_refused_by_their_name_too(tmp_path: Path, name: str) -> None:
    with h5py.File(tmp_path / "a.nxs", "w") as file:
        RAW[name](file)
    names = {"NXtomo": "entry0000/data/data", "DIAD": "entry/imaging/data", "Savu": "entry/data/data"}
    names |= {"NXdetector": "entry/instrument/camera/frames", "DXchange without theta": "exchange/data"}
    with pytest.raises(InputError, match=r"holds 9 projections, not a volume .*; reconstruct it"):
        open_volume(tmp_path / "a.nxs", voxel_um=5, dataset=names[name])


def test_a_reconstruction_at_the_place_of_projections_is_read_by_its_name(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exchange/data"] = FRAMES
    assert open_volume(tmp_path / "a.h5", voxel_um=5, dataset="exchange/data").shape == FRAMES.shape


def test_a_reconstruction_in_the_file_of_the_scan_is_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.nx", "w") as file:
        _nxtomo(file)
        file["entry0000/reconstruction/results/data"] = np.ones((9, 8, 8), np.float32)
    assert open_volume(tmp_path / "a.nx", voxel_um=5).shape == (9, 8, 8)


@pytest.mark.parametrize(
    ("name", "sibling", "values"),
    [
        ("exchange/recon", "exchange/rot_center", 6),
        ("exchange/recon", "exchange/rotation_axis", 9),
        ("scan/images", "scan/rotation_centre", 6),
        ("volume", "angles", 180),
        ("entry/vol", "entry/theta", 180),
    ],
)
def test_a_volume_next_to_other_lists_is_read(tmp_path: Path, name: str, sibling: str, values: int) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file[name], file[sibling] = FRAMES, np.linspace(0, 180, values)
    assert open_volume(tmp_path / "a.h5", voxel_um=5).shape == FRAMES.shape


@pytest.mark.parametrize(("name", "values"), [("volume", 9), ("scan/images", 9), ("scan/images", 180)])
def test_images_next_to_angles_are_projections(tmp_path: Path, name: str, values: int) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file[name] = FRAMES
        file[f"{name.rpartition('/')[0]}/theta"] = np.linspace(0, 180, values)
    with pytest.raises(InputError, match="theta is next to it"):
        open_volume(tmp_path / "a.h5", voxel_um=5)


def test_signals_of_a_grating_interferometer_are_volumes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in ("absorption", "phase", "dark_field"):
            file[name] = FRAMES
    with pytest.raises(InputError, match=r"holds 2 volumes \(absorption, phase\); name one"):
        open_volume(tmp_path / "a.h5", voxel_um=5)
    assert open_volume(tmp_path / "a.h5", voxel_um=5, dataset="dark_field").shape == FRAMES.shape
