"""A slide at the resolution of the µCT: the pyramid level that suits, averaged over areas."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tomostain.imaging.colour import HistologyLevels, estimate_histology_levels, histology_levels_from_rois
from tomostain.imaging.intensity import box_slices
from tomostain.imaging.regions import block_mean
from tomostain.io import Slide

# Longest side of the copy of a slide on which its levels are found.
_LEVELS_SIDE_PX = 2048


def slide_levels(
    slide: Slide, background: Sequence[int] | None = None, bone: Sequence[int] | None = None
) -> HistologyLevels:
    """Find white and the bounds of the contrast stretch on the whole slide, or take them from boxes chosen by hand.

    On the whole slide, since a crop may hold no empty glass.

    Parameters
    ----------
    slide : Slide
    background, bone : sequence of four int, optional
        Regions of empty glass and of bone: (row0, row1, column0, column1), pixels of the finest level. Both or none.

    Raises
    ------
    InputError
        If there is no glass or no tissue, a box is empty or leaves the slide, or the glass is not the brighter one.
    """
    rgb, pixel_um, _ = shrink_slide(slide, max(slide.pixel_um, max(slide.shape) * slide.pixel_um / _LEVELS_SIDE_PX))
    if background is None or bone is None:
        return estimate_histology_levels(rgb, source=str(slide.path))
    boxes = []
    for box in (background, bone):
        box_slices(box, slide.shape, f"{slide.path}: histology ROI")
        small = [int(x * slide.pixel_um / pixel_um) for x in box]
        # At least one of the coarse pixels.
        boxes.append([min(small[0], rgb.shape[0] - 1), max(small[1], small[0] + 1), min(small[2], rgb.shape[1] - 1)])
        boxes[-1].append(max(small[3], small[2] + 1))
    return histology_levels_from_rois(rgb, *boxes)


def shrink_slide(slide: Slide, wanted_um: float) -> tuple[NDArray[np.uint8], float, float]:
    """Read a slide at about `wanted_um`, never much coarser.

    Parameters
    ----------
    slide : Slide
    wanted_um : float
        Pixel size to come near to, µm.

    Returns
    -------
    rgb : ndarray of uint8, shape (Y, X, 3)
    pixel_um : float
        Its pixel size: that of a pyramid level, or of blocks of it, averaged.
    first_um : float
        Where the first pixel's centre lies on the slide, µm: the finest level's first pixel is at 0.
    """
    rgb, level_um = slide.read(wanted_um)
    step = max(1, round(wanted_um / level_um - 0.25))
    if step > 1:
        rgb = np.rint(block_mean(rgb, step)).astype(np.uint8)
    pixel_um = level_um * step
    # A coarse pixel's centre is the middle of the fine pixels it covers.
    return rgb, pixel_um, (pixel_um - slide.pixel_um) / 2
