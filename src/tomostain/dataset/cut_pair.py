"""A pair out of a volume and a slide whose section is known: cut, normalised, masked (paper sections 2.3, 2.5, 2.8)."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.dataset.pair import Pair
from tomostain.errors import InputError
from tomostain.geometry.section import Section
from tomostain.imaging.colour import HistologyLevels, histology_levels_from_rois, normalise_histology
from tomostain.imaging.common_grid import common_grid, cut_slide, cut_volume
from tomostain.imaging.correspondence_mask import correspondence_mask
from tomostain.imaging.intensity import IntensityReference, normalise_ct, reference_from_rois, volume_reference
from tomostain.imaging.slide_levels import shrink_slide, slide_levels
from tomostain.io import Slide, Volume

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class CutConfig:
    """How a pair is cut.

    Attributes
    ----------
    pixel_um : float
        Pixel size of the pair, µm.
    margin_um : float
        How far the correspondence mask reaches beyond bone and screw.
    ct_levels : IntensityReference, optional
        Of the whole volume; found in it if None.
    histology_levels : HistologyLevels, optional
        Of the whole slide; found on it if None.
    ct_boxes, histology_boxes : (background, bone), optional
        Regions of interest on the pair's grid that go before what is found.
    ct_slices : int
        Slices of µCT, one pixel apart along the section's normal, that the pair holds: odd.
    """

    pixel_um: float
    margin_um: float = 60.0
    ct_levels: IntensityReference | None = None
    histology_levels: HistologyLevels | None = None
    ct_boxes: tuple[Box, Box] | None = None
    histology_boxes: tuple[Box, Box] | None = None
    ct_slices: int = 1


def cut_pair(
    volume: Volume, slide: Slide, section: Section, name: str, config: CutConfig, source: str
) -> tuple[Pair, dict[str, Any]]:
    """Cut a pair out of a volume and a slide, on one grid, cropped to the field of view that both have.

    Parameters
    ----------
    volume : Volume
    slide : Slide
    section : Section
        Where the slide lies.
    name : str
        Id of the pair.
    config : CutConfig
    source : str
        Named in error messages.

    Returns
    -------
    pair : Pair
        Nothing is known of its specimen, implant and stain.
    details : dict
        The grey levels and colours used, for `pair.yaml`.

    Raises
    ------
    InputError
        If the two have nothing in common there, or bone, background or tissue are not found.
    """
    pixel_um = config.pixel_um
    grid, shape = common_grid(section, volume.shape, volume.voxel_um, slide.shape, slide.pixel_um, pixel_um, source)
    raw = cut_volume(volume, volume.voxel_um, grid, shape, pixel_um, source=str(volume.path))
    histology, covered = slide_on_grid(slide, grid, shape, pixel_um)
    if np.isnan(raw).all():
        raise InputError(f"{source}: the section lies outside the volume; check the section and sizes")
    if config.ct_boxes is not None:
        ct_levels = reference_from_rois(raw, *config.ct_boxes)
    else:
        ct_levels = config.ct_levels or volume_reference(volume, source=str(volume.path))
    if config.histology_boxes is not None:
        levels = histology_levels_from_rois(histology, *config.histology_boxes)
    else:
        levels = config.histology_levels or slide_levels(slide)
    ct = normalise_ct(np.where(np.isnan(raw), ct_levels.background, raw), ct_levels)
    histology = normalise_histology(histology, levels)
    histology[~covered] = 255
    valid = covered & ~np.isnan(raw)
    margin_px = round(config.margin_um / pixel_um)
    mask = correspondence_mask(ct, histology, valid=valid, margin_px=margin_px, source=f"pair '{name}'")
    slices = None
    if config.ct_slices > 1:
        others = neighbours(volume, grid, shape, pixel_um, config.ct_slices // 2, raw)
        slices = np.stack([normalise_ct(np.where(np.isnan(p), ct_levels.background, p), ct_levels) for p in others])
    details = {"levels": {"ct": ct_levels.to_dict(), "histology": levels.to_dict()}}
    return Pair(name, ct, histology, mask, pixel_um, section=grid.to_dict(), slices=slices), details


def neighbours(
    volume: Volume, section: Section, shape: tuple[int, int], pixel_um: float, beside: int, middle: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    """Return a section and the planes parallel to it, one pixel apart, along its normal.

    Parameters
    ----------
    volume : Volume
    section, shape, pixel_um
        The pair's grid.
    beside : int
        Planes on either side.
    middle : ndarray of float32, shape (Y, X)
        The section itself, as `cut_volume` cuts it.

    Returns
    -------
    list of ndarray of float32, shape (Y, X)
        2 · beside + 1 planes; what reaches beyond the volume repeats the plane before, as staining repeats the last
        slice. NaN where the section itself is outside.
    """
    planes = [middle]
    for side in (-1, 1):
        last = middle
        for step in range(1, beside + 1):
            origin_um = section.origin_um + side * step * pixel_um * section.normal
            there = replace(section, origin_um=origin_um)
            cut = cut_volume(volume, volume.voxel_um, there, shape, pixel_um, source=str(volume.path))
            last = np.where(np.isnan(cut) | np.isnan(middle), last, cut)
            planes = [last, *planes] if side < 0 else [*planes, last]
    return planes


def slide_on_grid(
    slide: Slide, grid: Section, shape: tuple[int, int], pixel_um: float
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Read the pyramid level that suits and bring it on the grid, once; see `cut_slide`."""
    # Blocks of half a pixel are averaged first: what is left is a mean of a few samples, not of hundreds.
    image, level_um, first_um = shrink_slide(slide, pixel_um / 2)
    affine = grid.slide_to_section.copy()
    affine[:, 2] += affine[:, :2] @ np.full(2, first_um)
    return cut_slide(image, level_um, replace(grid, slide_to_section=affine), shape, pixel_um)
