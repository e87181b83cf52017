"""Lengths and shapes that files state, checked before they are used and before memory is allocated."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from tomostain.deprecation import renamed
from tomostain.errors import InputError

Spacing = tuple[float | None, float | None, float | None]
"""Voxel size (z, y, x), µm, as a file states it; None for an axis whose size it does not state."""

MAX_PIXELS = 2**30
"""Largest image, in pixels, that is read at once (32768 × 32768; 3 GiB as 8-bit RGB)."""

_UM = {
    "angstrom": 1e-4,
    "ångström": 1e-4,
    "å": 1e-4,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "nanometre": 1e-3,
    "um": 1.0,
    "µm": 1.0,  # micro sign
    "μm": 1.0,  # Greek mu
    "\\u00b5m": 1.0,  # as ImageJ writes it
    "\\u03bcm": 1.0,
    "micron": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "mm": 1e3,
    "millimeter": 1e3,
    "millimetre": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "centimetre": 1e4,
    "m": 1e6,
    "meter": 1e6,
    "metre": 1e6,
}


_NO_UNITS = ("", "?", "none", "null", "unknown", "pixel", "pixels", "px", "voxel", "voxels", "inch", "inches", "in")
_ABBREVIATION = 4
"""Plurals are of words; "ms" and "cms" are not lengths."""

__getattr__ = renamed(__name__, {"alike": "nearly_equal"})


def format_sides(sides: Iterable[float]) -> str:
    """Return a shape or the sides of a voxel as text for a message.

    Examples
    --------
    >>> format_sides((1200, 640, 80)), format_sides((5.0, 2.5, 2.5))
    ('1200 x 640 x 80', '5 x 2.5 x 2.5')
    """
    return " x ".join(str(side) if isinstance(side, int) else f"{side:g}" for side in sides)


def to_um(value: float | None, unit: str | None) -> float | None:
    """Convert a length to µm; None if the value or unit is missing or unknown, or the value is not positive and finite.

    Inches and pixels are not converted: programs write them when no size was measured.

    Examples
    --------
    >>> to_um(0.005, "mm"), to_um(5, "micron"), to_um(1.0, "pixel"), to_um(0.0, "mm")
    (5.0, 5.0, None, None)
    """
    factor = unit_um(unit)
    if value is None or factor is None:
        return None
    length = float(value) * factor
    return length if math.isfinite(length) and length > 0 else None


def unit_um(unit: str | None) -> float | None:
    """Return the length of a unit, µm; None if it is missing or unknown. Names may be plural or in capitals.

    Examples
    --------
    >>> unit_um("Micrometers"), unit_um("mm"), unit_um("inch"), unit_um("MM")
    (1.0, 1000.0, None, 1000.0)
    """
    if unit is None:
        return None
    name = str(unit).strip().lower()
    return _UM.get(name) or (_UM.get(name[:-1]) if len(name) > _ABBREVIATION and name.endswith("s") else None)


def unknown_unit(*units: object) -> str:
    """Return the first of some units that is stated and not known; "" if there is none. Pixels are not a unit.

    Examples
    --------
    >>> unknown_unit(None, "pixel", "mm", "furlong"), unknown_unit("", "µm")
    ('furlong', '')
    """
    stated = (" ".join(str(unit).split())[:40] for unit in units if unit is not None)
    return next((unit for unit in stated if unit.lower() not in _NO_UNITS and unit_um(unit) is None), "")


def nearly_equal(first: float, second: float) -> bool:
    """Return whether two lengths are the same within 1 %.

    Examples
    --------
    >>> nearly_equal(5.0, 5.04), nearly_equal(1.28, 2.56)
    (True, False)
    """
    return abs(first - second) <= 0.01 * max(abs(first), abs(second))


def contradict(first: Spacing, second: Spacing) -> bool:
    """Return whether two voxel sizes differ by more than 1 % along an axis that both state.

    Examples
    --------
    >>> contradict((None, 5.0, 5.0), (10.0, 5.0, 5.0)), contradict((None, 5.0, 5.0), (None, 10.0, 10.0))
    (False, True)
    """
    return any(a is not None and b is not None and not nearly_equal(a, b) for a, b in zip(first, second, strict=True))


def format_spacing(spacing: Spacing) -> str:
    """Return a voxel size as text for a message: the axes that are stated.

    Examples
    --------
    >>> format_spacing((None, 5.0, 6.5))
    'y 5 µm, x 6.5 µm'
    """
    return ", ".join(f"{axis} {value:g} µm" for axis, value in zip("zyx", spacing, strict=True) if value is not None)


def check_length_um(value: float, parameter: str) -> float:
    """Return a length that the user gave, as a float.

    Raises
    ------
    InputError
        If it is not a positive, finite number of µm; the message names `parameter`.

    Examples
    --------
    >>> check_length_um(-5, "voxel_um")
    Traceback (most recent call last):
    ...
    tomostain.errors.InputError: `voxel_um`: -5 is not a length; give a positive number of µm
    """
    try:
        length = float(value)
    except (TypeError, ValueError):
        length = math.nan
    if not (math.isfinite(length) and length > 0):
        raise InputError(f"`{parameter}`: {value} is not a length; give a positive number of µm", parameter=parameter)
    return length


def check_voxel_um(value: float | Sequence[float], parameter: str = "voxel_um") -> tuple[float, float, float]:
    """Return a voxel size that the user gave, one number or (z, y, x), as three floats, µm.

    Raises
    ------
    InputError
        If it is not one or three positive, finite numbers.

    Examples
    --------
    >>> check_voxel_um(5), check_voxel_um((10, 5, 5))
    ((5.0, 5.0, 5.0), (10.0, 5.0, 5.0))
    """
    values = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,) * 3
    if len(values) != 3:
        raise InputError(
            f"`{parameter}`: {value} has {len(values)} numbers; give one, or three in the order z, y, x",
            parameter=parameter,
        )
    z, y, x = (check_length_um(v, parameter) for v in values)
    return z, y, x


def check_pixels(path: Path, shape: Sequence[int], limit: int = MAX_PIXELS) -> None:
    """Raise if an image of (rows, columns) is too large to be read at once.

    Raises
    ------
    InputError
        If a side is not positive or the image has more than `limit` pixels: the header is damaged, or the level of a
        slide is too large to be loaded whole.
    """
    rows, columns = int(shape[0]), int(shape[1])
    if rows <= 0 or columns <= 0:
        raise InputError(f"{path}: states an image of {rows} × {columns} pixels; the file is damaged")
    if rows * columns > limit:
        raise InputError(
            f"{path}: an image of {rows} × {columns} pixels is more than can be read at once ({limit:.2g} pixels); "
            "use a pyramidal file or a smaller image"
        )


def square_pixel_um(path: Path, y_um: float, x_um: float) -> float:
    """Return the pixel size of an image whose pixels are square within 1 %.

    Raises
    ------
    InputError
        If they are not square.
    """
    if not nearly_equal(y_um, x_um):
        raise InputError(
            f"{path}: pixels of {y_um:.4g} × {x_um:.4g} µm are not square; resample the image, or give `pixel_um`"
        )
    return (y_um + x_um) / 2
