"""Output folders: which are replaced, and which files of the user prevent it."""

from pathlib import Path

import pytest

from tomostain.errors import InputError
from tomostain.io.output_folder import check_replaceable


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
