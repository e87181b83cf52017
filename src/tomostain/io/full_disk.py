"""A full disk: how it is recognised, and one line that says what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tomostain.errors import InputError
from tomostain.progress import AGAIN, CONTINUE

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class FullDiskError(InputError):
    """A disk is full, or the quota of the user is used up.

    Parameters
    ----------
    what : str
        Which output, and where in it.
    next_step : str
        What to do when there is room.

    Examples
    --------
    >>> str(FullDiskError("out.zarr: the disk is full at slice 8"))
    'out.zarr: the disk is full at slice 8; make room and run the same command again'
    """

    def __init__(self, what: str, next_step: str = AGAIN) -> None:
        super().__init__(f"{what}; make room and {next_step}")
        self.args = (what, next_step)  # from which a copy is made in another process
        self.what = what

    def __str__(self) -> str:
        return f"{self.args[0]}; make room and {self.args[1]}"


def is_full_disk(error: BaseException) -> bool:
    """Return whether an error says that the disk is full, or that the quota of the user is used up.

    Examples
    --------
    >>> is_full_disk(OSError(errno.EDQUOT, "Disk quota exceeded")), is_full_disk(OSError(errno.EACCES, "denied"))
    (True, False)
    """
    return isinstance(error, OSError) and error.errno in _NO_SPACE


@contextmanager
def naming_full_disk(path: Path, next_step: str = CONTINUE) -> Iterator[None]:
    """Re-raise a "disk full" error, which has no path, with the output path and what to do next.

    Parameters
    ----------
    path : Path
        The output.
    next_step : str
        What to do when there is room. It replaces that of a `FullDiskError`.

    Raises
    ------
    FullDiskError
        For the errors of a full disk or a used quota. Other errors pass.
    """
    try:
        yield
    except FullDiskError as error:
        raise FullDiskError(error.what, next_step) from None
    except OSError as error:
        if not is_full_disk(error):
            raise
        raise FullDiskError(f"{path}: the disk or your quota is full", next_step) from None
