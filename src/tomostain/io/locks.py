"""A claim on a piece of work: one process has it, on whatever machine, and it dies with its holder.

And the presence at a work, which any number may share: while somebody is there it is not removed.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tomostain.errors import InputError

try:
    import fcntl
except ImportError:  # not a POSIX system: there each volume has one process
    fcntl = None  # type: ignore[assignment]

# What file systems say that know no locks. The work is done then as if nobody else were there.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextmanager
def claim(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Claim what a lock file stands for, for the length of a block.

    Parameters
    ----------
    path : Path
        The lock file; its folder must exist. It is removed at the end.
    wait : bool
        Wait for another holder to end; otherwise yield False at once.

    Yields
    ------
    bool
        Whether the claim is ours. The kernel takes it back when the process dies, however it dies.

    Raises
    ------
    InputError
        If the folder may not be written in.

    Examples
    --------
    >>> import tempfile
    >>> lock = Path(tempfile.mkdtemp()) / "lock"
    >>> with claim(lock) as first, claim(lock) as second:
    ...     first, second
    (True, False)
    """
    held = _lock(path, wait) if fcntl else -1
    if held is None:
        yield False
        return
    try:
        yield True
    finally:
        if held >= 0:
            path.unlink(missing_ok=True)
            os.close(held)


class SharedLock:
    """Being at a work, until `leave`, the end of the process, or the end of this object.

    Parameters
    ----------
    path : Path
        The lock file; its folder must exist.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "presence"
    >>> is_unlocked(path)
    True
    >>> one, other = SharedLock(path), SharedLock(path)
    >>> one.leave()
    >>> is_unlocked(path)
    False
    >>> other.leave()
    >>> is_unlocked(path)
    True
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a")
        if fcntl:
            with suppress(OSError):  # a file system that knows no locks
                fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def leave(self) -> None:
        """Be there no longer."""
        self._file.close()

    __del__ = leave


def is_unlocked(path: Path) -> bool:
    """Say whether nobody holds a `SharedLock`; True too where the file system knows no locks."""
    if not fcntl or not path.exists():
        return True
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass
    return True


def _lock(path: Path, wait: bool) -> int | None:
    """Return the open lock file, None if another holds it, -1 where the file system knows no locks."""
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError:
            raise InputError(
                f"{path.parent}: may not be written in; ask for the right, or give another place"
            ) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # The holder before removed its file at the end; then what we hold is no longer what others will find.
            if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
                return file
        except BlockingIOError:
            os.close(file)
            return None
        except OSError as error:
            os.close(file)
            if error.errno in _NO_LOCKS:
                return -1
            raise
        os.close(file)
