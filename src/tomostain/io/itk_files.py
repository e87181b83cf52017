"""MHA, NRRD and NIfTI files through SimpleITK: headers, and the values of a part."""

import math
import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomostain.errors import InputError, PlacementWarning, warn_user
from tomostain.io.itk_checks import (
    NIFTI_SUFFIXES,
    check_data_files,
    check_length,
    check_nifti,
    mha_fields,
    stated_slope,
    unapplied_scale,
)
from tomostain.io.metadata.placement import PATIENT, Placement, Triple, placement_of
from tomostain.io.metadata.units import Spacing, to_um, unknown_unit
from tomostain.io.nrrd_files import NRRD_SUFFIXES, nrrd_header

_MAX_STEP = 1e12
_SCANNER_FORMS = 2
"""Codes of NIfTI up to this one are coordinates of the scanner, or aligned to another scan of the subject."""

_MM = 1000.0
"""A millimetre, the unit of these formats unless they state another, in µm."""


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
        Voxel size (z, y, x), µm; None where the size or its unit is not stated. Exactly 1 mm, the default of the
        formats, counts as not stated.
    placement : Placement or None
        Where the volume lies, in the unit of `step`; None if it is not stated.
    step : tuple of float or None
        Voxel size (z, y, x) in µm or, if the unit is not stated, in that unit.
    labels : tuple of str
        Names of the axes in the order of `shape`, if the file states them.
    kinds : tuple of str
        Kinds of the axes of a NRRD in the order of `shape`, if the file states them.
    slope, intercept : float
        Scale and offset that the file states and ITK does not apply.
    conflict : str
        What the header states differently of the voxel size, as the beginning of a message; "" if nothing.
    unknown_unit : str
        A unit of lengths that is stated and not known; "" if there is none.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    components: int
    spacing: Spacing
    placement: Placement | None = None
    step: Triple | None = None
    labels: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    slope: float = 1.0
    intercept: float = 0.0
    conflict: str = ""
    unknown_unit: str = ""


@dataclass(frozen=True)
class _Geometry:
    """What a header states of lengths: as `NrrdHeader`, with (x, y, z) and the fastest axis first."""

    vectors: ArrayLike
    origin: ArrayLike | None
    units: Sequence[str | None]
    space: str = PATIENT
    conflict: str = ""


@contextmanager
def _itk_errors(path: Path) -> Iterator[None]:
    """Turn ITK's many-line exceptions into one line, and keep what its libraries print from the terminal."""
    try:
        with _quiet:
            yield
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith("Reason:")] or ["no reason given"]
        reason = re.sub(r"^(ITK ERROR: )?\w+\(0x[0-9a-f]+\): ", "", lines[-1])
        if "GetQuotedString" in reason:
            raise InputError(f"{path}: cannot be read: put the units and labels in its header in quotes") from None
        if "orthonormal" in reason:
            raise InputError(
                f"{path}: its axes are not perpendicular to each other, which is not read; resample it to a "
                "rectangular grid (3D Slicer, ANTs), or remove the form that states them (sform_code 0)"
            ) from None
        if "bzip2" in reason:
            raise InputError(
                f"{path}: its values are packed by bzip2, which is not read; save it as gzip or raw"
            ) from None
        raise InputError(
            f"{path}: cannot be read ({reason[:160]}); the file is truncated, damaged or of another format"
        ) from None
    except MemoryError:
        raise InputError(f"{path}: its header states more values than fit into memory; the file is damaged") from None


class _Quiet:
    """Discards the error stream of the process while any thread is in ITK: niftilib and MetaIO print to it."""

    def __init__(self) -> None:
        self._lock, self._count, self._saved = threading.Lock(), 0, -1

    def __enter__(self) -> None:
        with self._lock:
            self._count += 1
            if self._count == 1:
                with suppress(OSError):
                    self._saved = os.dup(2)
                    nowhere = os.open(os.devnull, os.O_WRONLY)
                    os.dup2(nowhere, 2)
                    os.close(nowhere)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._count -= 1
            if self._count == 0 and self._saved >= 0:
                os.dup2(self._saved, 2)
                os.close(self._saved)
                self._saved = -1


