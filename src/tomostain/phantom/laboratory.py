"""Imperfections of preparation and imaging (paper sections 2.1, 2.3, 3), one function each.

Geometry (affine, displacement of soft tissue) changes the positions at which the specimen is sampled, so nothing is
interpolated twice. Damage and light change the image. Every imperfection depends on the seed, is switched off by 0, and
is returned as truth.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.geometry.section import Section, grid_um
from tomostain.integers import to_integers
from tomostain.phantom.anatomy import Anatomy
from tomostain.phantom.config import LaboratoryConfig as LaboratoryConfig
from tomostain.phantom.histology import is_tissue, stain_points
from tomostain.phantom.sampler import sample_tissue_in_volume
from tomostain.phantom.tissue import Label

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]
# Largest strain of each stain that sectioning leaves (paper section 2.3: below 1 %; H&E up to 3 to 4 %).
STRAIN = {"toluidine-blue": 0.008, "h&e": 0.035}
# The displacement of soft tissue is drawn on a grid with this step.
SHIFT_STEP_UM = 50.0
SOFT = (Label.SOFT, Label.MARROW, Label.ADIPOCYTE, Label.AIR)


@dataclass(frozen=True)
class PhantomSlide:
    """A slide and its truth.

    Attributes
    ----------
    rgb : ndarray of uint8, shape (rows, columns, 3)
        The image of the microscope.
    ideal : ndarray of uint8, shape (rows, columns, 3)
        The same section without damage, and evenly lit.
    labels : ndarray of uint8, shape (rows, columns)
        `Label` under each slide pixel.
    section : Section
        The true plane, with the true `slide_to_section`.
    shift_um : ndarray of float32, shape (rows, columns, 2)
        Displacement of the tissue at each pixel in the section (row, column), µm.
    damaged : ndarray of bool, shape (rows, columns)
        Pixels of cracks, spills and missing pieces.
    """

    rgb: NDArray[np.uint8]
    ideal: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    section: Section
    shift_um: Float32
    damaged: Mask


def make_slide(anatomy: Anatomy, section: Section, shape: tuple[int, int]) -> PhantomSlide:
    """Simulate cutting, staining and imaging of a section.

    Parameters
    ----------
    anatomy : Anatomy
        Its configuration contains stain, pixel size and imperfections.
    section : Section
        The plane. Its affine is replaced.
    shape : tuple of int
        (rows, columns) of the whole slide.

    Returns
    -------
    PhantomSlide
    """
    config = anatomy.config
    laboratory = config.laboratory
    rng = np.random.default_rng([config.seed, 5])
    strain = STRAIN[config.stain] if laboratory.strain is None else laboratory.strain
    shape, corner_um = crop(shape, config.pixel_um, laboratory.field_of_view, rng)
    affine = draw_affine(shape, config.pixel_um, strain, corner_um, rng)
    affine = lay_on_glass(affine, shape, config.pixel_um, laboratory.turn_deg, laboratory.mirrored)
    placed = Section(section.origin_um, section.row, section.column, affine)
    where = placed.slide_to_section_um(grid_um(shape, config.pixel_um))
    shift = soft_shift(anatomy, placed, where, laboratory.soft_shift_um, rng)
    transmission, labels = stain_points(anatomy, placed, where + shift, config.pixel_um)
    picture, damaged = damage(transmission, labels, config.pixel_um, laboratory, rng)
    return PhantomSlide(
        rgb=develop(picture, laboratory, rng),
        ideal=develop(transmission, LaboratoryConfig.perfect(), rng),
        labels=labels,
        section=placed,
        shift_um=shift,
        damaged=damaged,
    )


def crop(
    shape: tuple[int, int], pixel_um: float, part: float, rng: np.random.Generator
) -> tuple[tuple[int, int], NDArray[np.float64]]:
    """Return shape and upper left corner (µm in the section) of a field of view with a fraction `part` of the sides."""
    small = (max(1, round(shape[0] * part)), max(1, round(shape[1] * part)))
    room = (np.array(shape) - small) * pixel_um
    return small, rng.uniform(0, 1, 2) * room


def draw_affine(
    shape: tuple[int, int], pixel_um: float, strain: float, corner_um: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw `slide_to_section`: scales and shear of at most `strain` around the centre of the slide, shape (2, 3)."""
    scale_row, scale_column, shear = rng.uniform(-strain, strain, 3)
    linear = np.array([[1 + scale_row, shear], [0.0, 1 + scale_column]])
    centre = (np.array(shape) - 1) / 2 * pixel_um
    return np.hstack([linear, (centre + corner_um - linear @ centre)[:, None]])


