"""The verb `check`."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from tomostain.cli.main import run
from tomostain.io import write_stack

SHARED = Path(__file__).parents[2] / "../shared/data"


def test_check_describes_a_volume(volume, capsys):
    assert run(["check", str(volume)]) == 0
    assert "volume, 4 x 12 x 10 voxels of 20 x 20 x 20 µm (z, y, x), uint16" in capsys.readouterr().out


def test_missing_and_empty_folders(tmp_path, fails):
    assert "nowhere: no such" in fails("check", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "empty" in fails("check", tmp_path / "empty")


def test_the_name_of_a_similar_folder_is_suggested(tmp_path, fails):
    (tmp_path / "rat7_Rec").mkdir()
    message = fails("check", tmp_path / "rat7_rec")
    assert message.strip().endswith(f"rat7_rec: no such file or folder; did you mean {tmp_path / 'rat7_Rec'}?")
    assert "did you mean" not in fails("check", tmp_path / "scan")
    assert "rat7_Rec?" in fails("view", tmp_path / "rat7_rec")


def test_of_a_jpeg_only_the_message_as_a_slide_is_shown(tmp_path, fails):
    Image.fromarray(np.full((30, 30, 3), 200, np.uint8)).save(tmp_path / "slide.jpg")
    message = fails("check", tmp_path / "slide.jpg")
    assert "give it with --pixel-um" in message
    assert "volume format" not in message


def test_a_gap_in_the_slice_numbers(volume, fails):
    sorted(volume.iterdir())[2].unlink()
    assert "slice number 2 is missing" in fails("check", volume)


def test_mixed_shapes(volume, fails):
    tifffile.imwrite(sorted(volume.iterdir())[1], np.zeros((3, 3), np.uint16))
    assert "slice_0001.tif" in fails("check", volume)


def test_a_truncated_tiff(volume, fails):
    path = sorted(volume.iterdir())[2]
    path.write_bytes(path.read_bytes()[:40])
    assert "slice_0002.tif" in fails("check", volume)


def test_a_volume_with_nan(tmp_path, fails):
    data = np.ones((3, 8, 8), np.float32)
    data[1, 2, 3] = np.nan
    write_stack(tmp_path / "nan", data, voxel_um=(5.0, 5.0, 5.0))
    assert "NaN" in fails("check", tmp_path / "nan")


def test_hdf5_without_a_volume(tmp_path, fails):
    with h5py.File(tmp_path / "flat.h5", "w") as file:
        file["image"] = np.zeros((4, 4))
    message = fails("check", tmp_path / "flat.h5")
    assert "flat.h5" in message
    assert "slide" not in message  # HDF5 is never a slide


@pytest.mark.skipif(not (SHARED / "slides").is_dir(), reason="the shared real data are not here")
def test_real_files_that_are_not_what_they_seem(fails):
    assert "broken.svs" in fails("check", SHARED / "slides/broken.svs")
    assert "tooth.h5" in fails("check", SHARED / "tooth/tooth.h5")