_quiet = _Quiet()


def _reader(path: Path) -> Any:
    try:
        import SimpleITK as sitk
    except ImportError:
        raise InputError(f"{path}: reading this format needs SimpleITK; pip install 'tomostain[io]'") from None
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(_header_file(path)))
    with _itk_errors(path):
        reader.ReadImageInformation()
    return reader


def _header_file(path: Path) -> Path:
    """Return the header for ITK: the target of a link if its values are not next to the link."""
    if not path.is_symlink():
        return path
    target = path.resolve()
    if target.parent == path.parent.resolve():
        return path
    return target if any(file.is_relative_to(target.parent) for file in check_data_files(path)) else path


def itk_header(path: Path) -> ItkHeader:
    """Read the header of an MHA, NRRD or NIfTI file.

    Raises
    ------
    InputError
        If the file is damaged, or its values are not plain numbers.
    """
    import SimpleITK as sitk

    check_data_files(path)
    check_nifti(path)
    reader = _reader(path)
    shape = tuple(int(n) for n in reversed(reader.GetSize()))
    try:
        pixel = sitk.Image([1] * len(shape), reader.GetPixelID(), max(2, reader.GetNumberOfComponents()))
    except RuntimeError:
        pixel = sitk.Image([1] * len(shape), reader.GetPixelID())
    dtype = sitk.GetArrayViewFromImage(pixel).dtype
    check_length(path, reader, dtype.itemsize)
    plain = ItkHeader(shape, dtype, reader.GetNumberOfComponents(), (None, None, None))
    if path.suffix.lower() in NRRD_SUFFIXES:
        nrrd = nrrd_header(path)
        plain = replace(plain, labels=nrrd.labels[::-1], kinds=nrrd.kinds[::-1])
        if nrrd.vectors is None:
            return plain
        return _with_geometry(path, plain, _Geometry(nrrd.vectors, nrrd.origin, nrrd.units, nrrd.space))
    is_nifti = path.name.lower().endswith(NIFTI_SUFFIXES)
    slope, intercept = unapplied_scale(path, reader) if is_nifti else stated_slope(path)
    plain = replace(plain, slope=slope, intercept=intercept)
    if len(shape) < 3:
        return plain
    return _with_geometry(path, plain, _itk_geometry(path, reader))


def _with_geometry(path: Path, header: ItkHeader, geometry: _Geometry) -> ItkHeader:
    """Return the header with its voxel size in µm where the units are stated, and with its placement."""
    vectors = np.asarray(geometry.vectors, dtype=float)
    if np.abs(vectors[np.isfinite(vectors)]).max(initial=0) > _MAX_STEP:
        raise InputError(f"{path}: states voxels of {np.nanmax(np.abs(vectors)):.3g}; the header is damaged")
    origin = None if geometry.origin is None else np.asarray(geometry.origin, dtype=float)
    factors = [to_um(1.0, unit) for unit in geometry.units]
    # Programs write 1 mm where no size was measured; they do not write 1 µm.
    plain = np.allclose(np.abs(vectors), np.eye(3)) and set(factors) <= {None, _MM}
    if None not in factors:
        scale = np.asarray(factors, dtype=float)
        vectors, origin = vectors * scale, None if origin is None else origin * scale
    lengths = [float(f"{length:.7g}") for length in np.linalg.norm(vectors, axis=1)[::-1]]
    spacing_um: list[float | None] = [_um(length, None not in factors and not plain) for length in lengths]
    if None in factors and not plain and np.count_nonzero(vectors) == 3:  # units of some axes only
        along = [factors[int(np.argmax(np.abs(vector)))] for vector in vectors][::-1]
        spacing_um = [None if um is None else _um(length * um, True) for length, um in zip(lengths, along, strict=True)]
    affine = placement_of(vectors.T, np.zeros(3) if origin is None else origin, geometry.space)
    if origin is None and affine is not None and not affine[1].is_turned:
        affine = None
    step = None if affine is None else affine[0]
    if affine is None and np.isfinite(vectors).all() and placement_of(vectors.T, np.zeros(3)) is None:
        warn_user(
            f"{path}: its position is not passed on: its axes are not perpendicular to each other; in space the volume "
            "is sheared",
            PlacementWarning,
        )
    return replace(
        header,
        spacing=(spacing_um[0], spacing_um[1], spacing_um[2]),
        placement=None if affine is None else affine[1],
        step=step if step is None else (lengths[0], lengths[1], lengths[2]),
        conflict=geometry.conflict,
        unknown_unit=unknown_unit(*geometry.units),
    )


