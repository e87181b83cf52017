"""The sections that are exported: planes of a stained volume, or the sections of registered pairs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tomostain.dataset.pair import check_id
from tomostain.errors import InputError

AXES = "zyx"


@dataclass(frozen=True)
class Plane:
    """A plane or curved surface in a stained volume.

    Attributes
    ----------
    name : str
        Beginning of the names of its files.
    points_um : tuple of (z, y, x)
        One point with `normal`, otherwise three or more, µm from the centre of the first voxel.
    normal : (z, y, x), optional
        Direction across the plane.
    curved : bool
        Use a smooth surface through all points instead of the plane that fits them best.
    """

    name: str
    points_um: tuple[tuple[float, float, float], ...]
    normal: tuple[float, float, float] | None = None
    curved: bool = False

    def __post_init__(self) -> None:
        check_id(self.name)


def planes_across(
    shape: Sequence[int], voxel_um: Sequence[float], axis: str = "z", number: int = 1
) -> tuple[Plane, ...]:
    """Return evenly spaced slices across an axis of a volume.

    Parameters
    ----------
    shape : sequence of int
        (Z, Y, X), voxels.
    voxel_um : sequence of float
        Voxel size (z, y, x), µm.
    axis : str
        ``z``, ``y`` or ``x``.
    number : int
        The volume is divided into this many parts of equal size; the middle slice of each one is returned.

    Raises
    ------
    InputError
        If the axis is unknown, or the volume has fewer slices.

    Examples
    --------
    >>> [plane.name for plane in planes_across((100, 50, 50), (5, 5, 5), number=2)]
    ['z-125um', 'z-375um']
    """
    if axis not in tuple(AXES):
        raise InputError(f"`axis` {axis}: give z, y or x", parameter="axis")
    index = AXES.index(axis)
    if not 1 <= number <= shape[index]:
        raise InputError(
            f"`planes` {number}: the volume has {shape[index]} slices across {axis}; give a number from 1 to that",
            parameter="planes",
        )
    positions = [(2 * part + 1) * shape[index] // (2 * number) * float(voxel_um[index]) for part in range(number)]
    normal = np.eye(3)[index]
    digits = len(f"{int(positions[-1])}")
    return tuple(
        Plane(f"{axis}-{_padded(position, digits)}um", (_triple(normal * position),), _triple(normal))
        for position in positions
    )


def _padded(position_um: float, digits: int) -> str:
    """Return a length with leading zeros, so that names sort by position."""
    whole, dot, decimals = f"{position_um:.6f}".rstrip("0").rstrip(".").partition(".")
    return whole.zfill(digits) + dot + decimals


def _triple(values: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> tuple[float, float, float]:
    z, y, x = values.tolist()
    return z, y, x
