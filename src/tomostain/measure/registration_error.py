"""Planes within the error of a registration: how much a measure of a section depends on where the section lies."""

from dataclasses import replace

import numpy as np

from tomostain.errors import InputError
from tomostain.geometry.section import Section

POSITION_SD_VOXELS = 0.25
"""Standard deviation of the position along the normal, voxels: the error on phantoms
(docs/explanation/registration.md)."""
TILT_SD_DEG = 0.15
"""Standard deviation of each of the two tilts, degrees: the error on phantoms."""


def planes_within_error(
    section: Section,
    centre_um: tuple[float, float],
    *,
    position_sd_um: float,
    tilt_sd_deg: float = TILT_SD_DEG,
    number: int = 20,
    seed: int = 0,
) -> list[Section]:
    """Draw planes near a section, as a registration of limited accuracy could have found them.

    The position along the normal and the two tilts around the centre of the section are normally distributed. Shifts
    and rotations in the plane are left out: they move the image, and no measure of a section depends on them.

    Parameters
    ----------
    section : Section
    centre_um : tuple of float
        Section (row, column) of the point around which the planes tilt, µm: the centre of the image.
    position_sd_um : float
        Standard deviation of the displacement along the normal, µm.
    tilt_sd_deg : float
        Standard deviation of the tilts around the row and the column direction, degrees.
    number : int
        Number of planes.
    seed : int
        The same seed gives the same planes.

    Returns
    -------
    list of Section
        With the `slide_to_section` of `section`.

    Raises
    ------
    InputError
        If a standard deviation is negative or not finite, or `number` is below 2.

    Examples
    --------
    >>> flat = Section(np.zeros(3), np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]))
    >>> planes = planes_within_error(flat, (50.0, 50.0), position_sd_um=5.0, tilt_sd_deg=0.0, number=2)
    >>> [plane.normal.round(6).tolist() for plane in planes]
    [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    """
    for name, value in (("position_sd_um", position_sd_um), ("tilt_sd_deg", tilt_sd_deg)):
        if not (np.isfinite(value) and value >= 0):
            raise InputError(f"`{name}` is {value}; give a finite number of at least 0", parameter=name)
    if number < 2:
        raise InputError(f"`planes` is {number}; a spread needs at least 2", parameter="planes")
    rng = np.random.default_rng(seed)
    centre = section.to_volume_um(np.asarray(centre_um))
    offset_um = np.asarray(centre_um, dtype=np.float64)
    planes = []
    for _ in range(number):
        shift = rng.normal(0, position_sd_um)
        tilt_row, tilt_column = np.radians(rng.normal(0, tilt_sd_deg, 2))
        rotation = _rotation(section.row, tilt_row) @ _rotation(section.column, tilt_column)
        row, column = rotation @ section.row, rotation @ section.column
        origin = centre + shift * section.normal - offset_um[0] * row - offset_um[1] * column
        planes.append(replace(section, origin_um=origin, row=row, column=column))
    return planes


def _rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    """Return the rotation by `angle`, radians, around a unit vector (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)