def _um(length: float, is_stated: bool) -> float | None:
    return length if is_stated and math.isfinite(length) and length > 0 else None


def _itk_geometry(path: Path, reader: Any) -> _Geometry:
    """Return what ITK reads from the header of an MHA or NIfTI, with the unit that the file states.

    NIfTI: ``xyzt_units``; ITK converts to mm where they are known. MHA: ``DistanceUnits``. Without it, a file with
    ``AnatomicalOrientation`` (as ITK writes it) is in the coordinates of a patient, which are in mm as in DICOM. Of
    others the format does not define the unit.
    """
    unit: str | None = "mm"
    has_origin, is_nifti = True, ".nii" in path.name.lower()
    to_mm = 1.0
    if is_nifti:
        to_mm = {1: 1e3, 2: 1.0, 3: 1e-3}.get(code := int(float(reader.GetMetaData("xyzt_units"))) & 7, 1.0)
        unit = "mm" if code in (1, 2, 3) else None
        has_origin = any(int(float(reader.GetMetaData(f"{form}form_code"))) > 0 for form in "qs")
    else:
        fields = mha_fields(path)
        stated = fields.get("distanceunits", "?").strip()
        patient = "mm" if fields.get("anatomicalorientation", "???").strip("? ") else None
        unit = stated if stated.strip("? ") else patient
        if "elementspacing" not in fields and "elementsize" not in fields:
            unit = None

    def stored(values: Sequence[float]) -> NDArray[np.float64]:
        if is_nifti:  # holds float32 in its own unit: 0.005 comes back as 0.00499999989
            return np.array([float(str(np.float32(value / to_mm))) * to_mm for value in values[:3]])
        return np.array([float(f"{value:.15g}") for value in values[:3]])

    step, conflict = stored(reader.GetSpacing()), ""
    if is_nifti:
        step, conflict = _nifti_step(reader, step, to_mm)
    count = len(reader.GetSize())
    direction = np.reshape(reader.GetDirection(), (count, count))[:3, :3]
    origin = stored(reader.GetOrigin()) if has_origin else None
    return _Geometry((direction * step).T, origin, (unit,) * 3, conflict=conflict)


def _nifti_step(reader: Any, pixdim: NDArray[np.float64], to_mm: float) -> tuple[NDArray[np.float64], str]:
    """Return the voxel size (x, y, z) of a NIfTI, mm, and what contradicts it.

    ``pixdim`` belongs to the qform. If only the sform is set (``qform_code`` 0), it counts (method 3 of nifti1.h).
    Where both are set in the coordinates of the scanner, they must agree. An
    sform of a template (Talairach, MNI) may be scaled.
    """
    qform, sform = (int(float(reader.GetMetaData(f"{form}form_code"))) for form in "qs")
    if sform <= 0:
        return pixdim, ""
    rows = [[float(v) for v in reader.GetMetaData(f"srow_{axis}").split()][:3] for axis in "xyz"]
    lengths = np.linalg.norm(np.asarray(rows), axis=0) * to_mm
    lengths = np.array([float(str(np.float32(value / to_mm))) * to_mm for value in lengths])
    if np.allclose(lengths, pixdim, rtol=0.01) or not lengths.all():
        return pixdim, ""
    if qform <= 0:
        return lengths, ""
    if sform > _SCANNER_FORMS:
        return pixdim, ""
    sizes = (" x ".join(f"{1e3 * value:g}" for value in size[::-1]) for size in (pixdim, lengths))
    return pixdim, "its pixdim states voxels of {} µm, its sform of {} µm (z, y, x)".format(*sizes)


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
