"""Files of aligned images: matching by name, and the full range of a type."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.imaging.network_range import FULL_RANGE_WINDOW
from tomostain.input_files import check_is_folder
from tomostain.integers import to_integers
from tomostain.io.images import ITK_SUFFIXES
from tomostain.io.pillow_images import PILLOW_SUFFIXES
from tomostain.io.tiff import TIFF_SUFFIXES

# Double ones first: the longest suffix is cut off.
_SUFFIXES = (".ome.tiff", ".ome.tif", ".nii.gz", *TIFF_SUFFIXES, *PILLOW_SUFFIXES, *ITK_SUFFIXES)


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
    check_is_folder(folder, "give the folder of the images")
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


def full_range(ct: NDArray[Any], source: Path, bits: int | None = None) -> NDArray[np.uint16]:
    """Map the full range of an integer type to the grey values 0 to 40000.

    Parameters
    ----------
    ct : ndarray of int
    source : Path
        Named in messages.
    bits : int, optional
        Significant bits that the file states: 12 of the 16 bits of a camera.

    Raises
    ------
    InputError
        If the type is float, which has no full range.
    """
    if ct.dtype.kind not in "ui":
        raise InputError(f"{source}: is {ct.dtype}, which has no full range; use normalise 'auto'")
    info = np.iinfo(ct.dtype)
    largest = info.max if bits is None else 2**bits - 1
    low, high = FULL_RANGE_WINDOW
    scaled = (ct.astype(np.float64) - info.min) * ((high - low) / (float(largest) - info.min)) + low
    return to_integers(scaled, np.uint16, str(source))
