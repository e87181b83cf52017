"""Pipes and devices are refused at once by every reader of files."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tomostain.config import read_yaml
from tomostain.errors import InputError
from tomostain.input_files import refuse_special_file
from tomostain.inspection import check_path
from tomostain.io import open_slide, open_stained, open_volume, read_image
from tomostain.io.checksums import read_sums
from tomostain.io.csv_files import read_csv

READERS: list[tuple[Callable[[Path], object], str]] = [
    (open_volume, ".tif"),
    (open_volume, ".h5"),
    (open_volume, ".nrrd"),
    (open_volume, ".nii.gz"),
    (open_volume, ".mha"),
    (open_slide, ".svs"),
    (open_slide, ".tif"),
    (read_image, ".png"),
    (check_path, ".tif"),
    (check_path, ""),
    (read_csv, ".csv"),
    (read_yaml, ".yaml"),
    (read_sums, ""),
]


@pytest.mark.parametrize(("read", "suffix"), READERS)
def test_a_pipe_is_refused_at_once(tmp_path: Path, read: Callable[[Path], object], suffix: str) -> None:
    path = tmp_path / f"pipe{suffix}"
    os.mkfifo(path)
    with pytest.raises(InputError, match=r"pipe.*(is a pipe, not a file|is not a regular file)"):
        read(path)


def test_a_pipe_in_the_place_of_metadata_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    os.mkfifo(tmp_path / "a.zarr" / "zarr.json")
    for read in (open_volume, check_path, open_stained):
        with pytest.raises(
            InputError, match=r"zarr\.json: is a pipe|zarr\.json: is not a regular file|not a stained volume"
        ):
            read(tmp_path / "a.zarr")


def test_devices_and_links_to_them_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").symlink_to("/dev/zero")
    with pytest.raises(InputError, match=r"a\.tif: is a device, not a file"):
        open_volume(tmp_path / "a.tif")
    refuse_special_file(tmp_path)
    refuse_special_file(tmp_path / "none")
