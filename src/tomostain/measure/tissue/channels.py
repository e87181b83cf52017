"""The channels that a classifier sees: amounts of stain, and the normalised grey value of the µCT."""

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.imaging.network_range import CT_BACKGROUND, CT_BONE
from tomostain.measure.tissue.stain_vectors import STAIN_VECTORS, StainVectors, optical_density

Float = NDArray[np.float32]
DARKEST = 8
"""Grey values below are taken as this: the density of black metal has no scale."""
WHITE = (255.0, 255.0, 255.0)
"""The colour of the empty slide in normalised histology and in stained volumes."""


def stain_channels(
    rgb: NDArray[np.uint8], stain: str | StainVectors, white: tuple[float, float, float] = WHITE
) -> Float:
    """Return the amounts of both stains and the residual.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (..., 3)
    stain : str or StainVectors
        A name of `STAIN_VECTORS`, or vectors of another batch.
    white : tuple of float
        The colour of the empty slide.

    Returns
    -------
    ndarray of float32, shape (3, ...)

    Raises
    ------
    InputError
        If the stain is unknown, or the vectors are parallel.
    """
    if isinstance(stain, str) and stain not in STAIN_VECTORS:
        raise InputError(f"stain '{stain}': not known; known: {', '.join(STAIN_VECTORS)}", parameter="stain")
    vectors = STAIN_VECTORS[stain] if isinstance(stain, str) else stain
    grey = np.repeat(np.maximum(np.arange(256, dtype=np.uint8), DARKEST)[:, None], 3, axis=1)
    table = optical_density(grey, np.asarray(white)).astype(np.float32)
    density = np.stack([table[:, i][rgb[..., i]] for i in range(3)])
    separation = vectors.separation.astype(np.float32)
    return np.asarray((separation.T @ density.reshape(3, -1)).reshape(density.shape))


def ct_channel(ct: NDArray[np.uint16]) -> Float:
    """Return the grey value of normalised µCT: 0 is background, 1 is bone; float32 of shape (1, ...).

    Examples
    --------
    >>> ct_channel(np.array([10000, 30000], np.uint16)).tolist()
    [[0.0, 1.0]]
    """
    return ((ct.astype(np.float32) - np.float32(CT_BACKGROUND)) / np.float32(CT_BONE - CT_BACKGROUND))[None]
