"""Files of aligned images: which belong together, and their arrays in the form that pairs ask for."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.imaging.network_range import CT_WINDOW

_ENDINGS = (
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
        raise InputError(f"{x} and {y}: one is a file, the other a folder; give two files or two folders")
    ct, histology = find_images(x), find_images(y)
    for ours, theirs, other in ((ct, histology, y), (histology, ct, x)):
        alone = sorted(set(ours) - set(theirs))
        if alone:
            raise InputError(
                f"{ours[alone[0]]}: has no partner in {other} ({len(alone)} such); "
                "both folders need the same file names"
            )
    return {stem: (ct[stem], histology[stem]) for stem in ct}


def find_images(folder: Path) -> dict[str, Path]:
    """Return the images in a folder by name without ending, in order."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.name.lower().endswith(_ENDINGS):
            continue
        stem = stem_of(path)
        if stem in found:
            raise InputError(f"{path} and {found[stem]}: same name with two endings; leave one")
        found[stem] = path
    if not found:
        raise InputError(f"{folder}: holds no images ({', '.join(_ENDINGS)})")
    return found


def stem_of(path: Path) -> str:
    """Return the file name without its ending, double endings too."""
    ending = next((e for e in _ENDINGS if path.name.lower().endswith(e)), path.suffix)
    return path.name[: len(path.name) - len(ending)]


def as_grey(image: NDArray[Any], source: Path) -> NDArray[Any]:
    """Return a 2D µCT image; three equal channels count as grey.

    Raises
    ------
    InputError
        If it is in colour or not 2D.
    """
    if image.ndim == 3 and image.shape[2] in (3, 4) and (image[..., :1] == image[..., :3]).all():
        image = image[..., 0]
    if image.ndim != 2:
        raise InputError(f"{source}: shape {image.shape} in colour; the first folder must hold grey µCT images")
    return image


def as_rgb(image: NDArray[Any], source: Path) -> NDArray[np.uint8]:
    """Return an 8-bit RGB histology image; grey is repeated, 16 bit is brought to 8, an alpha channel is dropped.

    Raises
    ------
    InputError
        If it is neither of 8 nor of 16 bit, or has another number of channels.
    """
    if image.dtype == np.uint16:
        image = np.rint(image / 257.0).astype(np.uint8)
    if image.dtype != np.uint8:
        raise InputError(f"{source}: histology of type {image.dtype}; give an image of 8 or 16 bit")
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] not in (3, 4):
        raise InputError(f"{source}: histology of shape {image.shape}; give a grey or an RGB image")
    return np.ascontiguousarray(image[..., :3])


def full_range(ct: NDArray[Any], source: Path) -> NDArray[np.uint16]:
    """Map the full range of an integer type to the networks' window [0, 40000].

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
    return np.rint(scaled).astype(np.uint16)
