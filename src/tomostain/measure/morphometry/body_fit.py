"""Fit of the body of a new implant to the boundary of the implant: pose, phase of the thread, and offset."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from tomostain.measure.morphometry.bodies import Body
from tomostain.measure.morphometry.boundary import BoundaryPoints, boundary_points
from tomostain.measure.morphometry.diameter import ImplantDiameter, check_diameter, frame_of
from tomostain.measure.morphometry.implant import Implant

Float = NDArray[np.float64]

_TURNS = 8
_REFINED = 4
_SEARCH_POINTS = 800
_STEP_UM = 20.0


@dataclass(frozen=True)
class FittedBody:
    """A body in a volume.

    Attributes
    ----------
    body : Body
    rotation : ndarray of float64, shape (3, 3)
        ``volume = rotation @ local + centre_um``, acting on (z, y, x).
    centre_um : ndarray of float64, shape (3,)
        Centre of the body in the volume, µm.
    turn : float
        Phase of the thread, in turns.
    offset_um, residual_um : float
        See `InitialGeometry`.
    """

    body: Body
    rotation: Float
    centre_um: Float
    turn: float
    offset_um: float
    residual_um: float

    def distance(self, points_um: Float) -> Float:
        """Return the signed distance of points (n, 3) of the volume to the new body, µm, negative inside."""
        return self.body.distance((points_um - self.centre_um) @ self.rotation, self.turn)

    @property
    def reach_um(self) -> float:
        """Radius of a sphere around the centre that contains the body, µm."""
        return 1.01 * math.hypot(self.body.length_um, self.body.diameter_um) / 2


def fit_body(
    implant: Implant, body: Body, *, points: BoundaryPoints | None = None, diameter: ImplantDiameter | None = None
) -> FittedBody:
    """Fit pose, phase of the thread and outward offset of a body to the boundary of the implant.

    The axis comes from `measure_diameter`. Both directions, positions along the axis, and rotations of body and thread
    are searched; the best are refined with `scipy.optimize.least_squares` and a loss that is insensitive to outliers.

    Parameters
    ----------
    implant : Implant
    body : Body
    points : BoundaryPoints, optional
    diameter : ImplantDiameter, optional
        Both are computed unless they are given.

    Returns
    -------
    FittedBody
    """
    boundary = points or boundary_points(implant)
    start = diameter or check_diameter(implant, body.diameter_um, math.inf, points=boundary)
    scale = max(implant.voxel_um)
    starts = [(_cost(boundary.points_um[:_SEARCH_POINTS], each, scale), each) for each in _starts(body, start)]
    starts.sort(key=lambda pair: pair[0])
    refined = [_refine(boundary.points_um, each, scale) for _, each in starts[:_REFINED]]
    return min(refined, key=lambda pair: pair[0])[1]


def _starts(body: Body, measured: ImplantDiameter) -> Iterator[FittedBody]:
    """Yield poses to begin with: both directions, three positions along the axis, rotations of body and thread."""
    half = body.length_um / 2
    shifts = sorted({0.0, measured.low_um + half, measured.high_um - half})
    turns = np.arange(_TURNS) / _TURNS
    phases = turns if body.pitch_um else np.zeros(1)
    for sign, shift, turn, phase in itertools.product((1, -1), shifts, turns / 2, phases):
        frame = frame_of(sign * measured.axis)
        spin = Rotation.from_rotvec([2 * math.pi * turn, 0, 0]).as_matrix()
        centre = measured.centre_um + shift * measured.axis
        yield FittedBody(body, frame.T @ spin, centre, float(phase), 0.0, math.nan)


def _cost(points: Float, start: FittedBody, scale: float) -> float:
    distance = start.distance(points)
    return float(np.sqrt(1 + ((distance - np.median(distance)) / scale) ** 2).mean())


def _refine(points: Float, start: FittedBody, scale: float) -> tuple[float, FittedBody]:
    """Return the cost and the refined fit. Parameters: rotation vector, shift, phase of the thread, offset."""
    lever = max(start.body.length_um, start.body.diameter_um) / 2

    def placed(x: Float) -> FittedBody:
        turned = Rotation.from_rotvec(x[:3] * _STEP_UM / lever).as_matrix() @ start.rotation
        turn = start.turn + x[6] * _STEP_UM / max(start.body.pitch_um, _STEP_UM)
        return FittedBody(start.body, turned, start.centre_um + x[3:6] * _STEP_UM, turn, x[7] * _STEP_UM, math.nan)

    def residuals(x: Float) -> Float:
        body = placed(x)
        return np.asarray(body.distance(points) - body.offset_um) / scale

    first = np.zeros(8)
    first[7] = float(np.median(start.distance(points))) / _STEP_UM
    fit = least_squares(residuals, first, loss="soft_l1", diff_step=1e-3, max_nfev=60)
    best = placed(fit.x)
    sizes = np.sort(np.abs(residuals(fit.x))) * scale
    residual = float(np.sqrt(np.mean(sizes[: max(int(0.95 * len(sizes)), 1)] ** 2)))
    return float(fit.cost), FittedBody(
        best.body, best.rotation, best.centre_um, float(best.turn), float(best.offset_um), residual
    )
