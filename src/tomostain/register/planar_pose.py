"""Pose of a slide on a µCT slice: a point ``x`` (µm) of the slide is at ``c + Q (I + E) (x - m)`` on the slice.

m is the middle of the tissue on the slide, c its position on the slice, Q a rotation or a rotation with a reflection,
and E the symmetric strain of the histology.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomostain.geometry.section import Section

Float = NDArray[np.float64]
_NO_STRAIN = ((0.0, 0.0), (0.0, 0.0))


@dataclass(frozen=True, eq=False)
class PlanarPose:
    """Rotation, side, translation and strain.

    Attributes
    ----------
    centre_um : ndarray, shape (2,)
        Position (row, column) of the middle of the slide on the slice, µm.
    angle : float
        Rotation, radians.
    mirrored : bool
        The slide is seen from behind.
    middle_um : ndarray, shape (2,)
        Point of the slide (row, column) about which it rotates, µm.
    strain : ndarray, shape (2, 2)
        Symmetric.
    """

    centre_um: Float
    angle: float
    mirrored: bool
    middle_um: Float
    strain: Float

    @classmethod
    def as_given(cls, middle_um: ArrayLike) -> "PlanarPose":
        """Return the pose at which the first pixels of slide and slice coincide, without rotation."""
        middle = np.asarray(middle_um, dtype=np.float64)
        return cls(middle, 0.0, False, middle, np.array(_NO_STRAIN))

    @property
    def rotation(self) -> Float:
        """Q, shape (2, 2)."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        side = -1.0 if self.mirrored else 1.0
        return np.array([[cos, -sin * side], [sin, cos * side]])

    @property
    def linear(self) -> Float:
        """Q (I + E), shape (2, 2)."""
        return np.asarray(self.rotation @ (np.eye(2) + self.strain))

    def points_um(self, slide_um: Float) -> Float:
        """Return the positions (..., 2) of slide points (..., 2) on the slice, µm."""
        around = slide_um - self.middle_um
        # All rows, then all columns: NumPy takes many times as long over pairs of a row and a column.
        moved = self.linear @ around.reshape(-1, 2).T + self.centre_um[:, None]
        return np.asarray(moved.T.reshape(around.shape))

    def moved(self, shift_um: ArrayLike, turn: float = 0.0, strain: ArrayLike = _NO_STRAIN) -> "PlanarPose":
        """Return the pose with a shift, a rotation and a strain added."""
        return replace(
            self,
            centre_um=self.centre_um + np.asarray(shift_um),
            angle=self.angle + turn,
            strain=self.strain + np.asarray(strain),
        )

    def after(self, linear: Float, shift_um: Float) -> "PlanarPose":
        """Return the pose of slide points that are first mapped by ``m + linear (x - m) + shift_um``.

        The linear map of the result is split into rotation and strain (polar decomposition).
        """
        u, sizes, v = np.linalg.svd(self.linear @ linear)
        rotation = u @ v
        strain = v.T @ np.diag(sizes) @ v - np.eye(2)
        angle = float(np.arctan2(rotation[1, 0], rotation[0, 0]))
        return replace(self, centre_um=self.centre_um + self.linear @ shift_um, angle=angle, strain=strain)

    def distance_um(self, other: "PlanarPose", slide_um: Float) -> Float:
        """Return the distances (N,) between slide points (N, 2) under two poses, µm."""
        return np.asarray(np.linalg.norm(self.points_um(slide_um) - other.points_um(slide_um), axis=1))

    def to_section(self) -> Section:
        """Return the pose as a `Section` of a volume of one slice, in coordinates (0, row, column)."""
        q = self.rotation
        row, column = (np.concatenate([[0.0], q[:, i]]) for i in range(2))
        linear = np.eye(2) + self.strain
        affine = np.column_stack([linear, self.middle_um - linear @ self.middle_um])
        return Section(np.concatenate([[0.0], self.centre_um - q @ self.middle_um]), row, column, affine)

    @classmethod
    def from_section(cls, section: Section, middle_um: Float) -> "PlanarPose":
        """Return the pose that a `Section` of a volume of one slice describes."""
        frame = np.column_stack([section.row[1:], section.column[1:]])
        linear = frame @ section.slide_to_section[:, :2]
        centre = section.to_volume_um(section.slide_to_section_um(middle_um))[1:]
        pose = cls(centre, 0.0, bool(np.linalg.det(linear) < 0), np.asarray(middle_um), np.array(_NO_STRAIN))
        return pose.after(np.linalg.inv(pose.linear) @ linear, np.zeros(2))
