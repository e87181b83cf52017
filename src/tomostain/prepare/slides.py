"""A slide at the resolution of the µCT: the pyramid level that suits, averaged over areas."""

import numpy as np
from numpy.typing import NDArray

from tomostain.io import Slide
from tomostain.prepare.regions import block_mean


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
