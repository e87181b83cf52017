"""Pose of the specimen in the volume, and the section that is cut from it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from tomostain.geometry.section import Section, grid_um
from tomostain.phantom.config import PhantomConfig

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Pose:
    """Rigid motion from specimen to volume coordinates: ``volume = rotation @ specimen + translation_um``.

    Attributes
    ----------
    rotation : ndarray of float64, shape (3, 3)
        Orthonormal, determinant 1, acting on (z, y, x).
    translation_um : ndarray of float64, shape (3,)
        Position of the centre of the screw in the volume, µm.
    """

    rotation: Float
    translation_um: Float

    def to_volume(self, specimen_um: NDArray[np.floating]) -> Float:
        """Map specimen points (..., 3) to the volume, µm."""
        return np.asarray(specimen_um @ self.rotation.T + self.translation_um)

    def to_specimen(self, volume_um: NDArray[np.floating]) -> Float:
        """Map volume points (..., 3) to the specimen, µm."""
        return np.asarray((volume_um - self.translation_um) @ self.rotation)


def draw_pose(config: PhantomConfig) -> Pose:
    """Draw the pose from the seed, with the centre of the screw within 4 % of the centre of the volume.

    Parameters
    ----------
    config : PhantomConfig
        Seed, orientation, shape and voxel size are used.

    Returns
    -------
    Pose
    """
    rng = np.random.default_rng([config.seed, 2])
    random = Rotation.random(None, rng).as_matrix()  # the name of the argument depends on the version of SciPy
    lying = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
    rotation = {"random": random, "upright": np.eye(3), "lying": lying}[config.orientation]
    field = np.array(config.field_um)
    reach = np.minimum(150.0, 0.04 * field)
    return Pose(rotation, field / 2 + rng.uniform(-1, 1, 3) * reach)


def section_through_screw(config: PhantomConfig, pose: Pose) -> tuple[Section, tuple[int, int]]:
    """Return the section along the screw (paper section 2.1), and the size of the slide.

    The plane contains the long axis of the screw, apart from the tilt and offset of the configuration (None: drawn from
    the seed, at most 3° and 150 µm). Of 24 rotations around that axis, which begin at a random one, the one with the
    largest part inside the volume is selected. Rows run along the screw, from its head.

    Parameters
    ----------
    config : PhantomConfig
        Seed, shape, voxel and pixel size, tilt and offset are used.
    pose : Pose
        Pose of the specimen.

    Returns
    -------
    section : Section
        In volume coordinates, with the identity as `slide_to_section`.
    shape : tuple of int
        (rows, columns): a square as wide as the longest side of the volume.
    """
    rng = np.random.default_rng([config.seed, 3])
    start, tilt_draw, offset_draw = rng.uniform(0, np.pi), rng.uniform(-3, 3), rng.uniform(-150, 150)
    tilt = np.radians(tilt_draw if config.section_tilt_deg is None else config.section_tilt_deg)
    offset = offset_draw if config.section_offset_um is None else config.section_offset_um
    side = max(1, round(max(config.shape) * config.voxel_um / config.pixel_um))
    shape = (side, side)

    def cut(angle: float) -> Section:
        normal = pose.rotation @ np.array([0.0, np.cos(angle), np.sin(angle)])
        axis = pose.rotation[:, 0]
        row = np.cos(tilt) * axis + np.sin(tilt) * normal
        column = np.cross(normal, axis)
        centre = pose.translation_um + offset * normal
        return Section(centre - (row + column) * (side - 1) / 2 * config.pixel_um, row, column)

    cuts = [cut(start + k * np.pi / 24) for k in range(24)]
    # Rounded, so that among similar directions the random start decides.
    shown = [round(20 * _part_in_volume(section, config, side)) for section in cuts]
    return cuts[int(np.argmax(shown))], shape


def _part_in_volume(section: Section, config: PhantomConfig, side: int) -> float:
    """Return the fraction of the slide (0 to 1) inside the volume, from a grid of 24 × 24 points."""
    points = section.to_volume_um(grid_um((24, 24), (side - 1) * config.pixel_um / 23))
    inside = (points >= 0).all(axis=-1) & (points <= np.array(config.field_um)).all(axis=-1)
    return float(inside.mean())
