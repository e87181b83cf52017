"""Extraction of a pair from a volume and a slide whose section is known (paper sections 2.3, 2.5, 2.8)."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.dataset.pair import Pair
from tomostain.dataset.section_position import section_in_volume, state_volume
from tomostain.errors import InputError
from tomostain.geometry.section import Section
from tomostain.imaging.colour import ColourReference, colour_reference_from_rois, normalise_histology
from tomostain.imaging.common_grid import common_grid, cut_slide, cut_volume
from tomostain.imaging.correspondence_mask import correspondence_mask
from tomostain.imaging.intensity import IntensityReference, normalise_ct, reference_from_rois
from tomostain.imaging.intensity_estimation import volume_reference
from tomostain.imaging.slide_reference import shrink_slide, slide_reference
from tomostain.io import Slide, Volume

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class CutConfig:
    """How a pair is extracted.

    Attributes
    ----------
    pixel_um : float
        Pixel size of the pair, µm.
    margin_um : float
        Margin of the correspondence mask around bone and screw, µm.
    ct_reference : IntensityReference, optional
        Of the whole volume. Estimated from it by default.
    histology_reference : ColourReference, optional
        Of the whole slide. Estimated from it by default.
    ct_boxes, histology_boxes : (background, bone), optional
        Regions of interest on the grid of the pair. They take precedence over the references.
    ct_slices : int
        Slices of µCT that the pair holds, one pixel apart along the normal of the section: odd.
    """

    pixel_um: float
    margin_um: float = 60.0
    ct_reference: IntensityReference | None = None
    histology_reference: ColourReference | None = None
    ct_boxes: tuple[Box, Box] | None = None
    histology_boxes: tuple[Box, Box] | None = None
    ct_slices: int = 1


def cut_pair(
    volume: Volume, slide: Slide, section: Section, name: str, config: CutConfig, source: str
) -> tuple[Pair, dict[str, Any]]:
    """Extract a pair from a volume and a slide, on one grid, cropped to their common field of view.

    Parameters
    ----------
    volume : Volume
    slide : Slide
    section : Section
        Position of the slide in the volume, or in another copy of it (`section_in_volume`).
    name : str
        Id of the pair.
    config : CutConfig
    source : str
        Named in error messages.

    Returns
    -------
    pair : Pair
        Its specimen, implant and stain are unknown.
    details : dict
        The references used, for `pair.yaml`.

    Raises
    ------
    InputError
        If volume and slide do not overlap, or bone, background or tissue is not found.
    """
    pixel_um = config.pixel_um
    section = section_in_volume(section, volume)
    grid, shape = common_grid(section, volume.shape, volume.voxel_um, slide.shape, slide.pixel_um, pixel_um, source)
    raw = cut_volume(volume, volume.voxel_um, grid, shape, pixel_um, source=str(volume.path))
    histology, covered = slide_on_grid(slide, grid, shape, pixel_um)
    if np.isnan(raw).all():
        raise InputError(f"{source}: the section lies outside the volume; check the section and the sizes")
    if config.ct_boxes is not None:
        ct_reference = reference_from_rois(raw, *config.ct_boxes)
    else:
        ct_reference = config.ct_reference or volume_reference(volume, source=str(volume.path))
    if config.histology_boxes is not None:
        colours = colour_reference_from_rois(histology, *config.histology_boxes)
    else:
        colours = config.histology_reference or slide_reference(slide)
    ct = normalise_ct(np.where(np.isnan(raw), ct_reference.background, raw), ct_reference)
    histology = normalise_histology(histology, colours)
    histology[~covered] = 255
    valid = covered & ~np.isnan(raw)
    margin_px = round(config.margin_um / pixel_um)
    mask = correspondence_mask(ct, histology, valid=valid, margin_px=margin_px, source=f"pair '{name}'")
    slices = None
    if config.ct_slices > 1:
        others = neighbours(volume, grid, shape, pixel_um, config.ct_slices // 2, raw)
        slices = np.stack(
            [normalise_ct(np.where(np.isnan(p), ct_reference.background, p), ct_reference) for p in others]
        )
    details = {
        "levels": {"ct": ct_reference.to_dict(), "histology": colours.to_dict()},
        "slide_colours": slide.colours,
    }
    grid = state_volume(grid, volume)
    return Pair(name, ct, histology, mask, pixel_um, section=grid.to_dict(), slices=slices), details


def default_pixel_um(volume: Volume) -> float:
    """Return the pixel size of a pair if none is stated, µm: the shortest side of the voxels of its volume.

    Of a single image only rows and columns count. Across it, files often state a size that means nothing.
    """
    return float(min(volume.voxel_um if volume.shape[0] > 1 else volume.voxel_um[1:]))


def neighbours(
    volume: Volume,
    section: Section,
    shape: tuple[int, int],
    pixel_um: float,
    planes_per_side: int,
    middle: NDArray[np.float32],
) -> list[NDArray[np.float32]]:
    """Return a section and parallel planes, one pixel apart along its normal.

    Parameters
    ----------
    volume : Volume
    section, shape, pixel_um
        The grid of the pair.
    planes_per_side : int
        Planes on each side.
    middle : ndarray of float32, shape (Y, X)
        The section itself: the result of `cut_volume`.

    Returns
    -------
    list of ndarray of float32, shape (Y, X)
        2 · planes_per_side + 1 planes. Pixels outside the volume repeat the previous plane, as staining repeats the
        last slice. NaN where the section itself is outside.
    """
    planes = [middle]
    for side in (-1, 1):
        last = middle
        for step in range(1, planes_per_side + 1):
            origin_um = section.origin_um + side * step * pixel_um * section.normal
            parallel = replace(section, origin_um=origin_um)
            cut = cut_volume(volume, volume.voxel_um, parallel, shape, pixel_um, source=str(volume.path))
            last = np.where(np.isnan(cut) | np.isnan(middle), last, cut)
            planes = [last, *planes] if side < 0 else [*planes, last]
    return planes


def slide_on_grid(
    slide: Slide, grid: Section, shape: tuple[int, int], pixel_um: float
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Read a suitable pyramid level and resample it on the grid; see `cut_slide`."""
    # Blocks of half a pixel are averaged first, so the resampling averages only a few samples.
    image, level_um, first_um = shrink_slide(slide, pixel_um / 2)
    affine = grid.slide_to_section.copy()
    affine[:, 2] += affine[:, :2] @ np.full(2, first_um)
    return cut_slide(image, level_um, replace(grid, slide_to_section=affine), shape, pixel_um)
