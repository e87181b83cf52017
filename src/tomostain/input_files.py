"""A check at the door of every reader: pipes and devices are not files, and reading them could wait for ever."""

import os
import stat
from pathlib import Path

from tomostain.errors import InputError

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def refuse_special_file(path: str | os.PathLike[str]) -> None:
    """Raise if a path is a pipe, socket or device; a path that does not exist is left to the caller.

    Raises
    ------
    InputError
        Before anything is opened.

    Examples
    --------
    >>> refuse_special_file(os.devnull)
    Traceback (most recent call last):
    ...
    tomostain.errors.InputError: /dev/null: is a device, not a file; save the data to a file first
    """
    try:
        kind = stat.S_IFMT(Path(path).stat().st_mode)
    except (OSError, ValueError):
        return
    if kind in _KINDS:
        raise InputError(f"{path}: is {_KINDS[kind]}, not a file; save the data to a file first")
