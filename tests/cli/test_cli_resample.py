"""The verb `resample`."""

import numpy as np
import pytest

from tomostain.cli.main import run
from tomostain.io import open_volume, write_stack


@pytest.fixture
def scan(tmp_path):
    values = np.random.default_rng(0).integers(0, 60000, (6, 20, 30)).astype(np.uint16)
    write_stack(tmp_path / "scan", values, voxel_um=10.0)
    return tmp_path / "scan"


def test_it_writes_a_volume_of_the_new_size(scan, tmp_path, capsys):
    assert run(["resample", str(scan), str(tmp_path / "out.ome.zarr"), "--voxel-um", "5"]) == 0
    assert open_volume(tmp_path / "out.ome.zarr").shape == (12, 40, 60)
    printed = capsys.readouterr().out
    assert "6 x 20 x 30 voxels of 10 x 10 x 10 µm" in printed
    assert "result: 12 x 40 x 60 voxels of 5 x 5 x 5 µm (z, y, x), uint16" in printed


def test_the_size_of_the_input_has_its_own_option(tmp_path, capsys):
    import h5py

    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["volume"] = np.zeros((4, 20, 30), np.uint16)
    words = ["resample", str(tmp_path / "scan.h5"), str(tmp_path / "out"), "--voxel-um", "5"]
    assert run(words) == 2
    assert "--input-voxel-um" in capsys.readouterr().err
    assert run([*words, "--input-voxel-um", "10,5,5"]) == 0
    assert open_volume(tmp_path / "out").shape == (8, 20, 30)


def test_a_dry_run_writes_nothing(scan, tmp_path, capsys):
    assert run(["resample", str(scan), str(tmp_path / "out.zarr"), "--voxel-um", "20", "--dry-run"]) == 0
    assert "memory: about" in capsys.readouterr().out
    assert not (tmp_path / "out.zarr").exists()


@pytest.mark.parametrize("option", [[], ["--dry-run"]])
def test_a_copy_and_a_flat_result_are_not_silent(scan, tmp_path, capsys, caplog, option):
    for size, sentence in (
        ("10", "scan: has this voxel size already; the result is a copy"),
        ("1000", "the result has only 1 voxel along z and y and x; is the voxel size (1000, 1000, 1000) µm"),
        ("5", ""),
    ):
        caplog.clear()
        assert run(["resample", str(scan), str(tmp_path / "out"), "--overwrite", *option, "--voxel-um", size]) == 0
        said = capsys.readouterr().err + caplog.text
        assert sentence in said
        assert ("the result" in said) == bool(sentence)


def test_errors_name_the_option(scan, tmp_path, capsys):
    words = ["resample", str(scan), str(tmp_path / "out"), "--voxel-um"]
    assert run([*words, "0"]) == 2
    assert "--voxel-um 0: expected 1 or 3 number(s)" in capsys.readouterr().err
    assert run([*words, "5", "--interpolation", "nearest"]) == 2
    assert "--interpolation: interpolation 'nearest': expected linear or cubic" in capsys.readouterr().err


def test_a_folder_with_other_files_is_not_replaced(scan, tmp_path, capsys):
    arguments = ["-q", "resample", str(scan), str(tmp_path / "out"), "--voxel-um", "20", "--overwrite"]
    assert run(arguments) == 0
    assert run(arguments) == 0
    (tmp_path / "out" / "notes.txt").write_text("mine", encoding="utf-8")
    assert run(arguments) == 2
    assert "notes.txt: is not a file of a resampled volume" in capsys.readouterr().err
    assert (tmp_path / "out" / "notes.txt").read_text(encoding="utf-8") == "mine"
