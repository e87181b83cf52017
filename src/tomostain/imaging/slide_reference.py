"""A slide at the resolution of the µCT: read from a suitable pyramid level and averaged over areas."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tomostain.imaging.colour import ColourReference, colour_reference_from_rois, estimate_colour_reference
from tomostain.imaging.intensity import box_slices
from tomostain.imaging.regions import block_mean
from tomostain.integers import to_integers
from tomostain.io import Slide

# Longest side of the copy of a slide from which its colours are estimated.
_LEVELS_SIDE_PX = 2048


def slide_reference(
    slide: Slide, background: Sequence[int] | None = None, bone: Sequence[int] | None = None
) -> ColourReference:
    """Compute white and the bounds of the contrast stretch from the whole slide, or from boxes that the user chose.

    The whole slide is used because a crop may not contain empty glass.

    Parameters
    ----------
    slide : Slide
    background, bone : sequence of four int, optional
        Regions of empty glass and of bone: (row0, row1, column0, column1), pixels of the finest level. State both or
        neither.

    Raises
    ------
    InputError
        If no glass or no tissue is found, a box is empty or leaves the slide, or the glass is not brighter than bone.
    """
    rgb, pixel_um, _ = shrink_slide(slide, max(slide.pixel_um, max(slide.shape) * slide.pixel_um / _LEVELS_SIDE_PX))
    if background is None or bone is None:
        return estimate_colour_reference(rgb, source=str(slide.path))
    boxes = []
    for box in (background, bone):
        box_slices(box, slide.shape, f"{slide.path}: histology ROI")
        small = [int(x * slide.pixel_um / pixel_um) for x in box]
        # Each box has at least one coarse pixel.
        boxes.append([min(small[0], rgb.shape[0] - 1), max(small[1], small[0] + 1), min(small[2], rgb.shape[1] - 1)])
        boxes[-1].append(max(small[3], small[2] + 1))
    return colour_reference_from_rois(rgb, *boxes)


def shrink_slide(slide: Slide, target_um: float) -> tuple[NDArray[np.uint8], float, float]:
    """Read a slide at about `target_um`, never much coarser.

    Parameters
    ----------
    slide : Slide
    target_um : float
        Approximate pixel size, µm.

    Returns
    -------
    rgb : ndarray of uint8, shape (Y, X, 3)
    pixel_um : float
        Pixel size of the result, µm.
    first_um : float
        Position of the centre of the first pixel on the slide, µm. The first pixel of the finest level is at 0.
    """
    rgb, level_um = slide.read(target_um)
    step = max(1, round(target_um / level_um - 0.25))
    if step > 1:
        rgb = to_integers(block_mean(rgb, step), np.uint8, "colours of the slide")
    pixel_um = level_um * step
    # The centre of a coarse pixel is the centre of the fine pixels that it covers.
    return rgb, pixel_um, (pixel_um - slide.pixel_um) / 2
