"""A pair: one µCT section and its histology on one grid, with a correspondence mask; and its folder on disk."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import yaml
from numpy.typing import NDArray

from tomostain import __version__
from tomostain.config import read_yaml
from tomostain.dataset.exclusion import load_exclude, stated_voxel_um
from tomostain.dataset.pair_images import image_header, read_checked, read_stack
from tomostain.deprecation import renamed
from tomostain.errors import InputError
from tomostain.input_files import is_there
from tomostain.io.atomic import atomic_file, write_text
from tomostain.io.images import read_mask
from tomostain.paths import StrPath
from tomostain.tiling.slice_context import middle_slices

SECTION_KEYS = ("origin_um", "row", "column", "slide_to_section", "volume_origin_um", "region_um", "volume_voxel_um")
_SAFE_ID = re.compile(r"[^\W_](?:[\w.+@&=-]| (?! ))*")


@dataclass(frozen=True, eq=False)
class Pair:
    """One µCT section and the histology of the same section, on one grid.

    Attributes
    ----------
    id : str
        Name of the pair and of its folder.
    ct : ndarray of uint16, shape (Y, X)
        Normalised µCT: background 10000, bone 30000 (paper section 2.5).
    histology : ndarray of uint8, shape (Y, X, 3)
        Normalised histology, RGB.
    mask : ndarray of bool, shape (Y, X)
        True where the two correspond (paper section 2.8), without the exclusion that the user drew.
    voxel_um : float
        Pixel size of all three, µm.
    specimen, subject, implant : str
        One implant; the animal it comes from (folds never split a subject); the material of the implant.
    weeks : int or None
        Healing time, if known.
    stain : str
        Name of the stain.
    section : dict or None
        Position of the section in its volume, with the keys of `tomostain.register.Section.to_dict`.
    slices : ndarray of uint16, shape (S, Y, X), or None
        `ct` and the same number of neighbours on each side, one pixel apart along the normal of the section, if known.
    """

    id: str
    ct: NDArray[np.uint16]
    histology: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    voxel_um: float
    specimen: str = ""
    subject: str = ""
    implant: str = "unknown"
    weeks: int | None = None
    stain: str = "unknown"
    section: dict[str, Any] | None = None
    slices: NDArray[np.uint16] | None = None

    def __post_init__(self) -> None:
        check_id(self.id)
        for name, dimensions, dtype in (("ct", 2, np.uint16), ("histology", 3, np.uint8), ("mask", 2, np.bool_)):
            array = getattr(self, name)
            if array.ndim != dimensions or array.dtype != dtype:
                raise InputError(
                    f"pair '{self.id}': {name} is {array.dtype} of shape {array.shape}; "
                    f"it must be {np.dtype(dtype)} with {dimensions} dimensions"
                )
        _check_shapes(f"pair '{self.id}'", self.ct.shape, self.histology.shape, self.mask.shape)
        if self.slices is not None:
            _check_slices(f"pair '{self.id}'", self.slices, self.ct)
        if not self.voxel_um > 0:
            raise InputError(f"pair '{self.id}': voxel_um is {self.voxel_um}; state the pixel size in µm, above 0")
        object.__setattr__(self, "specimen", self.specimen or self.id)
        object.__setattr__(self, "subject", self.subject or self.specimen)

    def context(self, number: int = 1) -> NDArray[np.uint16]:
        """Return the µCT as a network sees it: (Y, X), or `number` slices (number, Y, X) with this one in the middle.

        Raises
        ------
        InputError
            If the pair holds fewer slices.
        """
        if number == 1:
            return self.ct
        if self.slices is None or len(self.slices) < number:
            available = 1 if self.slices is None else len(self.slices)
            raise InputError(
                f"pair '{self.id}': holds {available} slice(s) of µCT, but {number} are needed; prepare the dataset "
                f"again from volumes, with `ct_slices={number}`",
                parameter="ct_slices",
            )
        return middle_slices(self.slices, number)

    def image_digest(self) -> str:
        """Return the first 16 characters of a sha256 of µCT and histology, whatever the pair is called."""
        digest = hashlib.sha256()
        for array in (self.ct, self.histology):
            digest.update(f"{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def record(self) -> dict[str, Any]:
        """Return the record of the pair in `dataset.yaml`: id, specimen, subject, implant, weeks, stain."""
        return {key: getattr(self, key) for key in ("id", "specimen", "subject", "implant", "weeks", "stain")}


def check_id(name: str) -> str:
    """Return `name` if it is a valid name for the folder of a pair.

    Raises
    ------
    InputError
        If it is empty, or contains a path separator or another character that is not allowed.

    Examples
    --------
    >>> check_id("P2-Mg10_left")
    'P2-Mg10_left'
    """
    if not _SAFE_ID.fullmatch(name):
        raise InputError(
            f"pair '{name}': not usable as a folder name; "
            "use letters, digits, '-', '_' and '.', beginning with a letter or digit"
        )
    return name


def save_pair(
    pair: Pair,
    folder: StrPath,
    *,
    details: Mapping[str, Any] | None = None,
    exclude: NDArray[np.bool_] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the folder of a pair: `ct.tif`, `histology.tif`, `mask.tif` and `pair.yaml`.

    `ct-slices.tif` and `exclude.tif` are written if the pair has them.

    Parameters
    ----------
    pair : Pair
        Its mask is stored unchanged.
    folder : path
        Folder of the pair. It is created.
    details : mapping, optional
        More keys for `pair.yaml`: the intensity references used, the source files.
    exclude : ndarray of bool, shape (Y, X), optional
        Exclusion drawn by the user. An existing `exclude.tif` is never overwritten, even with `overwrite`.
    overwrite : bool
        Replace the other files.

    Raises
    ------
    InputError
        If a file exists and `overwrite` is False.
    """
    folder = Path(folder)
    resolution = {"resolution": (1e4 / pair.voxel_um, 1e4 / pair.voxel_um), "resolutionunit": "CENTIMETER"}
    images: dict[str, NDArray[Any]] = {
        "ct.tif": pair.ct,
        "histology.tif": pair.histology,
        "mask.tif": pair.mask.astype(np.uint8) * 255,
    }
    if pair.slices is not None:
        images["ct-slices.tif"] = pair.slices
    if exclude is not None and not is_there(folder / "exclude.tif"):
        images["exclude.tif"] = exclude.astype(np.uint8) * 255
    for name, image in images.items():
        with atomic_file(folder / name, overwrite) as temporary:
            colours = "rgb" if name == "histology.tif" else "minisblack"
            options = {"photometric": colours, "compression": "zlib", "metadata": None, **resolution}
            tifffile.imwrite(temporary, image, **options)  # type: ignore[arg-type]
    values = pair.record() | {"voxel_um": float(pair.voxel_um)} | (pair.section or {}) | dict(details or {})
    values["tomostain_version"] = __version__
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    write_text(folder / "pair.yaml", text, overwrite)
    return folder


