"""Headers of MHA and NIfTI, checked before ITK reads them: the files that they name, and the sizes that they state."""

import gzip
import math
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from tomostain.errors import InputError
from tomostain.io.metadata.inside import check_excess, check_packed_size, file_inside
from tomostain.io.nrrd_files import NRRD_SUFFIXES, nrrd_data_files, nrrd_header, numbered_names

MHA_SUFFIXES = (".mha", ".mhd")
NIFTI_SUFFIXES = (".nii", ".nii.gz")
_MAX_MHA_HEADER_BYTES = 1 << 16
_NIFTI_1_BYTES = 348
_LINE_END = 2
_ARRAY_FIELDS = ("dimsize", "elementspacing", "elementsize", "offset", "position", "origin", "transformmatrix")
_GZIP = b"\x1f\x8b"
_MAGIC_BYTES = 4
_FIRST_BYTES = (b"\x5c\x01\0\0", b"\0\0\x01\x5c", b"\x1c\x02\0\0", b"\0\0\x02\x1c")
"""The size of the header of NIfTI-1 and NIfTI-2, in both byte orders."""

_NIFTI_COLOURS = (128, 2304)
"""Codes of RGB24 and RGBA32 (nifti1.h)."""

_DIMENSIONS = tuple(str(number) for number in range(1, 11))
_BLOCK = 1 << 20


def mha_fields(path: Path) -> dict[str, str]:
    """Return the fields of the header of an MHA or MHD, with names in lower case, up to the name of its data file."""
    with path.open("rb") as file:
        head = file.read(_MAX_MHA_HEADER_BYTES)
    fields: dict[str, str] = {}
    lines = head.decode("latin-1").splitlines()
    for number, line in enumerate(lines):
        name, separator, value = line.partition("=" if "=" in line else ":")
        if not separator:
            continue
        if fields.get(name.strip().lower(), value.strip()) != value.strip():
            fields["twice"] = name.strip()
        fields[name.strip().lower()] = value.strip()
        if name.strip().lower() == "elementdatafile":
            fields["listed"] = "\n".join(lines[number + 1 :]) if value.strip().upper().startswith("LIST") else ""
            break
    return fields


def check_data_files(path: Path) -> list[Path]:
    """Raise if a header names files outside of its folder, or such that are missing; return the named files."""
    name = path.name.lower()
    if name.endswith(NRRD_SUFFIXES):
        return nrrd_data_files(path, nrrd_header(path))
    if not name.endswith(MHA_SUFFIXES):
        return []
    fields = mha_fields(path)
    if "twice" in fields:
        raise InputError(f"{path}: states {fields['twice'][:40]} twice, differently; correct its header")
    before = list(fields)[: list(fields).index("ndims")] if "ndims" in fields else []
    orders = [fields[name] for name in ("binarydatabyteordermsb", "elementbyteordermsb") if name in fields]
    if len({order[:1].lower() for order in orders}) > 1:
        raise InputError(
            f"{path}: states two byte orders (BinaryDataByteOrderMSB {orders[0][:5]}, ElementByteOrderMSB "
            f"{orders[1][:5]}); remove the wrong one"
        )
    odd = [name for name in _ARRAY_FIELDS if name in before]
    if odd:
        raise InputError(f"{path}: states {odd[0]} before NDims, which is not read; put the line of NDims first")
    if "ndims" in fields and fields["ndims"] not in _DIMENSIONS:
        raise InputError(f"{path}: states {fields['ndims'][:20]} dimensions (NDims), not 1 to 10; the file is damaged")
    if fields.get("binarydata", "true").lower().startswith("f"):
        raise InputError(f"{path}: its values are text (BinaryData = False), which is not read; store it as binary")
    _check_skip(path, fields)
    stated = fields.get("elementdatafile", "")
    if not stated:
        raise InputError(f"{path}: cannot be read: its header names no data (ElementDataFile); the file is damaged")
    if stated.upper() == "LOCAL":
        return []
    if stated.upper().startswith("LIST"):
        names = [line.strip() for line in fields["listed"].splitlines() if line.strip()]
    elif "%" in stated:
        names = numbered_names(path, *stated.split())
    else:
        names = [stated]
    return [file_inside(path, each, "data file") for each in names]


