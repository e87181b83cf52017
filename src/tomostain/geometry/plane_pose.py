"""A section plane in terms that a person can set: angles to a plane of the volume, offset, shift and strain.

The picture of the plane is drawn on the pixels of the slide. The slide point with offset u (µm) from the middle of the
slide lies at ``c + R[:, :2] (I + E) u`` in the volume, as for `tomostain.register.poses.Poses`. The rotation is
``R = B A C F T``: the base plane B, a tilt A about the direction of its rows, a tilt C about that of its columns, F for
a slide that lies face down, and a turn T within the plane.
"""

from dataclasses import dataclass, replace
from typing import Literal, Self, TypedDict, Unpack, get_args

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.geometry.section import Section

Float = NDArray[np.float64]
BasePlane = Literal["z", "y", "x"]
# Columns: row, column and normal of the base plane in (z, y, x).
_BASES: dict[str, Float] = {
    "z": np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    "y": np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]),
    "x": np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
}
_FACE_DOWN = np.diag([1.0, -1.0, -1.0])
# A base plane stays the base if the normal is within 60° of its own.
_NEAR = 0.5


class Angles(TypedDict, total=False):
    """Keywords of `PlanePose.rotated`."""

    base: BasePlane
    tilt_row_deg: float
    tilt_column_deg: float
    turn_deg: float
    face_down: bool


@dataclass(frozen=True)
class PlanePose:
    """Position and orientation of a slide in a volume.

    Attributes
    ----------
    base : {"z", "y", "x"}
        Normal of the base plane: the slices of the volume along this axis.
    tilt_row_deg, tilt_column_deg : float
        Tilt of the plane about the direction of the rows and of the columns of the base plane, degrees. Unique
        between -90 and 90.
    turn_deg : float
        Clockwise rotation of the picture of the plane on the slide, degrees.
    face_down : bool
        The slide shows the plane from behind: mirrored.
    offset_um : float
        Distance of the plane from the middle of the volume, along its normal, µm.
    shift_row_um, shift_column_um : float
        Shift of the picture of the plane on the slide, down and to the right, µm.
    strain : tuple of float
        Strain of the histology along rows and columns, and shear. 0.01 is 1 %.
    """

    base: BasePlane = "z"
    tilt_row_deg: float = 0.0
    tilt_column_deg: float = 0.0
    turn_deg: float = 0.0
    face_down: bool = False
    offset_um: float = 0.0
    shift_row_um: float = 0.0
    shift_column_um: float = 0.0
    strain: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if self.base not in get_args(BasePlane):
            raise InputError(f"`base` {self.base!r}: give z, y or x")
        numbers = [self.tilt_row_deg, self.tilt_column_deg, self.turn_deg, self.offset_um, self.shift_row_um]
        if not np.isfinite([*numbers, self.shift_column_um, *self.strain]).all():
            raise InputError("pose: every angle and length must be a finite number")

    @property
    def rotation(self) -> Float:
        """Columns: row, column and normal of the slide in volume coordinates (z, y, x); shape (3, 3)."""
        face = _FACE_DOWN if self.face_down else np.eye(3)
        return np.asarray(self._plane @ face @ _about(2, self.turn_deg))

    @property
    def normal(self) -> Float:
        """Direction in which `offset_um` is counted, (z, y, x). It does not depend on the face of the slide."""
        return np.asarray(self._plane[:, 2])

    @property
    def _plane(self) -> Float:
        return np.asarray(_BASES[self.base] @ _about(0, self.tilt_row_deg) @ _about(1, self.tilt_column_deg))

    def centre_um(self, volume_middle_um: Float) -> Float:
        """Return the position of the middle of the slide in the volume (z, y, x), µm."""
        shift = self.rotation[:, :2] @ np.array([self.shift_row_um, self.shift_column_um])
        return np.asarray(volume_middle_um + self.offset_um * self.normal - shift)

    def placed_at(self, centre_um: Float, volume_middle_um: Float) -> Self:
        """Return the pose with the middle of the slide at a point of the volume."""
        from_middle = np.asarray(centre_um, dtype=np.float64) - volume_middle_um
        row, column = (float(x) for x in -(from_middle @ self.rotation[:, :2]))
        offset = float(from_middle @ self.normal)
        return replace(self, offset_um=offset, shift_row_um=row, shift_column_um=column)

    def rotated(self, volume_middle_um: Float, **angles: Unpack[Angles]) -> Self:
        """Return the pose with other angles. The middle of the slide stays at the same point of the volume."""
        return replace(self, **angles).placed_at(self.centre_um(volume_middle_um), volume_middle_um)

    def to_section(self, slide_middle_um: Float, volume_middle_um: Float) -> Section:
        """Return the pose as a `Section`.

        Parameters
        ----------
        slide_middle_um : ndarray, shape (2,)
            Middle of the slide, or of its tissue: the point that the angles turn about (row, column), µm.
        volume_middle_um : ndarray, shape (3,)
            Middle of the volume (z, y, x), µm.
        """
        frame, (rows, columns, shear) = self.rotation, self.strain
        linear = np.eye(2) + np.array([[rows, shear], [shear, columns]])
        origin = self.centre_um(volume_middle_um) - frame[:, :2] @ slide_middle_um
        affine = np.hstack([linear, (slide_middle_um - linear @ slide_middle_um)[:, None]])
        return Section(origin, frame[:, 0], frame[:, 1], affine)

    @classmethod
    def from_section(
        cls, section: Section, slide_middle_um: Float, volume_middle_um: Float, base: BasePlane | None = None
    ) -> Self:
        """Return the pose of a `Section`, whose affine may rotate and mirror.

        Parameters
        ----------
        section : Section
        slide_middle_um, volume_middle_um : ndarray
            See `to_section`.
        base : {"z", "y", "x"}, optional
            The base plane, if the section is tilted from it by at most 60°. Otherwise, and by default, the nearest one.
        """
        linear = np.column_stack([section.row, section.column]) @ section.slide_to_section[:, :2]
        u, sizes, v = np.linalg.svd(linear, full_matrices=False)
        plane = u @ v
        stretch = v.T @ (sizes[:, None] * v) - np.eye(2)
        frame = np.column_stack([plane, np.cross(plane[:, 0], plane[:, 1])])
        along = {name: float(axes[:, 2] @ frame[:, 2]) for name, axes in _BASES.items()}
        nearest: BasePlane = max(get_args(BasePlane), key=lambda name: abs(along[name]))
        base = base if base is not None and abs(along[base]) >= _NEAR else nearest
        face_down = along[base] < 0
        matrix = _BASES[base].T @ frame @ (_FACE_DOWN if face_down else np.eye(3))
        turn = float(np.degrees(np.arctan2(-matrix[0, 1], matrix[0, 0])))
        pose = cls(
            base,
            float(np.degrees(np.arctan2(-matrix[1, 2], matrix[2, 2]))),
            float(np.degrees(np.arcsin(np.clip(matrix[0, 2], -1.0, 1.0)))),
            -turn if face_down else turn,
            face_down,
            strain=(float(stretch[0, 0]), float(stretch[1, 1]), float(stretch[0, 1])),
        )
        centre = section.to_volume_um(section.slide_to_section_um(slide_middle_um))
        return pose.placed_at(centre, volume_middle_um)


def _about(axis: int, angle_deg: float) -> Float:
    """Return the rotation by an angle about an axis."""
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[first, first], matrix[first, second] = c, -s
    matrix[second, first], matrix[second, second] = s, c
    return matrix
