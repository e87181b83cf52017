"""Output folders: which are replaced, and which files of the user prevent it."""

from pathlib import Path

import pytest

from tomostain.errors import InputError
from tomostain.io.output_folder import check_replaceable, check_sources_outside


def test_a_folder_with_the_input_or_with_other_files_is_not_replaceable(tmp_path: Path) -> None:
    folder, source = tmp_path / "pair", tmp_path / "slide.png"
    check_replaceable(folder, "pair", [source], {"ct.tif"}.__contains__)
    folder.mkdir()
    (folder / "ct.tif").touch()
    check_replaceable(folder, "pair", [source], {"ct.tif"}.__contains__)
    with pytest.raises(InputError, match=r"ct\.tif: lies in .*pair, which would be replaced"):
        check_replaceable(folder, "pair", [source, folder / "ct.tif"], {"ct.tif"}.__contains__)
    (folder / "notes.txt").touch()
    with pytest.raises(InputError, match=r"notes\.txt: is not a file of a pair"):
        check_replaceable(folder, "pair", [source], {"ct.tif"}.__contains__)


def test_an_output_lies_in_no_part_of_an_input(tmp_path: Path) -> None:
    scan, dataset = tmp_path / "scan", tmp_path / "dataset"
    dataset.mkdir()
    (dataset / "dataset.yaml").touch()
    check_sources_outside(scan / "stained.ome.zarr", "volume", [scan])
    with pytest.raises(InputError, match=r"slice_9\.tif: lies in .*scan, which is an input"):
        check_sources_outside(scan / "slice_9.tif", "image", [scan])
    with pytest.raises(InputError, match=r"run: lies in .*dataset, which is an input"):
        check_sources_outside(dataset / "run", "run", [dataset])
    with pytest.raises(InputError, match="is an input of this command"):
        check_sources_outside(scan, "volume", [scan])