def lay_on_glass(
    affine: NDArray[np.float64], shape: tuple[int, int], pixel_um: float, turn_deg: float, mirrored: bool
) -> NDArray[np.float64]:
    """Return `slide_to_section` (2, 3) after rotation, and mirroring if `mirrored`, around the centre of the slide."""
    angle = np.radians(turn_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = turn @ np.diag([1.0, -1.0 if mirrored else 1.0])
    centre = (np.array(shape) - 1) / 2 * pixel_um
    shift = affine[:, 2] + affine[:, :2] @ (centre - turn @ centre)
    return np.hstack([affine[:, :2] @ turn, shift[:, None]])


def soft_shift(
    anatomy: Anatomy, section: Section, where_um: NDArray[np.float64], max_um: float, rng: np.random.Generator
) -> Float32:
    """Return a smooth displacement of soft tissue, (rows, columns, 2) µm: at most `max_um`, and 0 at bone."""
    shape = where_um.shape[:2]
    shift = np.zeros((*shape, 2), np.float32)
    if not max_um:
        return shift
    pixel_um = anatomy.config.pixel_um
    labels = sample_tissue_in_volume(anatomy, section.to_volume_um(where_um), finest_um=pixel_um).label
    # Bone, layer and screw are rigid. The displacement of soft tissue increases with the distance from them.
    distance_um = ndimage.distance_transform_edt(np.isin(labels, SOFT)) * pixel_um
    freedom = np.clip(distance_um / 150.0, 0, 1)
    coarse = tuple(max(2, round(side * pixel_um / SHIFT_STEP_UM)) for side in shape)
    sigma = 400.0 / SHIFT_STEP_UM
    smooth = [ndimage.gaussian_filter(rng.standard_normal(coarse), sigma, mode="nearest") for _ in range(2)]
    # The length of the displacement is bounded, not each component.
    longest = max(np.hypot(*smooth).max(), 1e-12)
    for axis in (0, 1):
        field = ndimage.zoom(smooth[axis] / longest, np.array(shape) / coarse, order=1, grid_mode=True, mode="nearest")
        # Less than the distance to the bone, which would otherwise appear twice.
        shift[..., axis] = np.clip(field * freedom * max_um, -0.6 * distance_um, 0.6 * distance_um)
    return shift


def damage(
    transmission: Float32,
    labels: NDArray[np.uint8],
    pixel_um: float,
    config: LaboratoryConfig,
    rng: np.random.Generator,
) -> tuple[Float32, Mask]:
    """Return the transmission with saw marks, cracks, spills and missing pieces, and a mask of the last three."""
    picture = transmission.copy()
    damaged = np.zeros(labels.shape, bool)
    if config.saw_marks:
        picture *= saw_marks(labels.shape, pixel_um, config.saw_marks, rng)[..., None]
    bone = np.isin(labels, (Label.BONE, Label.WOVEN, Label.LACUNA, Label.CANAL))
    for _ in range(config.cracks):
        region = crack(labels.shape, pixel_um, rng) & bone
        picture[region] = picture[region] ** 0.25
        damaged |= region
    for _ in range(config.missing):
        where = blob(labels.shape, 250.0 / pixel_um, rng, _random_pixel(bone, rng)) & (labels != Label.SCREW)
        picture[where] = 1.0
        damaged |= where
    for _ in range(config.spills):
        where = blob(labels.shape, 130.0 / pixel_um, rng, None)
        soft = ndimage.gaussian_filter(where.astype(np.float32), 20.0 / pixel_um)[..., None]
        picture *= 1 - soft * (1 - np.array([0.55, 0.62, 0.85], np.float32))
        damaged |= where
    tissue = is_tissue(labels)
    if config.lost:
        where = one_side(tissue, config.lost, pixel_um, rng)
        picture[where] = 1.0
        damaged |= where & tissue
    if config.misstained:
        where = one_side(tissue, config.misstained, pixel_um, rng) & tissue
        # The stain did not distinguish tissues: the region has nearly one colour.
        picture[where] = 0.25 * picture[where] + 0.75 * np.median(picture[where], axis=0) if where.any() else 0
        damaged |= where
    return picture.astype(np.float32), damaged


def one_side(tissue: Mask, part: float, pixel_um: float, rng: np.random.Generator) -> Mask:
    """Return the side of a wavy line that contains a fraction `part` of the tissue."""
    angle, phase = rng.uniform(0, 2 * np.pi, 2)
    where = grid_um(tissue.shape, pixel_um)
    across = where @ np.array([np.cos(angle), np.sin(angle)])
    along = where @ np.array([-np.sin(angle), np.cos(angle)])
    across += 60.0 * np.sin(along / 170.0 + phase) + 35.0 * np.sin(along / 61.0)
    if not tissue.any():
        return np.zeros_like(tissue)
    return np.asarray(across > np.quantile(across[tissue], 1 - part))


def saw_marks(shape: tuple[int, int], pixel_um: float, size: float, rng: np.random.Generator) -> Float32:
    """Return striations in one direction: factors around 1 whose standard deviation is `size`."""
    angle = rng.uniform(0, np.pi)
    where = grid_um(shape, pixel_um) @ np.array([np.cos(angle), np.sin(angle)])
    across = (where - where.min()) / pixel_um
    profile = ndimage.gaussian_filter1d(rng.standard_normal(int(across.max()) + 2), 30.0 / pixel_um)
    profile *= size / max(profile.std(), 1e-12)
    return np.asarray(1 + np.interp(across, np.arange(len(profile)), profile), dtype=np.float32)


def crack(shape: tuple[int, int], pixel_um: float, rng: np.random.Generator) -> Mask:
    """Return a thin irregular line, about 12 µm wide and 0.4 to 1.5 mm long."""
    steps = int(rng.uniform(400, 1500) / pixel_um * 2)
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.12, steps))
    path = rng.uniform(0, 1, 2) * shape + np.cumsum(0.5 * np.stack([np.sin(heading), np.cos(heading)], -1), axis=0)
    line = np.zeros(shape, bool)
    inside = ((path >= 0) & (path <= np.array(shape) - 1)).all(axis=1)
    line[tuple(to_integers(path[inside], np.int64, "positions").T)] = True
    width = max(0, round(6.0 / pixel_um))
    return ndimage.binary_dilation(line, iterations=width) if width else line


