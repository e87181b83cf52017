"""SHA-256 checksums of files, and lists of them as ``sha256sum --check`` reads them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from tomostain.errors import InputError
from tomostain.input_files import refuse_special_file
from tomostain.paths import StrPath

_DIGITS = 64


def sha256(path: StrPath) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits. The file is read in parts.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as empty:
    ...     sha256(empty.name)[:16]
    'e3b0c44298fc1c14'
    """
    with Path(path).open("rb") as file:
        return sha256_of(file)


def sha256_of(file: IO[bytes]) -> str:
    """Return the SHA-256 of an open file, 64 hexadecimal digits. The file is read in parts."""
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # files of zipfile have readinto too


def format_sums(sums: Mapping[str, str]) -> str:
    """Return the text of a list of checksums (name to digits), a line for each file."""
    return "".join(f"{digits}  {name}\n" for name, digits in sums.items())


def read_sums(path: StrPath, remedy: str = "restore the file or remove it") -> dict[str, str]:
    """Read a list of checksums.

    Parameters
    ----------
    path : str or os.PathLike
        A text file of lines ``<64 hexadecimal digits>  <name>``.
    remedy : str
        What the error message asks the user to do.

    Returns
    -------
    dict of str to str
        Name to digits, in lower case.

    Raises
    ------
    InputError
        If a line is not a checksum.
    """
    path = Path(path)
    refuse_special_file(path)
    sums = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        digits, _, name = line.strip().partition(" ")
        name = name.strip().removeprefix("*")
        if line.strip() and (len(digits) != _DIGITS or not name):
            raise InputError(f"{path}: the line '{line[:80]}' is not a checksum; {remedy}")
        if line.strip():
            sums[name] = digits.lower()
    return sums
