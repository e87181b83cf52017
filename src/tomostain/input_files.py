"""Checks of input files that need no file library: pipes and devices, and the separator of a CSV table."""

import os
import re
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


def check_is_folder(path: str | os.PathLike[str], expected: str) -> None:
    """Raise unless a path is a folder; the message says whether nothing or a file is there, and what is expected.

    Raises
    ------
    InputError

    Examples
    --------
    >>> check_is_folder("nowhere", "a stained volume is an OME-Zarr folder")
    Traceback (most recent call last):
    ...
    tomostain.errors.InputError: nowhere: no such folder; a stained volume is an OME-Zarr folder
    """
    path = Path(path)
    if path.is_dir():
        return
    raise InputError(f"{path}: {'is a file, not a folder' if is_there(path) else 'no such folder'}; {expected}")


def is_there(path: str | os.PathLike[str]) -> bool:
    """Return whether an optional file is there. A broken link is: to read it gives an error, to ignore it would not."""
    return Path(path).is_symlink() or Path(path).exists()


def is_file_entry(entry: "os.DirEntry[str]") -> bool:
    """Return whether an entry of a folder is a file or a link to one. A link to itself is not, and no OSError."""
    try:
        return entry.is_file()
    except OSError:
        return False


def is_folder_entry(entry: "os.DirEntry[str]") -> bool:
    """Return whether an entry of a folder is a folder or a link to one. A link to itself is not, and no OSError."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def csv_dialect(text: str) -> tuple[int, str]:
    r"""Return the number of lines before the header (0 or 1), and the separator of the cells: comma, semicolon or tab.

    Examples
    --------
    >>> csv_dialect("a;b;c\n1,5;2;3"), csv_dialect("sep=;\na;b"), csv_dialect("a,b")
    ((0, ';'), (1, ';'), (0, ','))
    >>> csv_dialect('id,"notes; a; b; c"')
    (0, ',')
    """
    header = text.partition("\n")[0]
    stated = re.fullmatch(r"\ufeff?sep=([,;\t])\s*", header)
    if stated:
        return 1, stated[1]
    return 0, max(",;\t", key=re.sub(r'"[^"]*("|$)', "", header).count)
