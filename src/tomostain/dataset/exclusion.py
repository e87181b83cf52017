"""The region of a pair that a person excluded, as `exclude.tif`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from tomostain.config import read_yaml
from tomostain.dataset.pair_images import image_header
from tomostain.dataset.section_position import moved_between_um
from tomostain.errors import InputError, MovedExclusionWarning, warn_user
from tomostain.geometry.section import Section, grid_um
from tomostain.input_files import is_there
from tomostain.io.atomic import atomic_file, refuse_existing
from tomostain.io.images import read_mask
from tomostain.paths import StrPath

# An exclusion is drawn by hand, so that a pair may move by a few pixels below it.
_MOVED_PX = 5.0


def load_exclude(folder: StrPath, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """Read `exclude.tif` of a pair, drawn by the user, if it exists. True is excluded.

    Raises
    ------
    InputError
        If its rows and columns are not `shape`.
    """
    path = Path(folder) / "exclude.tif"
    if not is_there(path):
        return None
    size = image_header(path)
    if size[:2] != tuple(shape):
        raise InputError(
            f"{path}: has {size[0]} x {size[1]} pixels, but the pair has {shape[0]} x {shape[1]}; "
            "draw it on the grid of the pair"
        )
    drawn = read_mask(path)
    if drawn.shape != tuple(shape):
        raise InputError(f"{path}: is turned by its orientation tag; draw it on the grid of the pair")
    return drawn


def save_exclude(folder: StrPath, exclude: NDArray[np.bool_], *, overwrite: bool = False) -> Path:
    """Write the exclusion of a pair, which a person drew, as `exclude.tif`: 255 where it excludes.

    Parameters
    ----------
    folder : str or os.PathLike
        Folder of the pair, with `mask.tif`.
    exclude : ndarray of bool, shape (Y, X)
        True where the pair is not used, on the grid of the pair.
    overwrite : bool
        Replace an earlier exclusion.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If the file exists and `overwrite` is False, the shape is not that of the pair, or nothing of its mask remains.
    """
    folder = Path(folder)
    mask = read_mask(folder / "mask.tif")
    if exclude.shape != mask.shape:
        raise InputError(f"{folder}: the exclusion has shape {exclude.shape}, but the pair has {mask.shape}")
    if not (mask & ~exclude).any():
        raise InputError(f"{folder}: the exclusion removes the whole mask; draw it smaller")
    path = folder / "exclude.tif"
    um = stated_voxel_um(read_yaml(folder / "pair.yaml"), folder)
    refuse_existing(path, overwrite, "exclusion")
    with atomic_file(path, overwrite) as temporary:
        image = exclude.astype(np.uint8) * 255
        options = {"photometric": "minisblack", "compression": "zlib", "metadata": None}
        tifffile.imwrite(temporary, image, resolution=(1e4 / um,) * 2, resolutionunit="CENTIMETER", **options)  # type: ignore[arg-type]
    return path


def warn_of_moved_exclusion(folder: StrPath, section: Mapping[str, Any] | None, shape: tuple[int, ...]) -> None:
    """Warn if the exclusion in the folder of a pair was drawn where the pair that replaces it does not lie.

    The pairs may come from a volume, a region of it or a resampled copy. Nothing is known of two older pairs whose
    volumes begin at different places.

    Parameters
    ----------
    folder : str or os.PathLike
        Folder of the pair that is replaced, with its `pair.yaml`.
    section : mapping, optional
        Section of the new pair, with the keys of `pair.yaml`.
    shape : tuple of int
        Rows and columns of the new pair. Another shape is an error when the exclusion is loaded.
    """
    path = Path(folder) / "exclude.tif"
    if section is None or not is_there(path) or not is_there(Path(folder) / "pair.yaml"):
        return
    try:
        values = read_yaml(Path(folder) / "pair.yaml")
        before, now, pixel_um = Section.from_dict(values), Section.from_dict(section), stated_voxel_um(values, folder)
    except InputError:  # nothing is known of the earlier pair
        return
    between_um = moved_between_um(before, now)
    if between_um is None:
        return
    corners = grid_um((2, 2), 1.0) * (np.array(shape) - 1) * pixel_um
    moved = [before.to_volume_um(corners) + between_um - now.to_volume_um(corners)]
    moved.append(before.section_to_slide_um(corners) - now.section_to_slide_um(corners))
    pixels = max(float(np.linalg.norm(each, axis=-1).max()) for each in moved) / pixel_um
    if pixels > _MOVED_PX:
        warn_user(
            f"{path}: was drawn on an earlier pair, and the section of the new one lies up to {pixels:.0f} pixels from "
            "it; check the exclusion, and draw it again if necessary",
            MovedExclusionWarning,
        )


def stated_voxel_um(values: Mapping[str, Any], folder: StrPath) -> float:
    """Return voxel_um of `pair.yaml` as a number above 0."""
    value = values.get("voxel_um")
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise InputError(f"{Path(folder) / 'pair.yaml'}: voxel_um is {value!r}; state the pixel size in µm, above 0")
    return float(value)
