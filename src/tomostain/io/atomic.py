"""Writing that is whole or not there: a temporary name beside the target, then one rename."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tomostain.errors import InputError


def refuse_existing(path: Path, overwrite: bool, what: str = "output") -> None:
    """Raise unless `path` is free or may be replaced.

    Raises
    ------
    InputError
        If `path` exists (an empty folder counts as free) and `overwrite` is false.
    """
    path = Path(path)
    empty_folder = path.is_dir() and not any(path.iterdir())
    if path.exists() and not empty_folder and not overwrite:
        raise InputError(f"{path}: the {what} exists already; give another name, or add `overwrite=True` to replace it")


@contextmanager
def atomic_file(path: Path, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block ends without an error.

    The temporary name keeps the suffixes of `path`, since many writers choose the format by them.

    Parameters
    ----------
    path : Path
        The file to be written. Its folder is created.
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
        raise InputError(f"{path}: is a folder where a file is to be written; give a file name")
    temporary = _beside(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; rename it to `path` if the block ends without an error.

    The old folder, where there is one and `overwrite` is true, is removed only when the new one is complete.

    Raises
    ------
    InputError
        If `path` exists, is not an empty folder, and `overwrite` is false; or if it is the home or working folder or
        holds them, which is never replaced.
    """
    path = Path(path)
    refuse_existing(path, overwrite)
    _refuse_home(path)
    temporary = _beside(path)
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


def _beside(path: Path) -> Path:
    """Return a free name beside `path`, making the folder they lie in."""
    make_parent(path)
    return path.with_name(f".{uuid.uuid4().hex[:8]}-{path.name}")


def make_parent(path: Path) -> None:
    """Make the folder that `path` lies in.

    Raises
    ------
    InputError
        If that is not possible.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise InputError(f"{path}: cannot be written there ({error.strerror}); give another place") from None


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Say of a full disk, which names nothing by itself, which work it stopped and that the work can be gone on with.

    Raises
    ------
    InputError
        Instead of the system's error of a full disk or a spent quota; other errors pass.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(
            f"{path}: the disk it lies on is full, or your share of it; make room and run the same command again to "
            "continue"
        ) from None


def _refuse_home(path: Path) -> None:
    """Refuse to replace a folder that somebody lives in, even with ``overwrite=True``."""
    resolved = path.resolve()
    for lived_in in (Path.cwd(), Path("~").expanduser() if "HOME" in os.environ else Path.cwd()):
        if lived_in.resolve().is_relative_to(resolved):
            raise InputError(
                f"{path}: is your home or working folder, or holds it, and is not replaced; name a new folder"
            )


def write_text(path: Path, text: str, overwrite: bool = True) -> None:
    """Write a text file (UTF-8) whole or not at all."""
    with atomic_file(path, overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")
