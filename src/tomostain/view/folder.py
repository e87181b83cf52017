"""Figures of a volume: the output of ``tomostain view``."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.figures.planes import orthogonal_planes
from tomostain.io import Volume, open_volume, write_image
from tomostain.io.array_source import split_source
from tomostain.io.atomic import atomic_folder
from tomostain.io.ome_zarr.reader import StainedVolume, open_stained
from tomostain.io.output_folder import source_paths
from tomostain.io.outputs import FolderKind, check_output
from tomostain.io.volumes.volume import VolumeSource
from tomostain.paths import StrPath
from tomostain.progress import Progress, silent
from tomostain.view.render.volume import picture_of_volume

_PICTURES = FolderKind("folder of pictures", r".*", "planes.png")  # other files stay
PICTURE_VOXELS = 2**25
"""Maximum number of voxels that are drawn. Finer pyramid levels and slices in between are not read."""


@overload
def view_path(
    path: "VolumeSource | StainedVolume",
    out: None = None,
    voxel_um: float | Sequence[float] | None = ...,
    overwrite: bool = ...,
    *,
    allow_missing: bool = ...,
    progress: Progress = ...,
) -> dict[str, NDArray[np.uint8]]: ...


@overload
def view_path(
    path: "VolumeSource | StainedVolume",
    out: StrPath,
    voxel_um: float | Sequence[float] | None = ...,
    overwrite: bool = ...,
    *,
    allow_missing: bool = ...,
    progress: Progress = ...,
) -> list[Path]: ...


def view_path(
    path: "VolumeSource | StainedVolume",
    out: StrPath | None = None,
    voxel_um: float | Sequence[float] | None = None,
    overwrite: bool = False,
    *,
    allow_missing: bool = False,
    progress: Progress = silent,
) -> list[Path] | dict[str, NDArray[np.uint8]]:
    """Draw figures of a volume: three orthogonal planes and, for a stained volume, volume renderings.

    Parameters
    ----------
    path : path, StainedVolume, Volume, array-like or tuple (array, voxel_um)
        A stained OME-Zarr, or a µCT volume that `open_volume` reads. An array (Z, Y, X) is µCT; a uint8 array
        (Z, Y, X, 3) is stained.
    out : path, optional
        Folder for ``planes.png``, ``rendering.png`` and ``rendering-half.png``. None: the figures are returned.
    voxel_um : float or sequence of float, optional
        Voxel size of an array, or of a µCT volume whose files do not state it, µm.
    overwrite : bool
        Replace existing figures.
    allow_missing : bool
        Fill slices of a µCT volume of which data are missing with zeros.
    progress : Progress
        Listener.

    Returns
    -------
    list of Path, or dict of str to ndarray of uint8, shape (rows, columns, 3)
        The files, or the figures by name: ``planes``, ``rendering`` and ``rendering-half``.

    Raises
    ------
    InputError
        If the volume cannot be read or the folder is not empty.

    Examples
    --------
    >>> list(view_path(np.zeros((8, 8, 8), np.uint8), voxel_um=5))
    ['planes']
    """
    if out is None:
        return _draw(_opened(path, voxel_um, allow_missing), progress)
    out = Path(out)
    check_output(out, _PICTURES, source_paths(path), overwrite=overwrite)
    pictures = _draw(_opened(path, voxel_um, allow_missing), progress)
    if out.is_dir() and any(out.iterdir()):
        _write(pictures, out, overwrite)
    else:
        # All figures or none: a run that was stopped between two of them would block the next one.
        with atomic_folder(out) as folder:
            _write(pictures, folder, overwrite)
    return [out / f"{name}.png" for name in pictures]


def _write(pictures: dict[str, NDArray[np.uint8]], folder: Path, overwrite: bool) -> None:
    """Write the figures to a folder."""
    for name, picture in pictures.items():
        write_image(folder / f"{name}.png", picture, overwrite=overwrite)


def _draw(volume: Volume | StainedVolume, progress: Progress) -> dict[str, NDArray[np.uint8]]:
    """Return the figures of a volume by name."""
    if isinstance(volume, Volume):
        grey, step = _read_grey(volume, progress)
        return {"planes": orthogonal_planes(grey, step)}
    rgb, step = read_small(volume, progress=progress)
    return {
        "planes": orthogonal_planes(rgb, step),
        "rendering": picture_of_volume(rgb, step, progress=progress),
        "rendering-half": picture_of_volume(rgb, step, cut="half", progress=progress),
    }


def _opened(
    source: VolumeSource | StainedVolume, voxel_um: float | Sequence[float] | None, allow_missing: bool
) -> Volume | StainedVolume:
    """Open a stained or a µCT volume."""
    if isinstance(source, Volume | StainedVolume):
        return source
    array = split_source(source, voxel_um, "voxel_um")
    if array is not None and len(array[0].shape) == 4:
        return StainedVolume.from_array(*array)
    if isinstance(source, str | os.PathLike) and is_stained(Path(source)):
        return open_stained(source)
    return open_volume(source, voxel_um=voxel_um, allow_missing=allow_missing)


def is_stained(path: Path) -> bool:
    """Whether a path is a stained volume. An unfinished one raises, as `open_stained` does."""
    if not any((Path(path) / name).is_file() for name in ("zarr.json", ".zgroup")):
        return False
    try:
        open_stained(path)
    except InputError as error:
        if "not finished" in str(error):
            raise
        return False
    return True


def read_small(
    stained: StainedVolume, max_voxels: int = PICTURE_VOXELS, *, progress: Progress = silent
) -> tuple[NDArray[np.uint8], tuple[float, float, float]]:
    """Read the finest level of a stained volume with at most `max_voxels` voxels, or else the coarsest level.

    Returns
    -------
    tuple of ndarray of uint8, shape (Z, Y, X, 3), and of float
        The volume and its voxel size (z, y, x), µm.
    """
    sizes = [int(np.prod(shape)) for shape, _ in stained.levels]
    level = next((number for number, size in enumerate(sizes) if size <= max_voxels), len(sizes) - 1)
    shape, step = stained.levels[level]
    stained.verify([level], progress)
    return stained.read(0, shape[0], level), step


def _read_grey(volume: Volume, progress: Progress) -> tuple[NDArray[Any], tuple[float, float, float]]:
    """Read every n-th voxel of a µCT volume, slice by slice, to stay within the maximum number of voxels."""
    every = max(1, int(np.ceil((np.prod(volume.shape, dtype=float) / PICTURE_VOXELS) ** (1 / 3))))
    indices = range(0, volume.shape[0], every)
    slices = []
    for number, z in enumerate(indices, start=1):
        slices.append(volume.read(z, z + 1)[0, ::every, ::every])
        progress("reading slices", number, len(indices))
    z_um, y_um, x_um = volume.voxel_um
    return np.stack(slices), (z_um * every, y_um * every, x_um * every)
