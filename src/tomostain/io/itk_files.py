"""MHA, NRRD and NIfTI files through SimpleITK: headers, and the values of a part."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.metadata.units import Spacing, to_um
from tomostain.io.nrrd_files import NRRD_SUFFIXES, nrrd_header

MHA_SUFFIXES = (".mha", ".mhd")
NIFTI_SUFFIXES = (".nii", ".nii.gz")
_MAX_MHA_HEADER_BYTES = 1 << 16


@dataclass(frozen=True)
class ItkHeader:
    """The content of a header, before any value is read.

    Attributes
    ----------
    shape : tuple of int
        Slowest axis first: (z, y, x) or (y, x).
    dtype : numpy.dtype
        Type of the values, after the rescaling that a NIfTI states.
    components : int
        Values per voxel (3 for colours).
    spacing : Spacing
        Voxel size (z, y, x), µm. The formats use mm. Exactly (1, 1, 1), their default, counts as not stated.
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
    unit = nrrd_header(path).unit if path.suffix.lower() in NRRD_SUFFIXES else "mm"
    if len(step) < 3 or step == (1.0, 1.0, 1.0):
        return ItkHeader(shape, dtype, reader.GetNumberOfComponents(), (None, None, None))
    if ".nii" in path.name.lower():
        step = tuple(float(f"{s:.6g}") for s in step)  # the header holds float32: 0.005 comes back as 0.00499999989
    z, y, x = (to_um(s, unit) for s in step)
    return ItkHeader(shape, dtype, reader.GetNumberOfComponents(), (z, y, x))


def _check_length(path: Path, reader: Any, itemsize: int) -> None:
    """Raise if a NIfTI or uncompressed MHA is shorter than its header says, for a clearer message than ITK's."""
    name = path.name.lower()
    values = math.prod(int(n) for n in reader.GetSize()) * int(reader.GetNumberOfComponents())
    if name.endswith((".nii", ".nii.gz")):
        needed = int(float(reader.GetMetaData("vox_offset"))) + values * int(reader.GetMetaData("bitpix")) // 8
    elif name.endswith(".mha"):
        with path.open("rb") as file:
            head = file.read(_MAX_MHA_HEADER_BYTES)
        needed = 0 if b"CompressedData = True" in head else head.find(b"ElementDataFile") + values * itemsize
    else:
        return
    size = path.stat().st_size
    if name.endswith(".gz"):
        # ITK reads a broken gzip without an error. Its last four bytes are the unpacked length modulo 2³² (RFC 1952);
        # a little padding may follow the values.
        with path.open("rb") as file:
            file.seek(-4, 2)
            if (int.from_bytes(file.read(), "little") - needed) % 2**32 < 2**20:
                return
        raise InputError(f"{path}: its compressed data are incomplete; the file is truncated, copy it again")
    if needed > size:
        raise InputError(f"{path}: {size} bytes, but its header states {needed}; the file is truncated, copy it again")


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
