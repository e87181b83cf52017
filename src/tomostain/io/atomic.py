"""Atomic writing: to a temporary name next to the target, then one rename."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tomostain.errors import InputError


def refuse_existing(path: Path, overwrite: bool, what: str = "output") -> None:
    """Raise if `path` exists and may not be replaced.

    Raises
    ------
    InputError
        If `path` exists, is not an empty folder, and `overwrite` is false.
    """
    path = Path(path)
    empty_folder = path.is_dir() and not any(path.iterdir())
    if path.exists() and not empty_folder and not overwrite:
        raise InputError(f"{path}: the {what} exists already; give another name, or add `overwrite=True` to replace it")


@contextmanager
def atomic_file(path: Path, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path next to `path`; rename it to `path` if the block ends without an error.

    The temporary name keeps the suffixes of `path`, because many writers choose the format by them.

    Parameters
    ----------
    path : Path
        The file to write. Its folder is created.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    InputError
        If the file exists and `overwrite` is false, or `path` is a folder or cannot be written.
    """
    path = Path(path)
    refuse_existing(path, overwrite)
    if path.is_dir():
        raise InputError(f"{path}: is a folder, but a file is to be written; give a file name")
    temporary = _temporary_path(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder next to `path`; rename it to `path` if the block ends without an error.

    With `overwrite`, an existing folder is removed when the new one is complete.

    Raises
    ------
    InputError
        If `path` exists, is not an empty folder, and `overwrite` is false; or if it is or contains the home or
        working folder, which are never replaced.
    """
    path = Path(path)
    refuse_existing(path, overwrite)
    _refuse_home(path)
    temporary = _temporary_path(path)
    temporary.mkdir()
    try:
        yield temporary
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary_path(path: Path) -> Path:
    """Return a free path next to `path`, and create their folder."""
    make_parent(path)
    return path.with_name(f".{uuid.uuid4().hex[:8]}-{path.name}")


def make_parent(path: Path) -> None:
    """Create the folder that contains `path`.

    Raises
    ------
    InputError
        If it cannot be created.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise InputError(f"{path}: cannot be written there ({error.strerror}); give another folder") from None


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Re-raise a "disk full" error, which has no path, with the output path and a hint that the run can be resumed.

    Raises
    ------
    InputError
        For the errors of a full disk or a used quota. Other errors pass.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(
            f"{path}: the disk or your quota is full; make room and run the same command again to continue"
        ) from None


def _refuse_home(path: Path) -> None:
    """Raise if a folder is or contains the home or working folder, even with ``overwrite=True``."""
    resolved = path.resolve()
    for protected in (Path.cwd(), Path("~").expanduser() if "HOME" in os.environ else Path.cwd()):
        if protected.resolve().is_relative_to(resolved):
            raise InputError(
                f"{path}: is your home or working folder, or contains it, and is not replaced; give a new folder"
            )


def write_text(path: Path, text: str, overwrite: bool = True) -> None:
    """Write a text file (UTF-8) atomically."""
    with atomic_file(path, overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")
