"""The stained section of a specimen (paper section 2.1): absorption of light by the Beer–Lambert law."""

import numpy as np
from numpy.typing import NDArray

from tomostain.geometry.section import Section, grid_um
from tomostain.integers import to_integers
from tomostain.phantom.anatomy import Anatomy
from tomostain.phantom.config import HistologyConfig as HistologyConfig
from tomostain.phantom.sampler import sample_tissue_in_volume
from tomostain.phantom.stains import STAINS
from tomostain.phantom.tissue import Label

ROWS_AT_ONCE = 64
# Additive recurrence with the plastic number, for well spread points in the unit cube (Roberts 2018, R-sequence).
R3 = np.array([0.8191725133961645, 0.6710436067037893, 0.5497004779019703])


def stain_section(
    anatomy: Anatomy, section: Section, shape: tuple[int, int], pixel_um: float
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Simulate an ideal stained section of a specimen.

    Parameters
    ----------
    anatomy : Anatomy
        Its configuration contains stain and thickness.
    section : Section
        The middle plane of the section in the volume. Its affine is not applied.
    shape : tuple of int
        (rows, columns).
    pixel_um : float

    Returns
    -------
    transmission : ndarray of float32, shape (rows, columns, 3)
        Transmitted fraction of the light, 0 to 1, in red, green and blue.
    labels : ndarray of uint8, shape (rows, columns)
        `Label` in the middle plane.
    """
    return stain_points(anatomy, section, grid_um(shape, pixel_um), pixel_um)


def stain_points(
    anatomy: Anatomy, section: Section, section_um: NDArray[np.float64], pixel_um: float
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Stain points (rows, columns, 2) of the section plane, in section (row, column) µm; see `stain_section`."""
    rows, columns = section_um.shape[:2]
    transmission = np.empty((rows, columns, 3), np.float32)
    labels = np.empty((rows, columns), np.uint8)
    for first in range(0, rows, ROWS_AT_ONCE):
        part = slice(first, min(first + ROWS_AT_ONCE, rows))
        transmission[part] = 10.0 ** -_optical_density(anatomy, section, section_um[part], pixel_um)
        centres = section.to_volume_um(section_um[part])
        labels[part] = sample_tissue_in_volume(anatomy, centres, finest_um=pixel_um).label
    return transmission, labels


def _optical_density(
    anatomy: Anatomy, section: Section, section_um: NDArray[np.float64], pixel_um: float
) -> NDArray[np.float32]:
    """Return the optical density OD = Σ ε · path (Beer–Lambert), shape (rows, columns, 3)."""
    config = anatomy.config.histology
    stain = STAINS[anatomy.config.stain]
    total = np.zeros((*section_um.shape[:2], 3), np.float32)
    for number in range(config.samples):
        offset = (0.5 + R3 * number) % 1.0 - 0.5
        depth_um = ((number + 0.5) / config.samples - 0.5) * config.thickness_um
        points = section.to_volume_um(section_um + offset[:2] * pixel_um) + depth_um * section.normal
        tissue = sample_tissue_in_volume(anatomy, points, finest_um=0.5 * pixel_um)
        total += stain.absorbance_per_um(tissue) * np.float32(config.thickness_um / config.samples)
    return total * np.array(config.absorbance, np.float32)


def to_rgb(transmission: NDArray[np.float32], white: float = 243.0) -> NDArray[np.uint8]:
    """Convert transmission (…, 3) to 8-bit colours. A transmission of 1 becomes `white`."""
    return to_integers(transmission * white, np.uint8, "colours of the slide", clip=True)


def is_tissue(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the pixels of the specimen: neither air nor the tube."""
    return (labels != Label.AIR) & (labels != Label.TUBE)
