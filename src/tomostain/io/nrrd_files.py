"""The values of a NRRD, mapped from its file. The header is parsed by pynrrd; see https://teem.sourceforge.net/nrrd/."""

import gzip
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError

NRRD_SUFFIXES = (".nrrd", ".nhdr")
_MAX_HEADER_BYTES = 1 << 20


@dataclass(frozen=True)
class NrrdHeader:
    """The fields of a header that are needed here.

    Attributes
    ----------
    unit : str
        Unit of length, "mm" if none is stated.
    encoding : str
        Encoding of the values; "" if the header cannot be parsed.
    big_endian : bool
    data_file : str or None
        File of the values, if they are not in the file of the header.
    has_skips : bool
        Whether lines or bytes before the values are to be skipped.
    offset : int
        Bytes of the header, with the empty line after it.
    """

    unit: str = "mm"
    encoding: str = ""
    big_endian: bool = False
    data_file: str | None = None
    has_skips: bool = False
    offset: int = 0


def nrrd_header(path: Path) -> NrrdHeader:
    """Read the header of a NRRD.

    Raises
    ------
    InputError
        If pynrrd is not installed.
    """
    try:
        import nrrd
    except ImportError:
        raise InputError(f"{path}: reading NRRD needs pynrrd; pip install 'tomostain[io]'") from None
    with path.open("rb") as file:
        head = file.read(_MAX_HEADER_BYTES)
    end = re.search(rb"\r?\n\r?\n", head)
    lines = head[: end.start() if end else None].decode("utf-8", errors="replace").splitlines()
    try:
        fields = {name.lower(): value for name, value in nrrd.read_header(lines).items()}
    except (nrrd.NRRDError, ValueError, KeyError, TypeError, StopIteration):  # SimpleITK may still read it
        return NrrdHeader()
    data_file = fields.get("data file", fields.get("datafile"))
    skips = (fields.get(name, 0) for name in ("line skip", "lineskip", "byte skip", "byteskip"))
    units = [unit.strip('" ') for unit in fields.get("space units", ())]
    return NrrdHeader(
        unit=units[0] if units and units[0] else "mm",
        encoding=str(fields.get("encoding", "")).lower(),
        big_endian=str(fields.get("endian", "little")).lower() == "big",
        data_file=None if data_file is None else str(data_file),
        has_skips=any(skips),
        offset=end.end() if end else len(head),
    )


def map_nrrd(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """Map the values of a raw or gzipped NRRD without reading them.

    Parameters
    ----------
    path : Path
    shape : tuple of int
        Slowest axis first.
    dtype : numpy.dtype

    Returns
    -------
    ndarray or None
        A read-only map of this shape; None if the encoding (text, bzip2, a list of files) leaves only SimpleITK.

    Raises
    ------
    InputError
        If the file is shorter than its header says, or the file of its values is missing.
    """
    header = nrrd_header(path)
    listed = header.data_file and ("LIST" in header.data_file or "%" in header.data_file)
    if header.encoding not in ("raw", "gzip", "gz") or header.has_skips or listed:
        return None
    data = path if header.data_file is None else path.parent / header.data_file
    if not data.is_file():
        raise InputError(f"{path}: its data file {data} is missing; copy it next to the header")
    offset = header.offset if header.data_file is None else 0
    stored = dtype.newbyteorder(">" if header.big_endian else "<")
    # Outside the `try`: an InputError is a ValueError, too.
    file: Path | IO[bytes] = data if header.encoding == "raw" else _unpacked(data, offset)
    try:
        return np.memmap(file, dtype=stored, mode="r", offset=offset if file is data else 0, shape=shape)
    except ValueError:
        raise InputError(f"{data}: shorter than its header says; the file is truncated, copy it again") from None


def _unpacked(path: Path, offset: int) -> IO[bytes]:
    """Unpack the gzip stream that starts at `offset` to an unnamed temporary file, which is removed when closed."""
    unpacked = tempfile.TemporaryFile(prefix="tomostain-")  # noqa: SIM115 (lives as long as its map)
    try:
        with path.open("rb") as packed:
            packed.seek(offset)
            with gzip.GzipFile(fileobj=packed) as stream:
                shutil.copyfileobj(stream, unpacked, 1 << 18)
    except (EOFError, gzip.BadGzipFile):
        unpacked.close()
        raise InputError(f"{path}: its compressed data are incomplete; the file is truncated, copy it again") from None
    unpacked.flush()
    return unpacked
