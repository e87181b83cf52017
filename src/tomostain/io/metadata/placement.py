"""Where a volume lies: the position of its first voxel and the directions of its axes, as its file states them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tomostain.io.metadata.units import nearly_equal

Triple = tuple[float, float, float]
Matrix = tuple[Triple, Triple, Triple]

PATIENT = "left-posterior-superior"
"""The patient coordinates of DICOM and ITK: x to the left, y to the back, z to the head."""

_IDENTITY: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
_ORTHOGONAL = 1e-3


@dataclass(frozen=True)
class Placement:
    """Position and directions of a volume in the coordinate system of its file.

    The centre of the voxel (k, j, i) lies at ``origin_um + direction @ (voxel_um * (k, j, i))``.

    Attributes
    ----------
    origin_um : tuple of float
        Centre of the first voxel (z, y, x), µm.
    direction : tuple of 3 × 3 floats
        Its columns are the unit vectors (z, y, x) along the axes z, y, x of the volume.
    space : str
        Name of the coordinate system, as in NRRD: "left-posterior-superior" for the patient coordinates of DICOM and
        ITK; "" if the file does not name one.

    Examples
    --------
    >>> placement = Placement((1000.0, 0.0, 0.0))
    >>> placement.moved((50, 0, 0)).origin_um
    (1050.0, 0.0, 0.0)
    """

    origin_um: Triple = (0.0, 0.0, 0.0)
    direction: Matrix = _IDENTITY
    space: str = ""

    @property
    def is_turned(self) -> bool:
        """Whether the axes of the volume have other directions than those of the coordinate system."""
        return not np.allclose(self.direction, _IDENTITY, atol=1e-6)

    @property
    def is_default(self) -> bool:
        """Whether the volume begins at 0 and is not turned, as files state if nothing is known."""
        return not self.is_turned and not any(self.origin_um)

    @property
    def along_axes_um(self) -> Triple:
        """Centre of the first voxel along the axes (z, y, x) of the volume, µm: `origin_um` unless it is turned."""
        return _triple(np.asarray(self.origin_um) @ np.asarray(self.direction))

    def moved(self, offset_um: Sequence[float]) -> "Placement":
        """Return the placement of a volume that begins `offset_um` (z, y, x) further along the axes of this one."""
        z, y, x = (float(v) for v in np.add(self.origin_um, np.asarray(self.direction) @ np.asarray(offset_um, float)))
        return replace(self, origin_um=(z, y, x))

    def scaled(self, factor: float) -> "Placement":
        """Return the placement with all lengths multiplied by a factor."""
        z, y, x = (value * factor for value in self.origin_um)
        return replace(self, origin_um=(z, y, x))

    def to_dict(self) -> dict[str, Any]:
        """Return the placement as JSON can hold it."""
        space = {"space": self.space} if self.space else {}
        return {"origin_um": list(self.origin_um), "direction": [list(row) for row in self.direction], **space}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Placement":
        """Return the placement that `to_dict` returned.

        Raises
        ------
        ValueError, KeyError, TypeError
            If it is not one.
        """
        return cls(_triple(values["origin_um"]), _matrix(values["direction"]), str(values.get("space", "")))

    def describe(self) -> str:
        """Return the position in words, for messages.

        Examples
        --------
        >>> Placement((1000.0, 0.0, 2.5)).describe()
        'first voxel at 1000, 0, 2.5 µm (z, y, x)'
        >>> Placement((0.0, 0.0, 0.0), ((1, 0, 0), (0, -1, 0), (0, 0, -1))).describe()
        'first voxel at 0, 0, 0 µm (z, y, x), axes turned (1 0 0; 0 -1 0; 0 0 -1)'
        """
        place = f"first voxel at {', '.join(f'{value:.7g}' for value in self.origin_um)} µm (z, y, x)"
        if not self.is_turned:
            return place
        rows = "; ".join(" ".join(f"{value + 0.0:.4g}" for value in row) for row in self.direction)
        return f"{place}, axes turned ({rows})"


def placement_of(vectors: ArrayLike, origin: ArrayLike, space: str = "") -> tuple[Triple, Placement] | None:
    """Return the voxel size and the placement that an affine map states.

    Parameters
    ----------
    vectors : array-like, shape (3, 3)
        Column n is the step (x, y, z) from one voxel to the next along the axis n of the file, fastest axis first.
    origin : array-like, shape (3,)
        Centre of the first voxel (x, y, z).
    space : str
        Name of the coordinate system.

    Returns
    -------
    tuple of ((z, y, x), Placement), or None
        In the unit of the arguments. None if they are not finite, or the axes are not perpendicular to each other.

    Examples
    --------
    >>> step, placement = placement_of([[-5, 0, 0], [0, 5, 0], [0, 0, 10]], (1, 2, 3))
    >>> step, placement.origin_um, placement.direction[2]
    ((10.0, 5.0, 5.0), (3.0, 2.0, 1.0), (0.0, 0.0, -1.0))
    """
    steps = np.asarray(vectors, dtype=float)[::-1, ::-1]
    first = np.asarray(origin, dtype=float)[::-1]
    lengths = np.linalg.norm(steps, axis=0)
    if not (np.isfinite(steps).all() and np.isfinite(first).all() and lengths.all()):
        return None
    direction = steps / lengths + 0.0
    if np.abs(direction.T @ direction - np.eye(3)).max() > _ORTHOGONAL:
        return None
    return _triple(lengths), Placement(_triple(first), _matrix(direction), space)


def along_axes(origin: Triple, signs: Triple = (1.0, 1.0, 1.0)) -> Placement:
    """Return the placement of a volume whose axes are those of the coordinate system, in the same or the other sense.

    Parameters
    ----------
    origin : tuple of float
        Centre of the first voxel (z, y, x).
    signs : tuple of float
        -1 for an axis (z, y, x) along which the position decreases; else 1.

    Examples
    --------
    >>> along_axes((10.0, 0.0, 0.0), (-1.0, 1.0, 1.0)).direction[0]
    (-1.0, 0.0, 0.0)
    """
    z, y, x = signs
    return Placement(origin, ((z, 0.0, 0.0), (0.0, y, 0.0), (0.0, 0.0, x)))


def fit_placement(placement: Placement, stated: Triple, voxel_um: Triple) -> Placement | None:
    """Convert a placement to µm, by the size of a voxel in its unit and in µm.

    Parameters
    ----------
    placement : Placement
        In the unit of `stated`.
    stated : tuple of float
        Voxel size (z, y, x) in that unit, which may be unknown.
    voxel_um : tuple of float
        Voxel size (z, y, x), µm.

    Returns
    -------
    Placement or None
        None if the two sizes differ by another factor along each axis: the position cannot be converted.

    Examples
    --------
    >>> fit_placement(Placement((100.0, 0.0, 0.0)), (0.05, 0.05, 0.05), (50, 50, 50)).origin_um
    (100000.0, 0.0, 0.0)
    >>> fit_placement(Placement((100.0, 0.0, 0.0)), (0.05, 0.05, 0.05), (100, 50, 50)) is None
    True
    """
    factors = [size / step if step else math.inf for size, step in zip(voxel_um, stated, strict=True)]
    if not all(math.isfinite(factor) and nearly_equal(factor, factors[0]) for factor in factors):
        return placement if not any(placement.origin_um) else None
    factor = sorted(factors)[1]
    return placement if nearly_equal(factor, 1.0) else placement.scaled(float(f"{factor:.7g}"))


def _triple(values: ArrayLike) -> Triple:
    z, y, x = (float(value) for value in np.asarray(values, dtype=float))
    if not all(map(math.isfinite, (z, y, x))):
        raise ValueError(f"{[z, y, x]} are not three finite numbers")
    return z, y, x


def _matrix(values: ArrayLike) -> Matrix:
    z, y, x = (_triple(row) for row in np.asarray(values, dtype=float).reshape(3, 3))
    return z, y, x
