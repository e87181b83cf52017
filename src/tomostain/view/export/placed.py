"""Exports that hold where a volume lies: VTK image data (lengths in µm) and NRRD (lengths in mm).

Sources: VTK's file formats (``Origin``, ``Spacing`` and ``Direction`` of ``ImageData``); the definition of the NRRD
format (https://teem.sourceforge.net/nrrd/format.html, "Space and orientation information").
"""

import gzip
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError, PlacementWarning, warn_user
from tomostain.io.metadata.placement import PATIENT, Placement
from tomostain.io.ome_zarr.reader import StainedVolume, open_stained
from tomostain.paths import StrPath

Voxel = tuple[float, float, float]
_MM_PER_UM = 1e-3
_LENGTHS = {
    "vti": "lengths are in µm",
    "nrrd": "lengths are in mm",
    "ome-zarr-0.4": "lengths are in µm",
    "rgba-tiff": "lengths are in µm",
    "rgb-tiff": "lengths are in µm",
}


def describe_export(volume: StainedVolume, to: str, level: int = 0) -> str:
    """Return the voxel size of an export in the unit of its format, in words; "" for a film.

    Parameters
    ----------
    volume : StainedVolume
    to : str
        The format.
    level : int
        The exported level.

    Returns
    -------
    str
        For example "voxels of 0.012 x 0.005 x 0.005 mm (z, y, x), lengths are in mm".
    """
    if to not in _LENGTHS:
        return ""
    unit, factor = ("mm", _MM_PER_UM) if to == "nrrd" else ("µm", 1.0)
    sizes = " x ".join(f"{size * factor:.7g}" for size in volume.levels[level][1])
    return f"voxels of {sizes} {unit} (z, y, x), {_LENGTHS[to]}"


def describe_file(path: StrPath, to: str, level: int = 0) -> str:
    """Return `describe_export` of a stained volume on disk."""
    return describe_export(open_stained(path), to, level)


def warn_of_lost_placement(volume: StainedVolume, to: str, level: int = 0) -> None:
    """Warn, in one line, if a format cannot hold the position or the directions of a volume."""
    placement = volume.placements[level]
    if volume.placement is None or placement is None or to in ("vti", "nrrd") or to not in _LENGTHS:
        return
    moved = [abs(value) for value in volume.placement.origin_um]
    if not placement.is_turned and all(value < step for value, step in zip(moved, volume.voxel_um, strict=True)):
        return  # the half voxel by which resampling moves the first voxel
    if to == "ome-zarr-0.4":
        if placement.is_turned:
            warn_user(
                f"{volume.path}: OME-Zarr cannot hold the directions of the axes, other software will ignore them "
                f"({placement.describe()}); use `to=nrrd` or `to=vti` to keep them",
                PlacementWarning,
            )
        return
    warn_user(
        f"{volume.path}: TIFF cannot hold the position of the volume ({placement.describe()}); it is in export.yaml "
        "only, use `to=nrrd` or `to=vti` to keep it",
        PlacementWarning,
    )


def write_vti(
    path: Path, volume: NDArray[np.uint8], voxel_um: Voxel, alpha: str, placement: Placement | None = None
) -> None:
    """Write a volume (Z, Y, X, 4) as VTK image data: point scalars ``RGBA``, lengths in µm, zlib.

    The rule for alpha and the unit are stored as field data named ``alpha`` and ``unit``.

    Raises
    ------
    InputError
        If VTK is not installed or cannot write the file.
    """
    try:
        from vtkmodules.vtkCommonCore import vtkStringArray
        from vtkmodules.vtkIOXML import vtkXMLImageDataWriter
    except ImportError:
        raise InputError("writing vti needs VTK: pip install 'tomostain[render]'") from None
    from tomostain.view.render.volume import vtk_image

    placement = placement or Placement()
    image = vtk_image(volume, voxel_um)
    image.SetOrigin(*placement.origin_um[::-1])
    image.SetDirectionMatrix(*np.asarray(placement.direction)[::-1, ::-1].ravel().tolist())
    for name, text in (("alpha", alpha), ("unit", "micrometer"), ("space", placement.space)):
        note = vtkStringArray()
        note.SetName(name)
        note.InsertNextValue(text)
        if text:
            image.GetFieldData().AddArray(note)
    writer = vtkXMLImageDataWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    writer.SetCompressorTypeToZLib()
    if not writer.Write():
        raise InputError(f"{path}: VTK could not write the file; is the disk full?")


def write_nrrd(
    path: Path, volume: NDArray[np.uint8], voxel_um: Voxel, alpha: str, placement: Placement | None = None
) -> None:
    """Write a volume (Z, Y, X, 4) as compressed NRRD vector image, lengths in mm.

    The rule for alpha is stored in the header under the key ``alpha``.
    """
    placement = placement or Placement()
    depth, rows, columns, channels = volume.shape
    steps = np.asarray(placement.direction) * np.asarray(voxel_um) * _MM_PER_UM
    vectors = (_vector(column[::-1]) for column in steps.T[::-1])
    header = (
        "NRRD0004",
        "# Complete NRRD file format specification at:",
        "# http://teem.sourceforge.net/nrrd/format.html",
        "type: unsigned char",
        "dimension: 4",
        f"space: {placement.space or PATIENT}",
        f"sizes: {channels} {columns} {rows} {depth}",
        f"space directions: none {' '.join(vectors)}",
        "kinds: vector domain domain domain",
        "encoding: gzip",
        'space units: "mm" "mm" "mm"',
        f"space origin: {_vector(np.asarray(placement.origin_um[::-1]) * _MM_PER_UM)}",
        f"alpha:={alpha}",
    )
    with path.open("wb") as file:
        file.write("\n".join((*header, "", "")).encode())
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0) as stream:
            for image in volume:
                stream.write(image.tobytes())


def _vector(values: Iterable[float]) -> str:
    return f"({','.join(f'{float(value):.12g}' for value in values)})"
