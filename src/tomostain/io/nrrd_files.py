"""The header and the values of a NRRD. The format: https://teem.sourceforge.net/nrrd/format.html."""

import gzip
import math
import re
import shutil
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.metadata.inside import check_excess, check_packed_size, file_inside
from tomostain.io.metadata.placement import PATIENT

NRRD_SUFFIXES = (".nrrd", ".nhdr")
_MAX_HEADER_BYTES = 1 << 20
_MAX_WHOLE_BYTES = 2**30
_SHORT_SPACES = {
    "ras": "right-anterior-superior",
    "las": "left-anterior-superior",
    "lps": "left-posterior-superior",
}


@dataclass(frozen=True)
class NrrdHeader:
    """The fields of a header that are needed here.

    Attributes
    ----------
    encoding : str
        Encoding of the values; "" if the header cannot be parsed.
    big_endian : bool
    data_files : tuple of str
        Files of the values, if they are not in the file of the header; names or a pattern, as stated.
    has_skips : bool
        Whether lines or bytes before the values are to be skipped.
    offset : int
        Bytes of the header, with the empty line after it.
    space : str
        Name of the coordinate system, in the words of the format; "" if it is not stated.
    units : tuple of (str or None)
        Units (x, y, z) of `vectors` and `origin`; None where not stated. The coordinates of a patient (such as
        "left-posterior-superior") are those of DICOM, NIfTI and ITK, which define the mm; so it is their default.
    vectors : tuple of 3 tuples, or None
        Step (x, y, z) along each axis, fastest first; None if neither directions nor spacings are stated. NaN along an
        axis whose spacing is not stated.
    origin : tuple of float or None
        Centre of the first voxel (x, y, z).
    labels : tuple of str
        Names of the axes, fastest first; empty if not stated.
    kinds : tuple of str
        Kinds of the axes, fastest first; empty if not stated.
    is_quantised : bool
        Whether it states the range of the values before they were converted to whole numbers (``old min``).
    """

    encoding: str = ""
    big_endian: bool = False
    data_files: tuple[str, ...] = ()
    has_skips: bool = False
    offset: int = 0
    space: str = ""
    units: tuple[str | None, ...] = (None, None, None)
    vectors: tuple[tuple[float, ...], ...] | None = None
    origin: tuple[float, ...] | None = None
    labels: tuple[str, ...] = field(default=())
    kinds: tuple[str, ...] = field(default=())
    is_quantised: bool = False


def nrrd_header(path: Path) -> NrrdHeader:
    """Read the header of a NRRD.

    Raises
    ------
    InputError
        If pynrrd is not installed, the header is too long, or it skips a number of lines or bytes that is not possible.
    """
    try:
        import nrrd
    except ImportError:
        raise InputError(f"{path}: reading NRRD needs pynrrd; pip install 'tomostain[io]'") from None
    with path.open("rb") as file:
        head = file.read(_MAX_HEADER_BYTES)
    end = re.search(rb"\r?\n\r?\n", head)
    if end is None and len(head) == _MAX_HEADER_BYTES:
        raise InputError(f"{path}: cannot be read: its header does not end; the file is damaged or of another format")
    lines = head[: end.start() if end else None].decode("utf-8", errors="replace").splitlines()
    lines, data_files = _without_data_files(lines)
    try:
        fields = {name.lower(): value for name, value in nrrd.read_header(lines).items()}
    except (nrrd.NRRDError, ValueError, KeyError, TypeError, IndexError, StopIteration, OverflowError):
        # SimpleITK may still read the values, but its lengths are not used.
        return NrrdHeader(data_files=data_files)
    lines_skipped, bytes_skipped = (
        fields.get(f"{what} skip", fields.get(f"{what}skip", 0)) for what in ("line", "byte")
    )
    if not 0 <= lines_skipped < 2**40 or not -1 <= bytes_skipped < 2**40:
        raise InputError(f"{path}: skips {lines_skipped} lines and {bytes_skipped} bytes; the header is damaged")
    return NrrdHeader(
        encoding=str(fields.get("encoding", "")).lower(),
        big_endian=str(fields.get("endian", "little")).lower() == "big",
        data_files=data_files,
        has_skips=bool(lines_skipped or bytes_skipped),
        offset=end.end() if end else len(head),
        labels=_words(fields.get("labels")),
        kinds=_words(fields.get("kinds")),
        is_quantised=any(f"old{space}{end}" in fields for space in (" ", "") for end in ("min", "max")),
        **_geometry(fields),
    )


