"""Atomic writing: to a temporary name next to the target, then one rename.

A file that appears at the target during the writing is not replaced, unless ``overwrite=True``.
Each temporary file or folder has a lock file, which its process holds. When the process is killed, the operating system
releases the lock, and the next writer in the same folder removes the partial copy. Some network file systems have locks
only within one machine: the lock file names its machine, and others wait a week.
"""

import errno
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tomostain.deprecation import renamed
from tomostain.errors import InputError
from tomostain.input_files import refuse_url
from tomostain.io.locks import NO_LOCK, acquire, describe_holder, holder_of, release_file
from tomostain.paths import StrPath

_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EACCES)
# How the names of temporary files and folders begin.
TEMPORARY = ".tomostain-"
_TEMPORARY = re.compile(r"\.tomostain-[0-9a-f]{8}-.+\.lock", re.DOTALL)
_PREFIX = len(".tomostain-01234567-")
_MAX_NAME_BYTES = 255 - len(".former")
_FOREIGN_LEFTOVER_S = 7 * 24 * 3600.0
IGNORED_NAMES = frozenset((".DS_Store", "Thumbs.db", "desktop.ini"))
Contents = dict[str, tuple[int, int, int]]
_cleaned: set[Path] = set()
"""Folders in which this process has removed leftovers before writing a file."""


def refuse_existing(path: StrPath, overwrite: bool, what: str = "output") -> None:
    """Raise if `path` exists and may not be replaced.

    Raises
    ------
    InputError
        If `path` exists, is not an empty folder, and `overwrite` is false.
    """
    refuse_url(path)
    path = Path(path)
    empty_folder = path.is_dir() and not any(path.iterdir())
    if os.path.lexists(path) and not empty_folder and not overwrite:
        remove_leftovers(path.parent)  # of a process that was killed just after it had written `path`
        raise InputError(f"{path}: the {what} exists already; give another name, or add `overwrite=True` to replace it")


@contextmanager
def atomic_file(path: StrPath, overwrite: bool = True, *, refuse_changed: bool = False) -> Iterator[Path]:
    """Yield a temporary path next to `path`; rename it to `path` if the block ends without an error.

    The temporary name keeps the suffixes of `path`, because many writers choose the format by them.

    Parameters
    ----------
    path : str or os.PathLike
        The file to write. Its folder is created.
    overwrite : bool
        Replace an existing file.
    refuse_changed : bool
        With `overwrite`, do not replace a file that appeared or changed since the start.

    Raises
    ------
    InputError
        If the file exists at the start or at the end and `overwrite` is false, if it changed and `refuse_changed` is
        true, or if `path` is a folder or cannot be written.
    """
    path = Path(path)
    refuse_existing(path, overwrite)
    at_start = _contents(path) if refuse_changed else {}
    if path.is_dir():
        raise InputError(f"{path}: is a folder, but a file is to be written; give a file name")
    if path.parent not in _cleaned:
        _cleaned.add(path.parent)
        remove_leftovers(path.parent)
    with _temporary_path(path) as temporary:
        yield temporary
        if overwrite and refuse_changed and _contents(path) not in ({}, at_start):
            raise _appeared(path, "was changed" if at_start else "appeared")
        if overwrite:
            temporary.replace(path)
        else:
            _move_to_free_name(temporary, path)


