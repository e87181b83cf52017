"""A folder of figures of a volume: the output of ``tomostain view``."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.figures.planes import orthogonal_planes
from tomostain.io import Volume, open_volume, write_image
from tomostain.io.atomic import refuse_existing
from tomostain.io.ome_zarr.reader import StainedVolume, open_stained
from tomostain.io.output_folder import check_folder_name
from tomostain.progress import Progress, silent
from tomostain.view.render.volume import picture_of_volume

PICTURE_VOXELS = 2**25
"""Maximum number of voxels that are drawn. Finer pyramid levels and slices in between are not read."""


def view_path(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    voxel_um: float | Sequence[float] | None = None,
    overwrite: bool = False,
    *,
    allow_missing: bool = False,
    progress: Progress = silent,
) -> list[Path]:
    """Write figures of a volume: three orthogonal planes and, for a stained volume, volume renderings.

    Parameters
    ----------
    path : path
        A stained OME-Zarr, or a µCT volume that `open_volume` reads.
    out : Path
        Folder for ``planes.png``, ``rendering.png`` and ``rendering-half.png``.
    voxel_um : float or sequence of float, optional
        Voxel size of a µCT volume whose files do not state it, µm.
    overwrite : bool
        Replace existing figures.
    allow_missing : bool
        Fill slices of a µCT volume of which data are missing with zeros.
    progress : Progress
        Listener.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    InputError
        If the volume cannot be read or the folder is not empty.
    """
    path, out = Path(path), Path(out)
    check_folder_name(out, "output of view")
    refuse_existing(out, overwrite, "folder of pictures")
    pictures: dict[str, NDArray[np.uint8]] = {}
    if is_stained(path):
        rgb, step = read_small(open_stained(path), progress=progress)
        pictures["planes.png"] = orthogonal_planes(rgb, step)
        pictures["rendering.png"] = picture_of_volume(rgb, step, progress=progress)
        pictures["rendering-half.png"] = picture_of_volume(rgb, step, cut="half", progress=progress)
    else:
        grey, step = _read_grey(open_volume(path, voxel_um=voxel_um, allow_missing=allow_missing), progress)
        pictures["planes.png"] = orthogonal_planes(grey, step)
    for name, picture in pictures.items():
        write_image(out / name, picture, overwrite=overwrite)
    return [out / name for name in pictures]


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
