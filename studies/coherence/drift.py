"""Scans whose grey level and sharpness drift from slice to slice, as real scanners do and the phantoms' do not.

In a parallel beam every slice comes from its own row of the detector: gain and offset of the rows are not quite alike,
after the flat-field correction either, and beam and focus wander. How much they do differs from instrument to
instrument; the walk here is a choice, not a measurement.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.imaging.intensity import volume_reference
from tomostain.io import open_volume, write_stack

# Of the additional blur in the slice, voxels, at the end of the walk.
MOST_BLUR_PX = 0.6


def walk(length: int, most: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a random walk in steps of σ = most / 2 that is reflected at ± most.

    Examples
    --------
    >>> bool(np.abs(walk(1000, 0.02, np.random.default_rng(0))).max() <= 0.02)
    True
    """
    free = np.cumsum(rng.normal(0, most / 2, length))
    # Reflecting limits are equivalent to a triangle wave of the free walk.
    return np.abs((free - most) % (4 * most) - 2 * most) - most


def drifted(
    volume: NDArray[np.uint16], background: float, bone: float, most: float, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Return a scan that drifts.

    Parameters
    ----------
    volume : ndarray of uint16, shape (Z, Y, X)
    background, bone : float
        Its grey levels.
    most : float
        How far gain (a factor on grey values above the background) and offset (in steps from background to bone) may
        be off; three walks, the third for the blur of each slice, 0 to 0.6 voxels.
    rng : numpy.random.Generator
    """
    depth = len(volume)
    gain, offset = walk(depth, most, rng), walk(depth, most, rng) * (bone - background)
    sigma = MOST_BLUR_PX * (1 + walk(depth, 1.0, rng)) / 2
    result = np.empty_like(volume)
    for z, plane in enumerate(volume.astype(np.float64)):
        blurred = ndimage.gaussian_filter(plane, sigma[z], mode="nearest")
        changed = background + (blurred - background) * (1 + gain[z]) + offset[z]
        result[z] = np.clip(np.rint(changed), 0, 65535)
    return result


def drifted_scan(steady: Path, out: Path, most: float, seed: int) -> Path:
    """Write a scan that drifts, unless it is there."""
    if not out.is_dir():
        volume = open_volume(steady)
        levels = volume_reference(volume)
        rng = np.random.default_rng([seed, 11])
        values = drifted(volume.read(0, volume.shape[0]), levels.background, levels.bone, most, rng)
        write_stack(out, values, voxel_um=volume.voxel_um)
    return out
