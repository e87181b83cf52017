"""Where a histology image shows the implant. Metrics leave it out: black metal is easy to stain."""

import numpy as np
from scipy import ndimage

from tomostain.evaluate.metrics.base import RGB, Mask
from tomostain.imaging.colour import background_region, tissue_classes, white_balance

# Blur darkens what touches the implant.
_RIM_PX = 2


def implant_region(histology: RGB) -> Mask:
    """Return where the histology shows black metal, with a rim of 2 px; shape (Y, X)."""
    background = background_region(histology)
    white = np.maximum(histology[background].mean(axis=0) if background.any() else np.full(3, 255.0), 1.0)
    _, metal = tissue_classes(white_balance(histology, white), float(white.mean()))
    # Lacunae and specks of dirt are black, too, but small.
    body = ndimage.binary_opening(metal, iterations=_RIM_PX + 1)
    return np.asarray(
        ndimage.binary_dilation(body, iterations=2 * _RIM_PX + 1) & ndimage.binary_dilation(metal, iterations=_RIM_PX)
    )
