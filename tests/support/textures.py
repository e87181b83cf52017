"""Slices of structures of a typical size, and training pairs that hold them."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.dataset.pair import Pair


def tissue(
    seed: int, size: float = 4.0, noise: float = 600.0, blur: float = 0.0, shape: tuple[int, int] = (160, 192)
) -> NDArray[np.uint16]:
    """Return a slice of bone in marrow, of structures of a typical size in px, with noise."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal(shape), size)
    ct = ndimage.gaussian_filter(np.where(field > 0.3 * field.std(), 30000.0, 13000.0), 0.7)
    ct = ndimage.gaussian_filter(ct + ndimage.gaussian_filter(rng.normal(0, 3 * noise, shape), 0.8), blur)
    rounded: NDArray[np.uint16] = ct.clip(0, 65535).astype(np.uint16)
    return rounded


def pair(ct: NDArray[np.uint16], name: str = "p") -> Pair:
    """Return a training pair with this µCT."""
    return Pair(name, ct.astype(np.uint16), np.zeros((*ct.shape, 3), np.uint8), np.ones(ct.shape, bool), 20.0)
