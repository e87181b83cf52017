"""How the specimen stands in the volume, and the section that the saw cuts from it."""

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
        Where the screw's centre lies in the volume, µm.
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
    """Draw the pose from the seed: the screw's centre within 4 % of the volume's centre, turned as `orientation` says.

    Parameters
    ----------
    config : PhantomConfig
        Seed, orientation, shape and voxel size are used.

    Returns
    -------
    Pose
    """
    rng = np.random.default_rng([config.seed, 2])
    anyhow = Rotation.random(rng=rng).as_matrix()
    lying = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
    rotation = {"random": anyhow, "upright": np.eye(3), "lying": lying}[config.orientation]
    field = np.array(config.field_um)
    reach = np.minimum(150.0, 0.04 * field)
    return Pose(rotation, field / 2 + rng.uniform(-1, 1, 3) * reach)


def section_through_screw(config: PhantomConfig, pose: Pose) -> tuple[Section, tuple[int, int]]:
    """Return the section along the screw that the saw cuts (paper section 2.1), and the slide's size.

    The cut holds the screw's long axis but for the tilt and offset of the configuration (drawn from the seed where
    they are None: at most 3° and 150 µm). About that axis it is turned, among 24 directions that begin at a random
    one, to where the volume shows most of it. Rows run along the screw, head first.

    Parameters
    ----------
    config : PhantomConfig
        Seed, shape, voxel and pixel size, tilt and offset are used.
    pose : Pose
        Of the specimen.

    Returns
    -------
    section : Section
        In volume coordinates, with the identity as `slide_to_section`.
    shape : tuple of int
        (rows, columns): a square as wide as the volume's longest side.
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
    # Rounded, so that directions that show about the same leave the choice to the random start.
    shown = [round(20 * _part_in_volume(section, config, side)) for section in cuts]
    return cuts[int(np.argmax(shown))], shape


def _part_in_volume(section: Section, config: PhantomConfig, side: int) -> float:
    """Return the part of the slide (0 to 1) that lies in the volume, on a grid of 24 × 24 points."""
    points = section.to_volume_um(grid_um((24, 24), (side - 1) * config.pixel_um / 23))
    inside = (points >= 0).all(axis=-1) & (points <= np.array(config.field_um)).all(axis=-1)
    return float(inside.mean())
