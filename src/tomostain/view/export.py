"""A stained volume for other software: TIFF stacks (Avizo, Dragonfly, Fiji), VTK (ParaView), NRRD (3D Slicer)."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from tomostain.config import suggest
from tomostain.errors import InputError
from tomostain.io.atomic import atomic_file, atomic_folder, refuse_existing
from tomostain.io.images import write_stack
from tomostain.io.stained import StainedVolume, open_stained
from tomostain.progress import Progress, silent
from tomostain.view.rgba import rgba

FORMATS = ("rgba-tiff", "rgb-tiff", "vti", "nrrd")
MAX_WHOLE_BYTES = 4 * 2**30
"""Largest volume (as RGBA) that is written as one file: such writers hold all of it in memory."""
_SLAB = 16


def export(
    stained: Path,
    out: Path,
    to: str = "rgba-tiff",
    *,
    level: int = 0,
    overwrite: bool = False,
    max_bytes: int = MAX_WHOLE_BYTES,
    progress: Progress = silent,
) -> Path:
    """Write a stained OME-Zarr in a format that other software reads; alpha is the paper's (see `rgba`).

    Parameters
    ----------
    stained : Path
        The stained volume.
    out : Path
        Folder for the TIFF stacks (one slice is in memory at a time), file for ``vti`` and ``nrrd``.
    to : str
        ``rgba-tiff``, ``rgb-tiff``: a slice a file with the voxel size in the way of ImageJ. ``vti``: VTK image data
        with RGBA point scalars, spacing in µm. ``nrrd``: a vector image RGBA, spacing in mm, as 3D Slicer expects.
    level : int
        Level of the pyramid; 0 is full size.
    overwrite : bool
        Replace an existing file or folder.
    max_bytes : int
        Largest volume written as one file, bytes as RGBA.
    progress : Progress
        Listener.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    InputError
        If the format or level is unknown, the output exists, the volume is too large for one file, the suffix of a
        file is wrong, or the library for the format is not installed.

    References
    ----------
    Irvine et al., J. Synchrotron Rad. 2026, section 2.11.
    """
    if to not in FORMATS:
        raise InputError(f"--to {to}: is not a format known here{suggest(to, list(FORMATS))}")
    volume, out = open_stained(Path(stained)), Path(out)
    if not 0 <= level < len(volume.levels):
        raise InputError(f"--level {level}: {stained} has the levels 0 to {len(volume.levels) - 1}")
    refuse_existing(out, overwrite)
    if to.endswith("-tiff"):
        _write_tiff_stack(volume, out, to, level, overwrite, progress)
        return out
    if out.suffix.lower() != f".{to}":
        raise InputError(f"{out}: a {to} file must be named *.{to}")
    _check_size(volume, level, max_bytes)
    write: dict[str, Callable[..., None]] = {"vti": write_vti, "nrrd": write_nrrd}
    with atomic_file(out, overwrite) as temporary:
        write[to](temporary, _whole(volume, level, progress), volume.levels[level][1])
    return out


def write_vti(path: Path, volume: NDArray[np.uint8], voxel_um: tuple[float, float, float]) -> None:
    """Write a volume (Z, Y, X, 4) as VTK image data: point scalars ``RGBA``, spacing (x, y, z) in µm, zlib.

    Raises
    ------
    InputError
        If VTK is not installed or cannot write the file.
    """
    try:
        from vtkmodules.vtkIOXML import vtkXMLImageDataWriter
    except ImportError:
        raise InputError("writing vti needs VTK: pip install 'tomostain[render]'") from None
    from tomostain.view.render import vtk_image

    writer = vtkXMLImageDataWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(vtk_image(volume, voxel_um))
    writer.SetCompressorTypeToZLib()
    if not writer.Write():
        raise InputError(f"{path}: VTK could not write the file; is the disk full?")


def write_nrrd(path: Path, volume: NDArray[np.uint8], voxel_um: tuple[float, float, float]) -> None:
    """Write a volume (Z, Y, X, 4) as compressed NRRD vector image, spacing (x, y, z) in mm.

    Raises
    ------
    InputError
        If SimpleITK is not installed.
    """
    try:
        import SimpleITK as sitk
    except ImportError:
        raise InputError("writing nrrd needs SimpleITK: pip install 'tomostain[io]'") from None
    image = sitk.GetImageFromArray(volume, isVector=True)
    image.SetSpacing([step / 1000.0 for step in voxel_um[::-1]])
    sitk.WriteImage(image, str(path), useCompression=True)


def _write_tiff_stack(
    volume: StainedVolume, out: Path, to: str, level: int, overwrite: bool, progress: Progress
) -> None:
    """Write a slice a file and, beside them, what was exported."""
    shape, voxel_um = volume.levels[level]
    colours = rgba if to == "rgba-tiff" else np.asarray
    note = {
        "stained": str(volume.path),
        "to": to,
        "level": level,
        "shape": list(shape),
        "voxel_um": list(voxel_um),
        "provenance": volume.provenance,
    }
    with atomic_folder(out, overwrite) as temporary:
        slices = (colours(image) for slab in _slabs(volume, level, progress) for image in slab)
        write_stack(temporary, slices, voxel_um=voxel_um)
        text = yaml.safe_dump(note, sort_keys=False, allow_unicode=True)
        (temporary / "export.yaml").write_text(text, encoding="utf-8")


def _slabs(volume: StainedVolume, level: int, progress: Progress) -> Iterator[NDArray[np.uint8]]:
    """Read a level slab by slab."""
    depth = volume.levels[level][0][0]
    for z0 in range(0, depth, _SLAB):
        z1 = min(depth, z0 + _SLAB)
        yield volume.read(z0, z1, level)
        progress("exporting slices", z1, depth)


def _whole(volume: StainedVolume, level: int, progress: Progress) -> NDArray[Any]:
    """Read a whole level as RGBA."""
    result = np.empty((*volume.levels[level][0], 4), dtype=np.uint8)
    z0 = 0
    for slab in _slabs(volume, level, progress):
        result[z0 : z0 + len(slab)] = rgba(slab)
        z0 += len(slab)
    return result


def _check_size(volume: StainedVolume, level: int, max_bytes: int) -> None:
    """Raise if a level is too large for one file; say which level would do."""
    sizes = [4 * int(np.prod(shape)) for shape, _ in volume.levels]
    if sizes[level] <= max_bytes:
        return
    fits = [number for number, size in enumerate(sizes) if size <= max_bytes]
    way_out = f"give --level {fits[0]}, or --to rgba-tiff" if fits else "give --to rgba-tiff, which writes slices"
    raise InputError(
        f"{volume.path}: level {level} has {sizes[level] / 1e9:.2g} GB as RGBA, more than one file may have "
        f"({max_bytes / 1e9:.2g} GB); {way_out}"
    )
