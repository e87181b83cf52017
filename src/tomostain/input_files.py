"""Checks of input files that need no file library: pipes and devices, and the cells of a CSV table."""

import codecs
import csv
import difflib
import io
import os
import re
import stat
from pathlib import Path

from tomostain.errors import InputError
from tomostain.paths import StrPath

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def refuse_url(path: StrPath) -> None:
    """Raise if a path is an address of another computer: it would be a folder with the name "https:".

    Raises
    ------
    InputError
        With what to do.

    Examples
    --------
    >>> refuse_url("https://host/stained.ome.zarr")
    Traceback (most recent call last):
    ...
    tomostain.errors.InputError: https://host/stained.ome.zarr: is an address, not a path; only local files are read ...
    """
    address = re.match(r"(https?|s3|gs|gcs|az|abfs|ftp|sftp|ssh|file|hdfs):/{1,3}", os.fspath(path), re.IGNORECASE)
    if address:
        raise InputError(
            f"{os.fspath(path)}: is an address, not a path; only local files are read and written: copy the data from "
            "or to there"
        )


def suggest_path(path: StrPath) -> str:
    """Return "; did you mean …?" for a path whose folder has an entry of nearly the same name, else "".

    Examples
    --------
    >>> suggest_path("nowhere/scan")
    ''
    """
    path = Path(path)
    try:
        names = {entry.name.lower(): entry.name for entry in os.scandir(path.parent)}
    except (OSError, ValueError):
        return ""
    near = difflib.get_close_matches(path.name.lower(), names, n=1, cutoff=0.85)
    return f"; did you mean {path.with_name(names[near[0]])}?" if near else ""


def refuse_special_file(path: StrPath) -> None:
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


def check_is_folder(path: StrPath, expected: str) -> None:
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


def is_there(path: StrPath) -> bool:
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


def csv_cells(data: bytes, errors: str = "strict") -> tuple[str, list[tuple[int, list[str]]]]:
    r"""Return the separator of a CSV table, and its rows: the line where each ends, counted from 1, and its cells.

    Parameters
    ----------
    data : bytes
        UTF-8, with or without a mark at its start, or the UTF-16 of Excel.
    errors : str
        What to do with bytes that are not text, as in ``bytes.decode``.

    Raises
    ------
    UnicodeDecodeError, csv.Error

    Examples
    --------
    >>> csv_cells(b"sep=;\nid; weeks\nA;4\n")
    (';', [(2, ['id', 'weeks']), (3, ['A', '4'])])
    """
    text = data.decode("utf-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig", errors)
    first, delimiter = csv_dialect(text)
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, delimiter=delimiter)
    return delimiter, [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader][first:]


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
