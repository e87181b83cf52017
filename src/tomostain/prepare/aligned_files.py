"""Aligned images, in files or in memory: matching by name, and the full range of a type."""

import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tomostain.dataset.pair import check_id
from tomostain.errors import InputError
from tomostain.imaging.network_range import FULL_RANGE_WINDOW
from tomostain.input_files import check_is_folder
from tomostain.integers import to_integers
from tomostain.io.images import ITK_SUFFIXES, read_picture
from tomostain.io.interpret import interpret_by_samples
from tomostain.io.picture import Picture
from tomostain.io.pillow_images import PILLOW_SUFFIXES
from tomostain.io.tiff import TIFF_SUFFIXES
from tomostain.paths import StrPath

# Double ones first: the longest suffix is cut off.
_SUFFIXES = (".ome.tiff", ".ome.tif", ".nii.gz", *TIFF_SUFFIXES, *PILLOW_SUFFIXES, *ITK_SUFFIXES)


AlignedImages: TypeAlias = StrPath | NDArray[Any] | Sequence[NDArray[Any]] | Mapping[str, NDArray[Any]]
"""A folder of images or one file; or arrays: one, several, or several by name."""
AlignedImage: TypeAlias = Path | NDArray[Any]
"""One image: its file, or its pixels."""


def match_images(x: AlignedImages, y: AlignedImages) -> dict[str, tuple[AlignedImage, AlignedImage]]:
    """Return the two images of each pair by name: those of two folders, or arrays.

    Raises
    ------
    InputError
        If an image has no partner, or one of both is a path and the other one is not.

    Examples
    --------
    >>> ct, histology = np.zeros((4, 6)), np.zeros((4, 6, 3), np.uint8)
    >>> list(match_images([ct, ct], [histology, histology])), list(match_images({"a": ct}, {"a": histology}))
    (['pair-1', 'pair-2'], ['a'])
    """
    files = [isinstance(images, str | os.PathLike) for images in (x, y)]
    if isinstance(x, str | os.PathLike) and isinstance(y, str | os.PathLike):
        return dict(find_partners(Path(x), Path(y)))
    if any(files):
        raise InputError(
            "`x` and `y`: one is a path, the other one holds arrays; give two paths, or arrays for both",
            parameter="y" if files[0] else "x",
        )
    ct, histology = _named(x, "x", 2), _named(y, "y", 3)
    for mine, others, name in ((ct, histology, "y"), (histology, ct, "x")):
        alone = [key for key in mine if key not in others]
        if alone:
            raise InputError(f"'{alone[0]}': has no partner in `{name}`; both need the same names", parameter=name)
    return {name: (ct[name], histology[name]) for name in ct}


def _named(images: object, parameter: str, axes: int) -> dict[str, NDArray[Any]]:
    """Return arrays by name. One array is one image, or a stack of images along its first axis."""
    if isinstance(images, Mapping):
        named = {str(name): np.asarray(image) for name, image in images.items()}
    else:
        listed = [images] if getattr(images, "ndim", None) == axes else images
        is_list = isinstance(listed, Sequence) or hasattr(listed, "__array__")
        if not is_list or isinstance(listed, str):
            raise InputError(
                f"`{parameter}`: expected a path, an array, a list of arrays or a mapping of names to arrays, found "
                f"{type(images).__name__}",
                parameter=parameter,
            )
        named = {f"pair-{number}": np.asarray(image) for number, image in enumerate(listed, start=1)}  # type: ignore[arg-type,var-annotated]
    if not named:
        raise InputError(f"`{parameter}`: holds no image", parameter=parameter)
    for name, image in named.items():
        if image.ndim not in (2, 3) or not image.size:
            raise InputError(
                f"`{parameter}`, '{name}': has shape {image.shape}; expected one image", parameter=parameter
            )
    return named


def open_image(image: AlignedImage, name: str) -> Picture:
    """Read one image; of an array the samples are taken as they are. `name` is for messages."""
    return read_picture(image) if isinstance(image, Path) else interpret_by_samples(image, Path(name))


def _usable(images: Mapping[str, Path]) -> dict[str, Path]:
    """Return images, after a check that pairs may have their names."""
    for stem, file in images.items():
        try:
            check_id(stem)
        except InputError as error:
            raise InputError(f"{file}: {error}; rename the file in both folders") from None
    return dict(images)


def find_partners(x: Path, y: Path) -> dict[str, tuple[Path, Path]]:
    """Return the two files of each pair by name."""
    for path in (x, y):
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
    if x.is_file() and y.is_file():
        return {stem_of(x): (x, y)}
    if x.is_file() or y.is_file():
        raise InputError(f"{x} and {y}: one is a file, the other a folder; state two files or two folders")
    ct, histology = _usable(find_images(x)), _usable(find_images(y))
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
    """Return the file name without its suffix, which may be double.

    macOS writes letters such as "é" as two characters; they are returned as one, so that names agree.
    """
    suffix = next((e for e in _SUFFIXES if path.name.lower().endswith(e)), path.suffix)
    return unicodedata.normalize("NFC", path.name[: len(path.name) - len(suffix)])


def full_range(
    ct: NDArray[Any], source: str | Path, bits: int | None = None, stored: "np.dtype[Any] | None" = None
) -> NDArray[np.uint16]:
    """Map the full range of an integer type to the grey values 0 to 40000.

    Parameters
    ----------
    ct : ndarray of int
    source : str or Path
        Named in messages.
    bits : int, optional
        Significant bits that the file states: 12 of the 16 bits of a camera.
    stored : numpy.dtype, optional
        Type of the file, for messages; signed values are read as float32.

    Raises
    ------
    InputError
        If the type is float, which has no full range.
    """
    if ct.dtype.kind not in "ui":
        raise InputError(f"{source}: is {stored or ct.dtype}, which has no full range; use normalise 'auto'")
    info = np.iinfo(ct.dtype)
    largest = info.max if bits is None else 2**bits - 1
    low, high = FULL_RANGE_WINDOW
    scaled = (ct.astype(np.float64) - info.min) * ((high - low) / (float(largest) - info.min)) + low
    return to_integers(scaled, np.uint16, str(source))
