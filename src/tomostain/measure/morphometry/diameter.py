"""Axis and outer diameter of the implant, and the check of the voxel size by its nominal diameter."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from tomostain.errors import InputError
from tomostain.measure.morphometry.boundary import BoundaryPoints, boundary_points
from tomostain.measure.morphometry.implant import Implant

Float = NDArray[np.float64]
_STARTS = 24
_COARSE = 600
_ENDS = 0.08
_CREST = 94.0
_MIN_FACES = 24
"""A cylinder is not fitted to fewer voxel faces, nor to fewer than five apart from the ends: one per parameter."""
DIAMETER_TOLERANCE = 0.15
"""Largest relative deviation of the diameter. A degradation layer adds a few per cent."""


@dataclass(frozen=True)
class ImplantDiameter:
    """Axis and diameter of an implant.

    Attributes
    ----------
    diameter_um : float
        Outer diameter with the degradation layer; of a screw that of its crests, µm.
    axis : ndarray of float64, shape (3,)
        Unit vector (z, y, x) along the axis.
    centre_um : ndarray of float64, shape (3,)
        A point of the axis, in the middle of the visible part, µm.
    low_um, high_um : float
        Ends of the visible part along the axis, relative to `centre_um`.
    """

    diameter_um: float
    axis: Float
    centre_um: Float
    low_um: float
    high_um: float


def measure_diameter(implant: Implant, *, points: BoundaryPoints | None = None) -> ImplantDiameter:
    """Measure axis and outer diameter of the implant.

    A circular cylinder is fitted to the visible boundary, so that a part of the implant may lie outside of the field of
    view. The outer radius is the 94th percentile of the distances from its axis, without the ends.

    Parameters
    ----------
    implant : Implant
    points : BoundaryPoints, optional
        Its boundary, if it is known already.

    Returns
    -------
    ImplantDiameter

    Raises
    ------
    InputError
        If the surface of the implant is not in the field of view, or too little of it.
    """
    boundary = boundary_points(implant) if points is None else points
    sample, normals = boundary.points_um, boundary.normals
    if len(sample) < _MIN_FACES:
        raise _no_surface(len(sample))
    middle = sample.mean(axis=0)
    fits = [_fit_cylinder(sample[:_COARSE], normals[:_COARSE], axis, middle) for axis in _axes(implant.axis)]
    best = min(fits, key=lambda fit: fit.cost)
    for _ in range(2):
        lateral = _without_ends(sample, best)
        if np.count_nonzero(lateral) < 5:
            raise _no_surface(len(sample))
        best = _fit_cylinder(sample[lateral], normals[lateral], best.axis, best.centre)
    radius = float(np.percentile(best.radii(sample[_without_ends(sample, best)]), _CREST))
    along = (sample - best.centre) @ best.axis
    centre = best.centre + best.axis * float(along.min() + along.max()) / 2
    half = float(along.max() - along.min()) / 2
    return ImplantDiameter(2 * radius, best.axis, centre, -half, half)


def check_diameter(
    implant: Implant, expected_um: float, tolerance: float = DIAMETER_TOLERANCE, *, points: BoundaryPoints | None = None
) -> ImplantDiameter:
    """Compare the diameter of the implant with the nominal one, which reveals a wrong voxel size.

    Parameters
    ----------
    implant : Implant
    expected_um : float
        Nominal outer diameter, µm.
    tolerance : float
        Largest relative deviation.
    points : BoundaryPoints, optional
        The boundary of the implant, if it is known already.

    Returns
    -------
    ImplantDiameter

    Raises
    ------
    InputError
        If the deviation is larger. The message states both diameters and their ratio.
    """
    if not (expected_um > 0 and math.isfinite(expected_um)):
        raise InputError(f"the expected diameter is {expected_um}; give a positive length, µm", parameter="expected_um")
    measured = measure_diameter(implant, points=points)
    ratio = measured.diameter_um / expected_um
    if abs(ratio - 1) > tolerance:
        raise InputError(
            f"the diameter of the implant is {measured.diameter_um:.0f} µm where {expected_um:.0f} µm is expected, "
            f"a factor of {ratio:.2f}; correct the voxel size, or the nominal diameter",
            parameter="voxel_um",
        )
    return measured


def _no_surface(faces: int) -> InputError:
    """Return the error for an implant of which too little surface is seen."""
    how_much = f"almost no surface ({faces} voxel faces)" if faces else "no surface"
    return InputError(
        f"{how_much} of the implant is in the field of view, from which its diameter could be measured; give a volume "
        "that shows its surface, or measure without `diameter_mm` and `geometry`"
    )


@dataclass(frozen=True)
class _Cylinder:
    """A fitted cylinder; the cost is that of `scipy.optimize.least_squares`."""

    axis: Float
    centre: Float
    radius: float
    cost: float = math.inf

    def radii(self, points: Float) -> Float:
        """Return the distances of points (n, 3) from the axis."""
        relative = points - self.centre
        distances: Float = np.linalg.norm(relative - (relative @ self.axis)[:, None] * self.axis, axis=1)
        return distances


def _axes(first: Float) -> Float:
    """Return start axes: the given one, and others over the hemisphere (Fibonacci lattice)."""
    k = np.arange(_STARTS) + 0.5
    z = k / _STARTS
    turn = math.pi * (1 + math.sqrt(5)) * k
    flat = np.sqrt(1 - z**2)
    return np.concatenate([first[None], np.stack([z, flat * np.cos(turn), flat * np.sin(turn)], axis=1)])


def frame_of(axis: Float) -> Float:
    """Return a right-handed orthonormal frame (rows) whose first row is the axis, a unit vector."""
    second = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    second /= np.linalg.norm(second)
    return np.stack([axis, second, np.cross(axis, second)])


def _without_ends(points: Float, cylinder: _Cylinder) -> NDArray[np.bool_]:
    along = (points - cylinder.centre) @ cylinder.axis
    low, high = np.quantile(along, [_ENDS, 1 - _ENDS])
    return np.asarray((along > low) & (along < high))


def _fit_cylinder(points: Float, normals: Float, axis: Float, centre: Float) -> _Cylinder:
    """Fit a cylinder. Faces whose normal is along the axis count less: they belong to the ends."""
    frame = frame_of(axis)
    size = float(np.linalg.norm(points.std(axis=0)))
    weight = np.sqrt(np.clip(1 - (normals @ axis) ** 2, 1e-6, 1))

    def cylinder(x: Float) -> _Cylinder:
        tilted = frame[0] + x[0] * frame[1] + x[1] * frame[2]
        shifted = centre + size * (x[2] * frame[1] + x[3] * frame[2])
        return _Cylinder(tilted / np.linalg.norm(tilted), shifted, size * float(x[4]))

    def residuals(x: Float) -> Float:
        candidate = cylinder(x)
        result: Float = (candidate.radii(points) - candidate.radius) / size * weight
        return result

    radius = float(np.median(_Cylinder(axis, centre, 0).radii(points))) / size
    fit = least_squares(residuals, np.array([0, 0, 0, 0, radius]), loss="soft_l1", f_scale=0.03, max_nfev=40)
    return replace(cylinder(fit.x), cost=float(fit.cost))
