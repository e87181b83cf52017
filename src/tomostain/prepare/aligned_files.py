"""Files of aligned images: matching by name, and conversion to the arrays of a pair."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.imaging.network_range import CT_WINDOW
from tomostain.integers import to_integers

_SUFFIXES = (
    ".ome.tiff",
    ".ome.tif",
    ".nii.gz",
    ".tiff",
    ".tif",
    ".png",
    ".jpeg",
    ".jpg",
    ".mha",
    ".mhd",
    ".nrrd",
    ".nii",
)


def find_partners(x: Path, y: Path) -> dict[str, tuple[Path, Path]]:
    """Return the two files of each pair by name."""
    for path in (x, y):
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
    if x.is_file() and y.is_file():
        return {stem_of(x): (x, y)}
    if x.is_file() or y.is_file():
        raise InputError(f"{x} and {y}: one is a file, the other a folder; state two files or two folders")
    ct, histology = find_images(x), find_images(y)
    for images, others, other_folder in ((ct, histology, y), (histology, ct, x)):
        alone = sorted(set(images) - set(others))
        if alone:
            raise InputError(
                f"{images[alone[0]]}: has no partner in {other_folder} ({len(alone)} such); "
                "both folders need the same file names"
            )
    return {stem: (ct[stem], histology[stem]) for stem in ct}


def find_images(folder: Path) -> dict[str, Path]:
    """Return the images in a folder by name without suffix, sorted."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    images: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.name.lower().endswith(_SUFFIXES):
            continue
        stem = stem_of(path)
        if stem in images:
            raise InputError(f"{path} and {images[stem]}: same name with two suffixes; keep one of them")
        images[stem] = path
    if not images:
        raise InputError(f"{folder}: contains no images ({', '.join(_SUFFIXES)})")
    return images


def stem_of(path: Path) -> str:
    """Return the file name without its suffix, which may be double."""
    suffix = next((e for e in _SUFFIXES if path.name.lower().endswith(e)), path.suffix)
    return path.name[: len(path.name) - len(suffix)]


def as_grey(image: NDArray[Any], source: Path) -> NDArray[Any]:
    """Return a 2D µCT image. Three equal channels count as grey.

    Raises
    ------
    InputError
        If it is in colour or not 2D.
    """
    if image.ndim == 3 and image.shape[2] in (3, 4) and (image[..., :1] == image[..., :3]).all():
        image = image[..., 0]
    if image.ndim != 2:
        raise InputError(
            f"{source}: shape {image.shape} is a colour image; the first folder must contain greyscale µCT images"
        )
    return image


def as_rgb(image: NDArray[Any], source: Path) -> NDArray[np.uint8]:
    """Return an 8-bit RGB histology image. Grey is repeated, 16 bit is scaled to 8, an alpha channel is dropped.

    Raises
    ------
    InputError
        If it has neither 8 nor 16 bits, or another number of channels.
    """
    if image.dtype == np.uint16:
        image = to_integers(image / 257.0, np.uint8, str(source))
    if image.dtype != np.uint8:
        raise InputError(f"{source}: histology of type {image.dtype}; use an image with 8 or 16 bits")
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] not in (3, 4):
        raise InputError(f"{source}: histology of shape {image.shape}; use a greyscale or an RGB image")
    return np.ascontiguousarray(image[..., :3])


def full_range(ct: NDArray[Any], source: Path) -> NDArray[np.uint16]:
    """Map the full range of an integer type to the window [0, 40000] of the networks.

    Raises
    ------
    InputError
        If the type is float, which has no full range.
    """
    if ct.dtype.kind not in "ui":
        raise InputError(f"{source}: is {ct.dtype}, which has no full range; use normalise 'auto'")
    info = np.iinfo(ct.dtype)
    low, high = CT_WINDOW
    scaled = (ct.astype(np.float64) - info.min) * ((high - low) / (float(info.max) - info.min)) + low
    return to_integers(scaled, np.uint16, str(source))
