"""Atomic writes: no partial file remains, and existing files are replaced only on request."""

import errno
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tomostain.errors import InputError
from tomostain.io import write_image, write_slide, write_stack
from tomostain.io.atomic import atomic_file, atomic_folder, write_text


def _write_half(path: Path) -> None:
    path.write_text("half")
    raise RuntimeError("broke off")


def test_file_is_kept_when_the_block_fails(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError, match="broke off"), atomic_file(tmp_path / "a.txt") as temporary:
        _write_half(temporary)
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_folder_is_kept_when_the_block_fails(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with pytest.raises(RuntimeError, match="broke off"), atomic_folder(tmp_path / "out", overwrite=True) as temporary:
        _write_half(temporary / "half")
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "old"]


def test_existing_output_is_refused(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(
        InputError, match=r"a\.txt: the output exists already; give another name, or add `overwrite=True`"
    ):
        write_text(tmp_path / "a.txt", "new", overwrite=False)
    with pytest.raises(InputError, match="is a folder, but a file is to be written"):
        write_text(tmp_path, "new")
    with pytest.raises(InputError, match="cannot be written there"):
        write_text(tmp_path / "a.txt" / "b.txt", "new")


@pytest.mark.parametrize("up", [".", ".."])
def test_the_working_folder_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, up: str) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis").touch()
    monkeypatch.chdir(tmp_path / "work")
    with (
        pytest.raises(InputError, match="home or working folder"),
        atomic_folder((tmp_path / "work" / up).resolve(), overwrite=True),
    ):
        pass
    assert (tmp_path / "work" / "thesis").exists()


def _full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.zeros((8, 8), np.uint8)
    real = tifffile.imwrite

    def third_fails(path: Path, *args: object, **kwargs: object) -> None:
        _full_disk() if "0002" in str(path) else real(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(tifffile, "imwrite", third_fails)
    with pytest.raises(OSError, match="No space"):
        write_stack(tmp_path / "stack", [image] * 4, voxel_um=5)
    monkeypatch.setattr(tifffile, "imwrite", _full_disk)
    with pytest.raises(OSError, match="No space"):
        write_image(tmp_path / "image.tif", image)
    monkeypatch.setattr(tifffile.TiffWriter, "write", _full_disk)
    with pytest.raises(OSError, match="No space"):
        write_slide(tmp_path / "slide.ome.tif", np.zeros((8, 8, 3), np.uint8), 0.5)
    assert list(tmp_path.iterdir()) == []
