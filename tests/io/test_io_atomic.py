"""Atomic writes: no partial file remains, and existing files are replaced only on request."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tomostain.errors import InputError
from tomostain.io import write_image, write_slide, write_stack
from tomostain.io.atomic import atomic_file, atomic_folder, remove_leftovers, write_text


def _write_half(path: Path) -> None:
    path.write_text("half")
    raise RuntimeError("broke off")


def test_a_file_is_preserved_when_the_block_fails(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError, match="broke off"), atomic_file(tmp_path / "a.txt") as temporary:
        _write_half(temporary)
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_folder_is_preserved_when_the_block_fails(tmp_path: Path) -> None:
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


def _write_precious(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_text("precious")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_appears_meanwhile_is_not_deleted(tmp_path: Path, overwrite: bool) -> None:
    with (
        pytest.raises(InputError, match=r"out: appeared while this command ran"),
        atomic_folder(tmp_path / "out", overwrite) as temporary,
    ):
        _write_precious(tmp_path / "out" / "thesis", temporary / "result")
    assert (tmp_path / "out" / "thesis").read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["users.txt", "raw/users.txt", "old.txt"])
def test_files_that_are_added_to_the_replaced_folder_are_not_deleted(tmp_path: Path, name: str) -> None:
    _write_precious(tmp_path / "out" / "old.txt")
    os.utime(tmp_path / "out" / "old.txt", (1000, 1000))
    (tmp_path / "out" / "raw").mkdir()
    message = rf"out: {name} was added or changed while this command ran.*another name"
    with pytest.raises(InputError, match=message), atomic_folder(tmp_path / "out", True) as temporary:
        _write_precious(temporary / "result", tmp_path / "out" / name)
    assert (tmp_path / "out" / name).read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_files_that_a_file_browser_adds_or_a_user_removes_do_not_matter(tmp_path: Path) -> None:
    _write_precious(tmp_path / "out" / "old.txt")
    with atomic_folder(tmp_path / "out", True) as temporary:
        (temporary / "result").touch()
        (tmp_path / "out" / ".DS_Store").touch()
        (tmp_path / "out" / "old.txt").unlink()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "result"]


@pytest.mark.parametrize(
    ("machine", "days", "is_removed"),
    [
        ("boot-1 node-1", 0, True),  # here: the lock says that its process ended
        ("boot-0 node-1", 0, True),  # here, before the last boot
        ("boot-1 container", 0, True),
        ("boot-2 node-2", 6, False),  # elsewhere: its lock may not be seen here
        ("boot-2 node-2", 8, True),
        (" node-2", 0, False),  # not Linux
        ("", 0, True),  # of an older version
    ],
)
def test_leftovers_of_another_machine_wait_a_week(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, days: float, is_removed: bool
) -> None:
    monkeypatch.setattr("tomostain.io.locks.this_machine", lambda: ("boot-1", "node-1"))
    temporary, lock_file = (tmp_path / f".tomostain-01234567-out{end}" for end in ("", ".lock"))
    temporary.mkdir()
    lock_file.write_text(f"{machine}\nout\n" if machine else "")
    for path in (temporary, lock_file):
        os.utime(path, (time.time() - days * 86400,) * 2)
    remove_leftovers(tmp_path)
    assert temporary.exists() is not is_removed
    assert lock_file.exists() is not is_removed


def test_the_lock_file_names_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tomostain.io.locks.this_machine", lambda: ("boot-1", "node-1"))
    with atomic_folder(tmp_path / "out"):
        assert [file.read_text() for file in tmp_path.glob(".*.lock")] == ["boot-1 node-1\nout\n"]


@pytest.mark.parametrize("name", ["x" * 251 + ".tif", "µ" * 125 + ".zarr"])
def test_the_longest_names_are_written_and_restored(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "file")
    assert (tmp_path / name).read_text() == "file"
    (tmp_path / name).unlink()
    with atomic_folder(tmp_path / name) as temporary:
        assert temporary.suffix == Path(name).suffix
        (temporary / "old").touch()
        lock_file = next(tmp_path.glob(".*.lock"))
        content = lock_file.read_text()
    # As a process leaves it that is killed between the two renames.
    lock_file.write_text(content)
    (tmp_path / name).rename(temporary.with_name(f"{temporary.name}.former"))
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == [name, "old"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_not_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr("os.link", _no_links)
    path = tmp_path / "a.txt"
    with (
        pytest.raises(InputError, match=r"a\.txt: appeared while this command ran"),
        atomic_file(path, False) as temporary,
    ):
        _write_precious(path, temporary)
    assert path.read_text() == "precious"
    path.unlink()
    write_text(path, "new", overwrite=False)
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def _no_links(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def test_a_file_in_the_place_of_a_folder_is_not_deleted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="appeared"), atomic_folder(tmp_path / "out") as temporary:
        _write_precious(tmp_path / "out", temporary / "result")
    assert (tmp_path / "out").read_text() == "precious"


def test_an_empty_folder_is_filled_and_an_old_one_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for overwrite, name in ((False, "first"), (True, "second")):
        with atomic_folder(tmp_path / "out", overwrite) as temporary:
            (temporary / name).touch()
        assert [p.name for p in tmp_path.rglob("*")] == ["out", name]


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk", target_is_directory=True)
    with atomic_folder(tmp_path / "out") as temporary:
        (temporary / "result").touch()
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk" / "result").exists()


_WRITER = """
import os, signal, sys
from pathlib import Path
from tomostain.io.atomic import atomic_file, atomic_folder
with atomic_folder(Path("out"), True) as folder, atomic_file(Path("a.txt"), False) as file:
    (folder / "half").touch()
    file.write_text("half")
    print("written", flush=True)
    sys.stdin.readline()
    if sys.argv[1:] == ["between"]:
        Path("out").rename(f"{folder}.former")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def _writer(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, *arguments],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    return process


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_leftovers_of_killed_processes_only_are_removed(tmp_path: Path) -> None:
    dead, living = _writer(tmp_path), _writer(tmp_path)
    dead.communicate("\n")
    partial = sorted(p.name for p in tmp_path.iterdir())
    assert len(partial) == 8  # a folder, a file and two locks, twice
    with atomic_folder(tmp_path / "out") as temporary:
        (temporary / "result").touch()
    assert len([p for p in tmp_path.iterdir() if p.name.startswith(".")]) == 4
    living.communicate("\n")
    with atomic_folder(tmp_path / "other") as temporary:
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other", "out"]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_folder_that_was_moved_away_comes_back(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    _writer(tmp_path, "between").communicate("\n")
    assert not (tmp_path / "out").exists()
    remove_leftovers(tmp_path)
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "old"]


def test_one_of_two_writers_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match="appeared"),
        atomic_folder(tmp_path / "out") as late,
        atomic_folder(tmp_path / "out") as early,
    ):
        _write_precious(late / "late", early / "early")
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "early"]


def test_a_lock_that_outlived_its_file_is_removed_when_the_output_is_refused(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "complete")
    (tmp_path / ".tomostain-0123abcd-a.txt.lock").touch()  # as after a kill between the rename and the end
    with pytest.raises(InputError, match="exists already"):
        write_text(tmp_path / "a.txt", "new", overwrite=False)
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