def load_pair(folder: StrPath, ct_slices: int = 1) -> Pair:
    """Read the folder of a pair.

    Sizes and types are checked in the headers of the files before memory is allocated.

    Parameters
    ----------
    folder : path
        Contains `ct.tif`, `histology.tif`, `mask.tif`, `pair.yaml` and, optionally, `exclude.tif` (not 0: excluded) and
        `ct-slices.tif`.
    ct_slices : int
        Slices of µCT that are needed. With 1, `ct-slices.tif` is not read.

    Returns
    -------
    Pair
        Its mask is `mask.tif` without the pixels that `exclude.tif` marks.

    Raises
    ------
    InputError
        If a file is missing or broken, the shapes differ, or the mask is empty.
    """
    folder = Path(folder)
    values = read_yaml(folder / "pair.yaml")
    name = str(values.get("id", folder.name))
    shapes = [image_header(folder / f"{part}.tif") for part in ("ct", "histology", "mask")]
    _check_shapes(f"pair '{name}' ({folder})", *shapes)
    mask = read_mask(folder / "mask.tif")
    exclude = load_exclude(folder, mask.shape)
    if exclude is not None:
        mask &= ~exclude
    if not mask.any():
        raise InputError(f"pair '{name}': its mask excludes everything; correct {folder / 'mask.tif'} or exclude.tif")
    slices = _load_slices(folder) if ct_slices > 1 else None
    known = {key: values[key] for key in ("specimen", "subject", "implant", "weeks", "stain") if key in values}
    section = {key: values[key] for key in SECTION_KEYS if key in values}
    return replace(
        Pair(
            name,
            read_checked(folder / "ct.tif"),
            read_checked(folder / "histology.tif"),
            mask,
            stated_voxel_um(values, folder),
        ),
        **known,
        section=section or None,
        slices=slices,
    )


def pair_shape(folder: StrPath) -> tuple[int, int]:
    """Return rows and columns of a pair, from the header of its `ct.tif`.

    Raises
    ------
    InputError
        If the file is missing, or not one image.
    """
    rows, columns = image_header(Path(folder) / "ct.tif")[:2]
    return rows, columns


def _load_slices(folder: Path) -> NDArray[np.uint16] | None:
    """Read `ct-slices.tif` of a pair, if it exists."""
    path = folder / "ct-slices.tif"
    return read_stack(path) if is_there(path) else None


def _check_slices(what: str, slices: NDArray[Any], ct: NDArray[np.uint16]) -> None:
    """Raise unless `slices` is an odd number of images of the shape of `ct`, with `ct` in the middle."""
    if slices.ndim != 3 or slices.dtype != np.uint16 or slices.shape[1:] != ct.shape or len(slices) % 2 == 0:
        raise InputError(
            f"{what}: its slices are {slices.dtype} of shape {slices.shape}; they must be uint16, an odd number, each "
            f"of the shape {ct.shape} of ct"
        )
    if not np.array_equal(slices[len(slices) // 2], ct):
        raise InputError(f"{what}: the middle slice is not ct; prepare the dataset again, or copy it again")


def _check_shapes(what: str, ct: tuple[int, ...], histology: tuple[int, ...], mask: tuple[int, ...]) -> None:
    """Raise unless the three shapes are (Y, X), (Y, X, 3) and (Y, X)."""
    if len(ct) != 2 or histology != (*ct, 3) or mask != ct:
        raise InputError(
            f"{what}: shapes differ: ct {ct}, histology {histology}, mask {mask}; "
            "all must be on one grid, the histology with 3 channels"
        )


__getattr__ = renamed(
    __name__,
    {
        "save_exclude": "tomostain.dataset.exclusion:save_exclude",
    },
)