def _check_skip(path: Path, fields: Mapping[str, str]) -> None:
    """Raise if the size of the header of an MHA, -1 or the bytes before the values, is not possible."""
    try:
        skipped = int(fields.get("headersize", 0))
    except ValueError:
        skipped = -2
    if not -1 <= skipped < 2**40:
        raise InputError(f"{path}: states a HeaderSize of {fields['headersize'][:20]} bytes; the file is damaged")
    # ITK counts it from the beginning of the file, and would read the header itself as values.
    if skipped > 0 and fields.get("elementdatafile", "").upper() == "LOCAL" and skipped != data_start(path):
        raise InputError(
            f"{path}: states a HeaderSize of {skipped} bytes, but its values begin at byte {data_start(path)}; remove "
            "the line HeaderSize"
        )


def stated_slope(path: Path) -> tuple[float, float]:
    """Return the scale and offset of the values of a MetaImage, which ITK does not apply.

    Raises
    ------
    InputError
        If they are not finite numbers, or the scale is 0.
    """
    if not path.name.lower().endswith(MHA_SUFFIXES):
        return 1.0, 0.0
    fields = mha_fields(path)
    texts = [
        fields.get(f"elementtointensityfunction{what}", default) for what, default in (("slope", "1"), ("offset", "0"))
    ]
    try:
        slope, intercept = (float(text) for text in texts)
    except ValueError:
        slope, intercept = math.nan, 0.0
    if not (math.isfinite(slope) and math.isfinite(intercept) and slope):
        raise InputError(
            f"{path}: states a scale of '{texts[0][:20]}' and an offset of '{texts[1][:20]}' for its values "
            "(ElementToIntensityFunction), which are not understood; correct or remove them"
        )
    return slope, intercept


def unapplied_scale(path: Path, reader: Any) -> tuple[float, float]:
    """Return what has to be applied to the values of a NIfTI that ITK reads: with a slope of 0 none is scaled.

    ITK adds the intercept also then.
    """
    try:
        slope, intercept = (float(reader.GetMetaData(key)) for key in ("scl_slope", "scl_inter"))
    except (RuntimeError, ValueError):
        return 1.0, 0.0
    return (1.0, -intercept) if slope == 0 and math.isfinite(intercept) else (1.0, 0.0)


def check_nifti(path: Path) -> None:
    """Raise if a NIfTI does not state where its values begin, or states that they are in another file."""
    name = path.name.lower()
    if not name.endswith(NIFTI_SUFFIXES):
        return
    with path.open("rb") as file:
        start = file.read(_MAGIC_BYTES)
    is_packed_file = start.startswith(_GZIP)
    if is_packed_file != name.endswith(".gz") and (is_packed_file or start in _FIRST_BYTES):
        state, ending = ("is", ".nii.gz") if is_packed_file else ("is not", ".nii")
        raise InputError(f"{path}: {state} compressed by gzip, unlike its name says; rename it to end in {ending}")
    try:
        with gzip.open(path, "rb") if name.endswith(".gz") else path.open("rb") as file:
            head = file.read(_NIFTI_1_BYTES)
    except (OSError, EOFError, zlib.error):
        return  # SimpleITK says why
    if len(head) < _NIFTI_1_BYTES or head[4:8] in (b"n+2\0", b"ni2\0"):
        return  # shorter, or NIfTI-2: SimpleITK reads or refuses it
    if head[:4] not in _FIRST_BYTES[:2]:
        raise InputError(f"{path}: does not begin with a header of NIfTI; the file is damaged or of another format")
    order: Literal["<", ">"] = "<" if head[0] == 0x5C else ">"
    (offset,) = struct.unpack(f"{order}f", head[108:112])
    if head[344:347] == b"ni1":
        raise InputError(f"{path}: its values are in another file; store header and values in one .nii")
    if not (math.isfinite(offset) and _NIFTI_1_BYTES + 4 <= offset < 2**31):
        raise InputError(f"{path}: states that its values begin at byte {offset:g}; the file is damaged")