@contextmanager
def atomic_folder(path: StrPath, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder next to `path`; rename it to `path` if the block ends without an error.

    With `overwrite`, the folder that exists at the start is removed when the new one is complete. It is not replaced if
    its files changed until then. Neither is anything else that is at `path` at the end.

    Raises
    ------
    InputError
        If `path` exists, is not an empty folder, and `overwrite` is false; if something else appears there, or in the
        folder that exists, until the end; or if it is or contains the home or working folder, which are never replaced.
    """
    path = Path(path)
    path = path.resolve() if path.is_symlink() and path.is_dir() else path
    refuse_existing(path, overwrite)
    _refuse_home(path)
    replaceable = (_identity(path), _contents(path)) if overwrite else None
    remove_leftovers(path.parent)
    with _temporary_path(path) as temporary:
        temporary.mkdir()
        yield temporary
        _move_folder(temporary, path, replaceable)


@contextmanager
def temporary_folder(name: str) -> Iterator[Path]:
    """Yield a new folder in the temporary folder of the system, removed at the end.

    If the process is killed, the next call in any process removes it.
    """
    parent = Path(tempfile.gettempdir())
    remove_leftovers(parent)
    with _temporary_path(parent / name) as temporary:
        temporary.mkdir(mode=0o700)
        yield temporary


def _move_folder(temporary: Path, path: Path, replaceable: tuple[tuple[int, int] | None, Contents] | None) -> None:
    """Rename a folder to `path`. An empty folder there is replaced, and the one with this identity and content."""
    try:
        if os.name == "nt" and path.is_dir():  # Windows does not rename to an empty folder
            with suppress(OSError):
                path.rmdir()
        temporary.rename(path)
        return
    except OSError as error:
        if error.errno not in _OCCUPIED or not os.path.lexists(path):
            raise
    if replaceable is None or _identity(path) != replaceable[0]:
        raise _appeared(path)
    former = _former(temporary)
    path.rename(former)  # if anything fails from here on, `_discard` gives it its name back
    contents = _contents(former)
    changed = sorted(name for name, state in contents.items() if replaceable[1].get(name) != state)
    if changed:
        raise InputError(
            f"{path}: {changed[0] or 'it'} was added or changed while this command ran, so the folder is not replaced "
            "and this result is not written; run it again with another name, or move your files"
        )
    temporary.rename(path)


def _move_to_free_name(temporary: Path, path: Path) -> None:
    """Rename a file to `path`, which must not exist at that moment."""
    try:
        os.link(temporary, path)
        return
    except FileExistsError:
        raise _appeared(path) from None
    except (OSError, NotImplementedError):  # no hard links here
        pass
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        raise _appeared(path) from None
    temporary.replace(path)


def _appeared(path: Path, what: str = "appeared") -> InputError:
    return InputError(
        f"{path}: {what} while this command ran, so it is not replaced and this result is not written; "
        "run it again with another name, or move the existing one"
    )


def _identity(path: Path) -> tuple[int, int] | None:
    """Return the identity of a file or folder, to detect another one of the same name; None if there is none."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _contents(path: Path) -> Contents:
    """Return inode, time of change and size of a file, or by relative name those of each file in a folder."""
    if path.is_symlink() or not path.is_dir():
        return {"": _state(path)} if os.path.lexists(path) else {}
    contents: Contents = {}
    for folder, _, names in os.walk(path):
        files = (Path(folder, name) for name in names if name not in IGNORED_NAMES)
        contents.update((file.relative_to(path).as_posix(), _state(file)) for file in files)
    return contents


def _state(file: Path) -> tuple[int, int, int]:
    status = file.lstat()
    return status.st_ino, status.st_mtime_ns, status.st_size


@contextmanager
def _temporary_path(path: Path) -> Iterator[Path]:
    """Yield a free path next to `path`, locked by this process; remove what is there at the end."""
    make_parent(path)
    temporary = path.with_name(_temporary_name(path.name))
    lock_file = _lock_file(temporary)
    descriptor = acquire(lock_file, wait=True)
    try:
        if descriptor not in (None, NO_LOCK):
            describe_holder(descriptor, path.name)
        yield temporary
    finally:
        _discard(temporary, path)
        if descriptor not in (None, NO_LOCK):
            release_file(lock_file, descriptor)
        else:
            lock_file.unlink(missing_ok=True)


def _temporary_name(name: str) -> str:
    """Return a temporary name that ends like `name`; a long name is cut at its start, so that the system allows it."""
    prefix = f"{TEMPORARY}{uuid.uuid4().hex[:8]}-"
    while len(os.fsencode(prefix + name)) > _MAX_NAME_BYTES:
        name = name[1:]
    return prefix + name


def remove_leftovers(folder: StrPath) -> None:
    """Remove the partial files and folders that killed processes left in a folder.

    A folder that such a process had moved away, but not replaced yet, gets its name back. Where the file system has no
    locks, nothing is removed. Remains of a process on another machine are removed after seven days without a
    change, because the locks of some network file systems hold within one machine only.
    """
    folder = Path(folder)
    with suppress(OSError):
        lock_files = [Path(entry) for entry in os.scandir(folder) if _TEMPORARY.fullmatch(entry.name)]
        for lock_file in lock_files:
            temporary = lock_file.with_name(lock_file.name.removesuffix(".lock"))
            with suppress(InputError, OSError):
                descriptor = acquire(lock_file, wait=False)
                if descriptor is None or descriptor == NO_LOCK:
                    continue  # its process lives, or this is not known
                is_here, name = holder_of(descriptor)
                if not is_here and _age_s(lock_file, temporary) < _FOREIGN_LEFTOVER_S:
                    os.close(descriptor)
                    continue
                end = temporary.name[_PREFIX:]
                _discard(temporary, folder / (name if name.endswith(end) and Path(name).name == name else end))
                release_file(lock_file, descriptor)


def _age_s(*paths: Path) -> float:
    """Return the seconds since the last change of some files or folders."""
    return time.time() - max(path.lstat().st_mtime for path in paths if os.path.lexists(path))


def _discard(temporary: Path, path: Path) -> None:
    """Remove a temporary file or folder, and the one that it replaced; if it did not, that gets its name back."""
    former = _former(temporary)
    if os.path.lexists(former) and not os.path.lexists(path):
        former.rename(path)
    for leftover in (temporary, former):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _lock_file(temporary: Path) -> Path:
    return temporary.with_name(f"{temporary.name}.lock")


def _former(temporary: Path) -> Path:
    """Return the name of a folder that is being replaced."""
    return temporary.with_name(f"{temporary.name}.former")


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


__getattr__ = renamed(
    __name__,
    {name: f"tomostain.io.full_disk:{name}" for name in ("is_full_disk", "naming_full_disk")},
)
