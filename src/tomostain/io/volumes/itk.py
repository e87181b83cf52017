"""MHA, NRRD and NIfTI through SimpleITK, by parts.

SimpleITK streams MHA and NIfTI (compressed or not), but takes a whole NRRD into memory whatever part is asked for
(measured with SimpleITK 2.5.7), so the values of a NRRD are mapped from its file; a gzipped one is unpacked to a
temporary file, once.
"""

import gzip
import math
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.metadata.units import Spacing, to_um

_NRRD_HEADER_LIMIT = 1 << 20
_MHA_HEADER_LIMIT = 1 << 16


@dataclass(frozen=True)
class ItkHeader:
    """What a header says, before any value is read.

    Attributes
    ----------
    shape : tuple of int
        Slowest axis first: (z, y, x) or (y, x).
    dtype : numpy.dtype
        Type of the values, after the rescaling that a NIfTI asks for.
    components : int
        Values a voxel (3 for colours).
    spacing : Spacing
        Voxel size (z, y, x), µm. The formats count in mm; exactly (1, 1, 1), their default, counts as not stated.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    components: int
    spacing: Spacing


@contextmanager
def _itk_errors(path: Path) -> Iterator[None]:
    """Turn ITK's many-line exceptions into one line."""
    try:
        yield
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith("Reason:")] or ["no reason given"]
        reason = re.sub(r"^(ITK ERROR: )?\w+\(0x[0-9a-f]+\): ", "", lines[-1])
        raise InputError(
            f"{path}: cannot be read ({reason[:160]}); the file is truncated, damaged or of another format"
        ) from None


def _reader(path: Path) -> Any:
    try:
        import SimpleITK as sitk
    except ImportError:
        raise InputError(f"{path}: reading this format needs SimpleITK; pip install 'tomostain[io]'") from None
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with _itk_errors(path):
        reader.ReadImageInformation()
    return reader


def itk_header(path: Path) -> ItkHeader:
    """Read the header of an MHA, NRRD or NIfTI file.

    Raises
    ------
    InputError
        If the file is damaged, or its values are not plain numbers.
    """
    import SimpleITK as sitk

    reader = _reader(path)
    shape = tuple(int(n) for n in reversed(reader.GetSize()))
    try:
        pixel = sitk.Image([1] * len(shape), reader.GetPixelID(), max(2, reader.GetNumberOfComponents()))
    except RuntimeError:
        pixel = sitk.Image([1] * len(shape), reader.GetPixelID())
    dtype = sitk.GetArrayViewFromImage(pixel).dtype
    _check_length(path, reader, dtype.itemsize)
    step = tuple(float(s) for s in reversed(reader.GetSpacing()))[-3:]
    unit = "mm"
    if path.suffix.lower() in (".nrrd", ".nhdr"):
        units = _nrrd_fields(path)[0].get("space units", "").replace('"', " ").split()
        unit = units[0] if units else "mm"
    if len(step) < 3 or step == (1.0, 1.0, 1.0):
        return ItkHeader(shape, dtype, reader.GetNumberOfComponents(), (None, None, None))
    if ".nii" in path.name.lower():
        step = tuple(float(f"{s:.6g}") for s in step)  # the header holds float32: 0.005 comes back as 0.00499999989
    z, y, x = (to_um(s, unit) for s in step)
    return ItkHeader(shape, dtype, reader.GetNumberOfComponents(), (z, y, x))


