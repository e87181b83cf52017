"""Where µCT and histology both show background, so that they agree although no tissue corresponds."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.imaging.colour import background_region
from tomostain.imaging.network_range import CT_BACKGROUND, CT_BONE

# Side of the window over which the µCT is averaged, px, and the maximum of the average as a fraction of the step from
# background to bone. Noise is averaged out; soft tissue and marrow are brighter.
_WINDOW_PX = 9
_MAX_FRACTION = 0.02


def common_background(ct: NDArray[Any], histology: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where both images of a pair show background: air or resin in the µCT, empty glass in the histology.

    The correspondence mask (paper section 2.8) ends at the hull of bone and implant. Outside it, losses see nothing,
    and a network may draw anything into the air. These pixels can supervise it.

    Parameters
    ----------
    ct : ndarray, shape (Y, X)
        Normalised µCT: background 10000, bone 30000.
    histology : ndarray of uint8, shape (Y, X, 3)
        On the same grid.

    Returns
    -------
    ndarray of bool, shape (Y, X)
        All False if the histology has no bright background.

    Examples
    --------
    >>> ct = np.full((40, 40), 10000, np.uint16)
    >>> ct[:, 20:] = 30000
    >>> histology = np.full((40, 40, 3), 250, np.uint8)
    >>> histology[:, 20:] = 120
    >>> common_background(ct, histology).any(axis=0).nonzero()[0].max()
    np.int64(15)
    """
    mean = ndimage.uniform_filter(ct.astype(np.float32), _WINDOW_PX)
    limit = CT_BACKGROUND + _MAX_FRACTION * (CT_BONE - CT_BACKGROUND)
    return (mean < limit) & background_region(histology)
