"""Locks between processes, also on different machines. The operating system releases a lock when its holder ends.

The locks themselves are those of `filelock`: ``flock`` on Unix, ``LockFileEx`` on Windows.
"""

import errno
import os
import platform
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from tomostain.deprecation import renamed
from tomostain.errors import InputError
from tomostain.paths import StrPath

# The errors of file systems that have no locks. The work is then done as if there were no other process.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
NO_LOCK = -1

__getattr__ = renamed(__name__, {"claim": "lock", "Presence": "SharedLock", "nobody_at": "is_unlocked"})


@contextmanager
def lock(path: StrPath, *, wait: bool = False) -> Iterator[bool]:
    """Hold an exclusive lock for the length of a block.

    Parameters
    ----------
    path : str or os.PathLike
        The lock file. Its folder must exist. The file is removed at the end.
    wait : bool
        Wait until another holder releases the lock; otherwise yield False at once.

    Yields
    ------
    bool
        Whether this process holds the lock. True as well if the file system has no locks.

    Raises
    ------
    InputError
        If the folder is not writable.
    FileNotFoundError
        If the folder does not exist.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "lock"
    ...     with lock(path) as first, lock(path) as second:
    ...         first, second
    (True, False)
    """
    path = Path(path)
    descriptor = acquire(path, wait)
    if descriptor is None:
        yield False
        return
    try:
        yield True
    finally:
        if descriptor != NO_LOCK:
            release_file(path, descriptor)


class SharedLock:
    """A lock that any number of processes hold: a folder with a `SharedLock` is in use and must not be removed.

    Held until `release`, the end of the process, or the end of this object. Each holder locks a separate file next
    to `path`.

    Parameters
    ----------
    path : str or os.PathLike
        The name that `is_unlocked` is asked about. Its folder must exist.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "presence.lock"
    ...     one, other = SharedLock(path), SharedLock(path)
    ...     one.release()
    ...     with_one = is_unlocked(path)
    ...     other.release()
    ...     with_one, is_unlocked(path)
    (False, True)
    """

    _descriptor = NO_LOCK

    def __init__(self, path: StrPath) -> None:
        path = Path(path)
        self._path = path.with_name(f"{path.stem}-{uuid.uuid4().hex[:12]}{path.suffix}")
        descriptor = acquire(self._path, wait=False)
        self._descriptor, self._process = NO_LOCK if descriptor is None else descriptor, os.getpid()

    def release(self) -> None:
        """Release the lock. A second call does nothing."""
        descriptor, self._descriptor = self._descriptor, NO_LOCK
        if descriptor == NO_LOCK:
            return
        if self._process == os.getpid():
            release_file(self._path, descriptor)
        else:  # a fork of the holder, which keeps the lock
            os.close(descriptor)

    leave = release
    __del__ = release


def is_unlocked(path: StrPath) -> bool:
    """Return whether no process holds a `SharedLock` of this path; True as well if the file system has no locks."""
    path = Path(path)
    try:
        files = list(path.parent.glob(f"{path.stem}*{path.suffix}"))
    except FileNotFoundError:  # the folder was removed while it was listed
        return True
    for file in files:
        try:
            descriptor = os.open(file, os.O_RDWR)
        except FileNotFoundError:  # released since the folder was listed
            continue
        try:
            if not filelock.lock_descriptor(descriptor, blocking=False):
                return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        finally:
            os.close(descriptor)
    return True


def acquire(path: Path, wait: bool) -> int | None:
    """Return the descriptor of the locked file; None if another holds it, `NO_LOCK` if there are no locks.

    The caller ends it with `release_file`.
    """
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError:
            raise InputError(
                f"{path.parent}: is not writable; change its permissions, or give another folder"
            ) from None
        try:
            if not filelock.lock_descriptor(descriptor, blocking=wait):
                os.close(descriptor)
                return None
            # The previous holder removed the file: then this lock is on a file that other processes do not see.
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except OSError as error:
            os.close(descriptor)
            if error.errno in _NO_LOCKS:
                return NO_LOCK
            raise
        os.close(descriptor)


def release_file(path: Path, descriptor: int) -> None:
    """Remove the lock file that `acquire` locked, and release it."""
    if os.name == "nt":  # Windows does not remove open files: of the next holder neither, which removes it later
        os.close(descriptor)
        with suppress(OSError):
            path.unlink(missing_ok=True)
        return
    with suppress(PermissionError):
        path.unlink(missing_ok=True)
    os.close(descriptor)


def this_machine() -> tuple[str, str]:
    """Return the identity of the running system (on Linux, of this boot; else "") and the name of the machine."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = ""
    return boot, platform.node()


def describe_holder(descriptor: int, note: str) -> None:
    """Write the identity of this machine and a note of one line into a lock file."""
    with suppress(OSError):  # a full disk: the caller reports it when it writes its data
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{' '.join(this_machine())}\n{note}\n".encode(errors="surrogateescape"))


def holder_of(descriptor: int) -> tuple[bool, str]:
    """Return whether `describe_holder` ran on this machine, and its note; (True, "") if it did not run."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    text = os.read(descriptor, 4096).decode(errors="surrogateescape")
    machine, _, note = text.partition("\n")
    boot, _, name = machine.partition(" ")
    this_boot, this_name = this_machine()
    return not text or name == this_name or boot == this_boot != "", note.removesuffix("\n")