def _check_length(path: Path, reader: Any, itemsize: int) -> None:
    """Compare a NIfTI or uncompressed MHA with what its header announces, before ITK trips over its end."""
    name = path.name.lower()
    values = math.prod(int(n) for n in reader.GetSize()) * int(reader.GetNumberOfComponents())
    if name.endswith((".nii", ".nii.gz")):
        needed = int(float(reader.GetMetaData("vox_offset"))) + values * int(reader.GetMetaData("bitpix")) // 8
    elif name.endswith(".mha"):
        with path.open("rb") as file:
            head = file.read(_MHA_HEADER_LIMIT)
        needed = 0 if b"CompressedData = True" in head else head.find(b"ElementDataFile") + values * itemsize
    else:
        return
    size = path.stat().st_size
    if name.endswith(".gz"):
        # ITK reads a broken gzip without a word. Its last four bytes are the unpacked length modulo 2³² (RFC 1952);
        # behind the values there may be a little padding.
        with path.open("rb") as file:
            file.seek(-4, 2)
            if (int.from_bytes(file.read(), "little") - needed) % 2**32 < 2**20:
                return
        raise InputError(f"{path}: its compressed data break off; the file is truncated, copy it again")
    if needed > size:
        raise InputError(
            f"{path}: {size} bytes where its header announces {needed}; the file is truncated, copy it again"
        )


def itk_region(path: Path, header: ItkHeader, start: int, stop: int) -> NDArray[Any]:
    """Read the part `start` to `stop` of the slowest axis.

    Returns
    -------
    ndarray
        Of ``header.dtype``, shape ``(stop - start, *header.shape[1:])``, plus an axis of components if there are many.
    """
    import SimpleITK as sitk

    reader = _reader(path)
    size, index = list(reversed(header.shape)), [0] * len(header.shape)
    index[-1], size[-1] = start, stop - start
    reader.SetExtractIndex(index)
    reader.SetExtractSize(size)
    with _itk_errors(path):
        return np.asarray(sitk.GetArrayFromImage(reader.Execute()))


def map_nrrd(path: Path, header: ItkHeader) -> NDArray[Any] | None:
    """Map the values of a raw or gzipped NRRD without reading them.

    Returns
    -------
    ndarray or None
        A read-only map of shape ``header.shape``; None where the encoding (text, bzip2, a list of files) leaves only
        SimpleITK.

    Raises
    ------
    InputError
        If the file is shorter than its header says.
    """
    fields, offset = _nrrd_fields(path)
    encoding = fields.get("encoding", "").lower()
    detached = fields.get("data file", fields.get("datafile"))
    skips = {fields.get(key, "0") for key in ("line skip", "lineskip", "byte skip", "byteskip")}
    if (
        encoding not in ("raw", "gzip", "gz")
        or skips != {"0"}
        or (detached and ("LIST" in detached or "%" in detached))
    ):
        return None
    data = path if detached is None else path.parent / detached
    if not data.is_file():
        raise InputError(f"{path}: its data file {data} is missing; copy it beside the header")
    offset = offset if detached is None else 0
    if encoding != "raw":
        data_file: Any = _unpacked(data, offset)
        offset = 0
    else:
        data_file = data
    dtype = header.dtype.newbyteorder(">" if fields.get("endian", "little").lower() == "big" else "<")
    try:
        return np.memmap(data_file, dtype=dtype, mode="r", offset=offset, shape=header.shape)
    except ValueError:
        raise InputError(f"{data}: shorter than its header says; the file is truncated, copy it again") from None


def _unpacked(path: Path, offset: int) -> Any:
    """Unpack the gzip stream that begins at `offset` to an unnamed temporary file, which goes when it is closed."""
    unpacked = tempfile.TemporaryFile(prefix="tomostain-")  # noqa: SIM115 (lives as long as the map of it)
    try:
        with path.open("rb") as packed:
            packed.seek(offset)
            with gzip.GzipFile(fileobj=packed) as stream:
                shutil.copyfileobj(stream, unpacked, 1 << 18)
    except (EOFError, gzip.BadGzipFile):
        unpacked.close()
        raise InputError(f"{path}: its compressed data break off; the file is truncated, copy it again") from None
    unpacked.flush()
    return unpacked


def _nrrd_fields(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields of a NRRD header (names in lower case) and the offset of the data behind it."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while file.tell() < _NRRD_HEADER_LIMIT:
            raw = file.readline(1 << 16)
            line = raw.decode("utf-8", errors="replace").strip()
            if not line:
                break
            name, separator, value = line.partition(": ")
            if separator and not line.startswith("#"):
                fields[name.strip().lower()] = value.strip()
        return fields, file.tell()
