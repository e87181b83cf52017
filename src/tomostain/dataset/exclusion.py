"""The region of a pair that a person excluded, as `exclude.tif`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from tomostain.config import read_yaml
from tomostain.dataset.pair_images import image_header
from tomostain.errors import InputError
from tomostain.input_files import is_there
from tomostain.io.atomic import atomic_file, refuse_existing
from tomostain.io.images import read_mask
from tomostain.paths import StrPath


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


def stated_voxel_um(values: Mapping[str, Any], folder: StrPath) -> float:
    """Return voxel_um of `pair.yaml` as a number above 0."""
    value = values.get("voxel_um")
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise InputError(f"{Path(folder) / 'pair.yaml'}: voxel_um is {value!r}; state the pixel size in µm, above 0")
    return float(value)
