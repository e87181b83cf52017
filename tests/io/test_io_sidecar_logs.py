"""Choice of the log for a volume, and binned against unbinned scans: the folder decides, or the reader refuses."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.support import facilities as lay
from tomostain.errors import InputError
from tomostain.io import open_volume

VOLUME = np.zeros((2, 6, 8), np.float32)


def _hereon(
    tmp_path: Path, folder: str, log: str, log_name: str = "reco.log", slices: str = "reco_syn7_{:06d}.tif"
) -> Path:
    """Write slices in ``syn7/reco/<folder>`` and a log in ``syn7/reco``."""
    path = lay.slices(tmp_path / "syn7" / "reco" / folder, VOLUME, slices)
    (path.parent / log_name).write_text(log)
    return path


@pytest.mark.parametrize(
    ("folder", "voxel"),
    [
        ("float_rawBin2", 2.56),
        ("uint16_rawBin2_recoBin2", 5.12),
        ("float_rawBin2_phaseBin2_recoBin2", 10.24),
        ("float_bin2", 2.56),
        ("slices_bin_2", 2.56),
        ("float_binned", 2.56),
        ("float_unbinned", 1.28),
        ("float_bin1", 1.28),
    ],
)
@pytest.mark.parametrize("write", [lay.hereon_log, lay.old_hereon_log], ids=["new", "old"])
def test_the_folder_says_which_size(tmp_path: Path, folder: str, voxel: float, write) -> None:
    path = _hereon(tmp_path, folder, write(1.28, 2.56, "syn7"))
    assert open_volume(path).voxel_um == pytest.approx((voxel,) * 3)


@pytest.mark.parametrize("folder", ["float", "float_bin4"])
def test_a_folder_that_does_not_say_is_refused_with_both_sizes(tmp_path: Path, folder: str) -> None:
    path = _hereon(tmp_path, folder, lay.hereon_log(1.28, 2.56, "syn7"))
    with pytest.raises(
        InputError,
        match=r"reco\.log states voxels of 1\.28 µm or 2\.56 µm.* \(unbinned, binned\), and neither the name of the "
        "folder nor the slices say which is right; give it with `voxel_um`",
    ):
        open_volume(path)


def test_the_shape_of_the_slices_decides_where_the_folder_is_silent(tmp_path: Path) -> None:
    path = _hereon(tmp_path, "float", lay.old_hereon_log(1.28, 2.56, "syn7", "tomo.vol_shape : 8 6 2\n"))
    assert open_volume(path).voxel_um[0] == 2.56
    (path.parent / "reco.log").write_text(lay.hereon_log(1.28, 2.56, "syn7", "    vol_shape: [8 6 2]\n"))
    assert open_volume(path).voxel_um[0] == 2.56
    # Half the size: binned once more, or a part of the volume. The files do not show which.
    (path.parent / "reco.log").write_text(lay.old_hereon_log(1.28, 1.28, "syn7", "tomo.vol_shape : 16 12 4\n"))
    with pytest.raises(InputError, match=r"states voxels of 1\.28 µm or 2\.56 µm"):
        open_volume(path)


def test_binned_is_open_where_the_reconstruction_was_binned_again(tmp_path: Path) -> None:
    path = _hereon(tmp_path, "float_binned", lay.old_hereon_log(1.28, 2.56, "syn7", "reco_bin : 2\n"))
    with pytest.raises(InputError, match=r"states voxels of 1\.28 µm or 2\.56 µm or 5\.12 µm"):
        open_volume(path)


def test_binning_is_unknown_where_the_log_states_none(tmp_path: Path) -> None:
    path = _hereon(tmp_path, "float_binned", lay.old_hereon_log(1.28, 1.28, "syn7"))
    with pytest.raises(InputError, match=r"states voxels of 1\.28 µm or 2\.56 µm"):
        open_volume(path)


def test_without_binning_nothing_is_open(tmp_path: Path) -> None:
    path = _hereon(tmp_path, "float", lay.hereon_log(1.28, 1.28, "syn7"))
    assert open_volume(path).voxel_um[0] == 1.28


def test_the_log_with_the_binning_of_the_reconstruction_is_used(tmp_path: Path) -> None:
    path = _hereon(tmp_path, "float_rawBin4", lay.hereon_log(1.28, 2.56, "syn7"), "reco_rawBin2.log")
    with pytest.raises(
        InputError, match=r"states a raw binning of 4, \S+reco_rawBin2\.log one of 2; give the voxel size"
    ):
        open_volume(path)
    (path.parent / "reco_rawBin4.log").write_text(lay.hereon_log(1.28, 5.12, "syn7"))
    opened = open_volume(path)
    assert (opened.voxel_um[0], opened.voxel_from) == (5.12, "reco_rawBin4.log")


def test_logs_of_one_scan_that_contradict_each_other(tmp_path: Path) -> None:
    path = _hereon(tmp_path, "float_rawBin2", lay.hereon_log(1.28, 2.56, "syn7"), "reco_a.log")
    (path.parent / "reco_b.log").write_text(lay.hereon_log(1.4, 2.8, "syn7"))
    with pytest.raises(
        InputError, match=r"reco_a\.log states voxels of 2\.56 µm, \S+reco_b\.log of 2\.8 µm; give the right"
    ):
        open_volume(path)


@pytest.mark.parametrize("scan", ["syn7_2", "syn", "7", "other"])
def test_the_log_of_another_scan_is_not_used(tmp_path: Path, scan: str) -> None:
    path = _hereon(tmp_path, "float_rawBin2", lay.hereon_log(1.28, 2.56, scan))
    with pytest.raises(InputError, match=rf"not in the file, and \S+reco\.log is of {scan}; give it with `voxel_um`"):
        open_volume(path)


def test_slices_without_a_name_are_known_by_their_folders(tmp_path: Path) -> None:
    path = _hereon(tmp_path, "float_rawBin2", lay.hereon_log(1.28, 2.56, "syn7"), slices="reco_{:04d}.tif")
    assert open_volume(path).voxel_um[0] == 2.56


def test_the_folder_one_stands_in_and_links_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _hereon(tmp_path, "float_rawBin2", lay.hereon_log(1.28, 2.56, "syn7"))
    (tmp_path / "link").symlink_to(path)
    assert open_volume(tmp_path / "link").voxel_um[0] == 2.56
    monkeypatch.chdir(path)
    assert open_volume(Path()).voxel_um[0] == 2.56


def test_a_log_alone_among_the_slices_is_used(tmp_path: Path) -> None:
    path = lay.slices(tmp_path / "renamed", VOLUME, "slice_{:04d}.tif")
    (path / "x_rec.log").write_text(lay.skyscan_log(4.9))
    assert open_volume(path).voxel_um[0] == pytest.approx(4.9)
    # If there are two logs, the one that names the slices is used.
    (path / "slice_rec.log").write_text(lay.skyscan_log(6, prefix="slice"))
    assert open_volume(path).voxel_um[0] == pytest.approx(6)


def test_a_bruker_folder_named_after_the_camera_binning_is_not_multiplied(tmp_path: Path) -> None:
    path = lay.slices(tmp_path / "rat3_bin2_Rec", VOLUME, "rat3_bin2_rec{:08d}.tif")
    (path / "rat3_bin2_rec.log").write_text(lay.skyscan_log(9, prefix="rat3_bin2_rec"))
    assert open_volume(path).voxel_um[0] == pytest.approx(9)


def test_a_single_file_takes_only_the_log_that_names_it(tmp_path: Path) -> None:
    path = lay.hereon_hdf5(tmp_path, VOLUME)
    (tmp_path / "notes_rec.log").write_text(lay.skyscan_log(9))
    assert open_volume(path).voxel_um[0] == 5
    stack = tmp_path / "syn7_Mg10Gd.tif"
    tifffile.imwrite(stack, VOLUME, photometric="minisblack", metadata=None)
    with pytest.raises(InputError, match=r"states voxels of 2\.5 µm or 5 µm"):
        open_volume(stack)
    (tmp_path / "reco_rawBin2.log").write_text(lay.hereon_log(5, 5, "other"))
    with pytest.raises(InputError, match="the voxel size is not in the file, and "):
        open_volume(path)