def _without_data_files(lines: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Return the lines without ``data file``, and the names that it states."""
    for number, line in enumerate(lines):
        match = re.match(r"data ?file:\s*(.*)", line, re.IGNORECASE)
        if match:
            stated = match[1].strip()
            if not stated.upper().startswith("LIST"):
                return [*lines[:number], *lines[number + 1 :]], (stated,)
            return list(lines[:number]), tuple(name.strip() for name in lines[number + 1 :] if name.strip())
    return list(lines), ()


def _words(value: Any) -> tuple[str, ...]:
    """Return a list of quoted or unquoted words of a header."""
    if value is None:
        return ()
    words = value.split() if isinstance(value, str) else list(value)
    return tuple(str(word).strip('" ') for word in words)


def _geometry(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return space, units, vectors and origin."""
    space = str(fields.get("space", "")).strip().lower()
    space = _SHORT_SPACES.get(space, space)
    default = "mm" if space in _SHORT_SPACES.values() else None
    units = tuple(unit or default for unit in _words(fields.get("space units"))) or (default,) * 3
    directions = fields.get("space directions")
    if directions is None:
        return {"space": space} | _axis_geometry(fields)
    rows = [np.full(3, math.nan) if row is None else np.asarray(row, dtype=float).ravel() for row in directions]
    vectors = np.array([row for row in rows if row.shape == (3,) and not np.isnan(row).all()])
    if vectors.shape != (3, 3) or len(units) != 3:
        return {"space": space}
    origin = np.asarray(fields.get("space origin", (math.nan,) * 3), dtype=float).ravel()
    flips = _to_patient(space)
    return {
        "space": PATIENT if space in _SHORT_SPACES.values() else space,
        "units": units,
        "vectors": tuple(tuple(row) for row in (vectors * flips).tolist()),
        "origin": tuple((origin * flips).tolist()) if origin.shape == (3,) and np.isfinite(origin).all() else None,
    }


def _axis_geometry(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return vectors, origin and units that are stated axis by axis: by spacings, or by the ends of the axes.

    The ends are those of the outer voxels (centering "cell", the default of Teem and ITK) or their centres ("node").
    """
    spacings, mins, maxs = (_numbers(fields, name) for name in ("spacings", "axis mins", "axis maxs"))
    centers = _words(fields.get("centers", fields.get("centerings"))) or ("cell",) * 3
    is_node = np.array([(center.lower() == "node") for center in (*centers, "", "", "")[:3]])
    if np.isnan(spacings).all():
        spacings = (maxs - mins) / np.maximum(_numbers(fields, "sizes") - is_node, 1)
        if np.isnan(spacings).all():
            return {}
    first = mins + np.where(is_node, 0.0, spacings / 2)
    per_axis = (*_words(fields.get("units")), "", "", "")[:3]
    return {
        "vectors": tuple(tuple(row) for row in np.where(np.eye(3), spacings, 0.0)),
        "origin": tuple(first.tolist()) if np.isfinite(first).all() else None,
        "units": tuple(unit or None for unit in per_axis),
    }


def _numbers(fields: Mapping[str, Any], name: str) -> NDArray[np.float64]:
    """Return the first three numbers of a field, NaN where it has none; the format allows the name without a space."""
    values = np.asarray(fields.get(name, fields.get(name.replace(" ", ""), ())), dtype=float).ravel()[:3]
    return np.concatenate([values, np.full(3 - len(values), math.nan)])


def _to_patient(space: str) -> NDArray[np.float64]:
    """Return the signs (x, y, z) that turn a patient space into left-posterior-superior, as ITK does."""
    right, anterior = space.startswith("right-anterior"), "-anterior" in space
    named = space in _SHORT_SPACES.values()
    return np.array([-1.0 if named and right else 1.0, -1.0 if named and anterior else 1.0, 1.0])


def nrrd_data_files(path: Path, header: NrrdHeader) -> list[Path]:
    """Return the files of the values that a detached header names, after a check that they may be read.

    Raises
    ------
    InputError
        If one lies outside of the folder of the header, is missing, or is not a regular file.
    """
    files = []
    for name in header.data_files:
        if re.search(r"%[-+ 0#\d.]*[di]", name) and len(name.split()) >= 4:
            pattern, *numbers = name.split()
            files += [file_inside(path, each, "data file") for each in numbered_names(path, pattern, *numbers)]
        else:
            files.append(file_inside(path, name, "data file"))
    return files


def numbered_names(path: Path, pattern: str, *numbers: str) -> list[str]:
    """Return the names of a pattern such as ``slice%03d.raw`` with first number, last number and step.

    Raises
    ------
    InputError
        If they are not valid, or more than a million.
    """
    try:
        first, last, step = (int(number) for number in [*numbers[:3], "1"][:3])
        count = len(range(first, last + (1 if step > 0 else -1), step))
        if count > 10**6:
            raise ValueError
        return [pattern % number for number in range(first, last + (1 if step > 0 else -1), step)]
    except (ValueError, TypeError):
        raise InputError(
            f"{path}: its data file '{pattern[:80]}' has no valid numbers; the header is damaged"
        ) from None


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
        If the file is shorter than its header says, the file of its values is missing or outside of the folder, or it
        is too large to be read as a whole, as its encoding needs.
    """
    header = nrrd_header(path)
    files = nrrd_data_files(path, header)
    size = math.prod(shape) * dtype.itemsize
    if header.encoding not in ("raw", "gzip", "gz") or header.has_skips or len(files) > 1:
        if size > _MAX_WHOLE_BYTES:
            raise InputError(
                f"{path}: {size / 1e9:.3g} GB in the encoding '{header.encoding}' or in several files can only be read "
                "as a whole; store it as raw or gzip in one file"
            )
        return None
    data = files[0] if files else path
    offset = 0 if files else header.offset
    stored = dtype.newbyteorder(">" if header.big_endian else "<")
    # Outside the `try`: an InputError is a ValueError, too.
    if header.encoding == "raw":
        check_excess(data, data.stat().st_size, offset + size)
    file: Path | IO[bytes] = data if header.encoding == "raw" else _unpacked(data, offset, size)
    try:
        return np.memmap(file, dtype=stored, mode="r", offset=offset if file is data else 0, shape=shape)
    except (ValueError, OverflowError):
        raise InputError(f"{data}: shorter than its header says; the file is truncated, copy it again") from None


def _unpacked(path: Path, offset: int, size: int) -> IO[bytes]:
    """Unpack the gzip stream that starts at `offset` to an unnamed temporary file, which is removed when closed."""
    check_packed_size(path, size, path.stat().st_size - offset)
    unpacked = tempfile.TemporaryFile(prefix="tomostain-")  # noqa: SIM115 (lives as long as its map)
    try:
        with path.open("rb") as packed:
            packed.seek(offset)
            with gzip.GzipFile(fileobj=packed) as stream:
                shutil.copyfileobj(_Limited(stream, size), unpacked, 1 << 18)
                if stream.read(1):  # at the end of the stream, this compares its checksum
                    raise InputError(
                        f"{path}: its compressed data are longer than its header says; correct the size or the type of "
                        "the values in the header"
                    )
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        unpacked.close()
        state = "incomplete; the file is truncated" if isinstance(error, EOFError) else f"damaged ({error})"
        raise InputError(f"{path}: its compressed data are {state}, copy it again") from None
    unpacked.flush()
    return unpacked


class _Limited:
    """The first bytes of a stream: no more are unpacked than the header declares."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, size: int) -> None:
        self._stream, self._left = stream, size

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes."""
        data = self._stream.read(min(size, self._left) if size >= 0 else self._left)
        self._left -= len(data)
        return data
