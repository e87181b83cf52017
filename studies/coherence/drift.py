"""Scans whose grey values and sharpness drift from slice to slice, like real scans and unlike those of the phantoms.

In a parallel beam each slice comes from one row of the detector. Gain and offset of the rows differ slightly, even
after the flat-field correction, and beam and focus drift. The size differs between instruments. The values here are
chosen, not measured.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.imaging.intensity_estimation import volume_reference
from tomostain.io import open_volume, write_stack

# Maximum σ of the additional in-plane blur, voxels.
MAX_BLUR_PX = 0.6


def walk(length: int, limit: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a random walk in steps of σ = limit / 2 that is reflected at ± limit.

    Examples
    --------
    >>> bool(np.abs(walk(1000, 0.02, np.random.default_rng(0))).max() <= 0.02)
    True
    """
    free = np.cumsum(rng.normal(0, limit / 2, length))
    # Reflecting limits are equivalent to a triangle wave of the free walk.
    return np.abs((free - limit) % (4 * limit) - 2 * limit) - limit


def drifted(
    volume: NDArray[np.uint16], background: float, bone: float, limit: float, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Return a scan that drifts.

    Parameters
    ----------
    volume : ndarray of uint16, shape (Z, Y, X)
    background, bone : float
        Grey values.
    limit : float
        Maximum deviation of the gain (a factor on grey values above the background) and of the offset (in differences
        of bone and background). A third walk gives the blur of each slice, 0 to 0.6 voxels.
    rng : numpy.random.Generator
    """
    depth = len(volume)
    gain, offset = walk(depth, limit, rng), walk(depth, limit, rng) * (bone - background)
    sigma = MAX_BLUR_PX * (1 + walk(depth, 1.0, rng)) / 2
    result = np.empty_like(volume)
    for z, plane in enumerate(volume.astype(np.float64)):
        blurred = ndimage.gaussian_filter(plane, sigma[z], mode="nearest")
        changed = background + (blurred - background) * (1 + gain[z]) + offset[z]
        result[z] = np.clip(np.rint(changed), 0, 65535)
    return result


def drifted_scan(original: Path, out: Path, limit: float, seed: int) -> Path:
    """Write a scan that drifts, unless it exists."""
    if not out.is_dir():
        volume = open_volume(original)
        levels = volume_reference(volume)
        rng = np.random.default_rng([seed, 11])
        values = drifted(volume.read(0, volume.shape[0]), levels.background, levels.bone, limit, rng)
        write_stack(out, values, voxel_um=volume.voxel_um)
    return out
