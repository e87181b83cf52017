"""Rules of the local server: the file that an address names, and the bytes that a request asks for."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".map": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}


class RangeError(Exception):
    """The requested range is outside the file."""


def find_file(roots: Mapping[str, Path], address: str) -> Path | None:
    """Return the file that ``NAME/path`` names in the folder called NAME; None if there is no such file in it.

    Addresses that lead out of the folder (by ``..``, an absolute path or a symbolic link) return None.

    Parameters
    ----------
    roots : mapping of str to Path
        Folders that are served.
    address : str
        Path part of an address, percent-encoded, without its first slash.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     _ = (Path(name) / "zarr.json").write_text("{}")
    ...     found = find_file({"a.zarr": Path(name)}, "a.zarr/zarr.json")
    ...     found.name, find_file({"a.zarr": Path(name)}, "a.zarr/%2e%2e/secret")
    ('zarr.json', None)
    """
    name, _, rest = unquote(address).partition("/")
    root = roots.get(name)
    if root is None or "\0" in rest or "\\" in rest:
        return None
    parts = PurePosixPath(rest).parts
    if not parts or ".." in parts or parts[0] == "/":
        return None
    try:
        real, base = root.joinpath(*parts).resolve(strict=True), root.resolve(strict=True)
    except (OSError, RuntimeError):  # missing, unreadable, a name too long, or circular links
        return None
    return real if real.is_relative_to(base) and real.is_file() else None


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the bytes (first, last + 1) that a ``Range`` header requests; None for the whole file.

    For several ranges, or units other than bytes, the whole file is sent, as HTTP allows.

    Raises
    ------
    RangeError
        If the range starts after the end of the file.

    References
    ----------
    RFC 9110, section 14.

    Examples
    --------
    >>> byte_range("bytes=2-5", 100), byte_range("bytes=90-", 100), byte_range("bytes=-10", 100)
    ((2, 6), (90, 100), (90, 100))
    >>> byte_range(None, 100) is None
    True
    """
    match = re.fullmatch(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", header or "", flags=re.ASCII)
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        start, stop = max(0, size - int(match[2])), size
    else:
        start, stop = int(match[1]), min(size, int(match[2]) + 1 if match[2] else size)
        if match[2] and int(match[2]) < int(match[1]):
            return None
    if start >= stop:
        raise RangeError(f"{header} of {size} bytes")
    return start, stop