def blob(shape: tuple[int, int], radius_px: float, rng: np.random.Generator, centre: tuple[int, int] | None) -> Mask:
    """Return an irregular round spot at `centre`, or at a random position if it is None."""
    middle = rng.uniform(0, 1, 2) * shape if centre is None else np.array(centre, float)
    rows, columns = np.arange(shape[0])[:, None] - middle[0], np.arange(shape[1])[None, :] - middle[1]
    angle, radius = np.arctan2(rows, columns), np.hypot(rows, columns)
    edge = np.ones(shape)
    for wave in (2, 3, 5):
        edge += rng.uniform(0.05, 0.2) * np.sin(wave * angle + rng.uniform(0, 2 * np.pi))
    return np.asarray(radius < radius_px * edge)


def _random_pixel(mask: Mask, rng: np.random.Generator) -> tuple[int, int] | None:
    """Return a random pixel of a mask, or None if it is empty."""
    pixels = np.flatnonzero(mask)
    if not len(pixels):
        return None
    row, column = np.unravel_index(rng.choice(pixels), mask.shape)
    return int(row), int(column)


def develop(transmission: Float32, config: LaboratoryConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the camera image with uneven light, colour cast and grain. Empty glass is nearly white."""
    rows, columns = (np.linspace(-1, 1, side) for side in transmission.shape[:2])
    light = np.ones(transmission.shape[:2])
    if config.illumination:
        a, b, c = rng.uniform(-1, 1, 3)
        light += config.illumination * (a * rows[:, None] + b * columns + c * (rows[:, None] ** 2 + columns**2) / 2) / 2
    cast = 1 + config.white_balance * rng.uniform(-1, 1, 3) if config.white_balance else np.ones(3)
    picture = 243.0 * transmission * light[..., None].astype(np.float32) * cast.astype(np.float32)
    if config.grain:
        picture += rng.normal(0, 255 * config.grain, picture.shape)
    return to_integers(picture, np.uint8, "colours of the slide", clip=True)
