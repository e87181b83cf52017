"""The content of a log of a reconstruction program, and its keys and numbers."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

from tomostain.errors import InputError
from tomostain.io.metadata.units import nearly_equal

NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"


@dataclass(frozen=True)
class ScanLog:
    """The content of one log.

    Attributes
    ----------
    path : Path
    scan : str
        The scan, or the start of the names of the slices; "" if the log does not state it.
    voxel_um : tuple of float
        Voxel size (z, y, x), µm, as reconstructed.
    by_folder : bool
        Whether the name of the folder decides how the size is read (Hereon). The other attributes are for these logs.
    unbinned_um : float or None
        Pixel size before the projections were binned, if it differs.
    raw_bin : int
        Number of pixels of the projections that were binned along each side.
    reco_bin : int
        Number of voxels that were binned after the reconstruction along each side.
    plane : tuple of int or None
        Rows and columns of a reconstructed slice.
    sections : Sections or None
        The slices that were reconstructed.
    problem : str
        Why the size is not known although the log states it: the message of the error if the log is that of the volume.
    """

    path: Path
    scan: str
    voxel_um: tuple[float, float, float]
    by_folder: bool = False
    unbinned_um: float | None = None
    raw_bin: int = 1
    reco_bin: int = 1
    plane: tuple[int, int] | None = None
    sections: "Sections | None" = None
    problem: str = ""


@dataclass(frozen=True)
class Sections:
    """The slices that a log states.

    Attributes
    ----------
    count : int
    first, last : int or None
        Numbers of the first and the last slice in the names of the files; None if not stated.
    derived : bool
        The count was computed from the numbers. It holds only for files that are numbered in the same way.
    """

    count: int
    first: int | None = None
    last: int | None = None
    derived: bool = False


def not_understood(path: Path, key: str, value: str) -> InputError:
    """Return the error of a size that is not understood."""
    return InputError(
        f"{path}: states '{key.strip()}' as '{value[:60]}', which is not understood; give the voxel size with "
        "`voxel_um`"
    )


def sections_of(text: str, separator: str) -> dict[str, dict[str, list[str]]]:
    """Split the text of an INI file into its sections and keys, in lower case, with all values of a key that repeats.

    Sections of one name are joined.
    """
    sections: dict[str, dict[str, list[str]]] = {}
    keys: dict[str, list[str]] = {}
    for line in text.split("\n"):
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            keys = sections.setdefault(line[1:-1].strip().lower(), {})
        elif separator in line:
            key, value = line.split(separator, 1)
            keys.setdefault(key.strip().lower(), []).append(value.strip())
    return sections


def positive_number(path: Path, key: str, value: str) -> float:
    """Return a positive number with a decimal point or comma.

    A comma is never a separator of thousands: no scanner has pixels of a millimetre.
    """
    if re.fullmatch(r"\d+,\d+(?:[eE][-+]?\d+)?", value):
        value = value.replace(",", ".")
    number = float(value) if re.fullmatch(NUMBER, value) else math.nan
    if not (math.isfinite(number) and number > 0):
        raise not_understood(path, key, value)
    return number


def only_value(path: Path, sizes: list[float], what: str = "pixels") -> float | None:
    """Return the one value that a log states, or None."""
    unit = "" if what != "pixels" else " µm"
    for size in sizes[1:]:
        if not nearly_equal(size, sizes[0]):
            raise InputError(
                f"{path}: states {what} of {sizes[0]:g} and of {size:g}{unit}; give the right voxel size with "
                "`voxel_um`"
            )
    return sizes[0] if sizes else None