def check_length(path: Path, reader: Any, itemsize: int) -> None:
    """Raise if a file is shorter than its header says, for a clearer message than ITK's, or declares far too much."""
    name = path.name.lower()
    values = math.prod(int(n) for n in reader.GetSize()) * int(reader.GetNumberOfComponents())
    size = path.stat().st_size
    if name.endswith(NIFTI_SUFFIXES):
        bits = int(reader.GetMetaData("bitpix"))
        if int(reader.GetMetaData("datatype")) in _NIFTI_COLOURS:  # bits of all colours of a voxel
            values //= int(reader.GetNumberOfComponents())
        needed = int(float(reader.GetMetaData("vox_offset"))) + values * bits // 8
    elif name.endswith(MHA_SUFFIXES):
        fields = mha_fields(path)
        if is_packed(fields) or "%" in fields.get("elementdatafile", ""):
            stored = sum(each.stat().st_size for each in check_data_files(path) or [path])
            check_packed_size(path, values * itemsize, stored)
            packed = fields.get("compresseddatasize", "")
            if is_packed(fields) and (stored == 0 or (packed.isdecimal() and int(packed) > stored)):
                raise InputError(
                    f"{path}: states {packed or 'some'} bytes of compressed values, but there are {stored}; the file "
                    "is truncated, copy it again"
                )
            return
        files = check_data_files(path)
        if len(files) > 1:
            return
        if files:
            path, size = files[0], files[0].stat().st_size
        skipped = 0 if files else data_start(path)
        needed = skipped + values * itemsize
        if int(fields.get("headersize", 0)) == 0:
            check_excess(path, size, needed, 4096 if files else _LINE_END)
    else:
        return
    if name.endswith(".gz"):
        check_packed_size(path, needed, size)
        # ITK reads a broken gzip without an error. Its last four bytes are the unpacked length modulo 2³² (RFC 1952);
        # a little padding may follow the values.
        with path.open("rb") as file:
            file.seek(-4, 2)
            if (int.from_bytes(file.read(), "little") - needed) % 2**32 < 2**20:
                return
        raise InputError(f"{path}: its compressed data are incomplete; the file is truncated, copy it again")
    if needed > size:
        raise InputError(f"{path}: {size} bytes, but its header states {needed}; the file is truncated, copy it again")
    if name.endswith(NIFTI_SUFFIXES):
        check_excess(path, size, needed)


def is_packed(fields: Mapping[str, str]) -> bool:
    """Return whether the values of an MHA are compressed, by the fields of its header."""
    return fields.get("compresseddata", "").lower().startswith("t")


def data_start(path: Path) -> int:
    """Return the byte where the values of an MHA begin: after the line that names their file."""
    with path.open("rb") as file:
        head = file.read(_MAX_MHA_HEADER_BYTES)
    line = head.find(b"ElementDataFile")
    return head.find(b"\n", max(0, line)) + 1


def check_packed_data(path: Path, size: int) -> None:
    """Unpack the compressed values of an MHA, and raise if they are damaged: SimpleITK returns wrong values then.

    Parameters
    ----------
    path : Path
        The header.
    size : int
        Bytes of the unpacked values.

    Raises
    ------
    InputError
        If the checksum of the compressed data differs, or they hold more or fewer bytes.
    """
    fields = mha_fields(path)
    files = check_data_files(path)
    if not is_packed(fields) or len(files) > 1:
        return
    data = files[0] if files else path
    unpacked, stream = 0, zlib.decompressobj()
    try:
        with data.open("rb") as file:
            file.seek(0 if files else data_start(path))
            while not stream.eof and unpacked <= size and (block := stream.unconsumed_tail or file.read(_BLOCK)):
                unpacked += len(stream.decompress(block, _BLOCK))
        if unpacked != size or not stream.eof:
            raise ValueError(f"{unpacked} of {size} bytes")
    except (zlib.error, ValueError) as error:
        raise InputError(f"{data}: its compressed values are damaged ({error}); copy the file again") from None
