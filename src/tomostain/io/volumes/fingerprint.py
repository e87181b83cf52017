"""The fingerprint by which a µCT volume is recognised, whatever its file format."""

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def fingerprint_slices(depth: int) -> list[int]:
    """Return the slices of which a fingerprint is made: the first, middle and last one."""
    return sorted({0, depth // 2, depth - 1})


def fingerprint_of(
    shape: tuple[int, int, int], dtype: str, voxel_um: tuple[float, float, float], slices: Iterable[NDArray[np.generic]]
) -> str:
    """Return the sha256 of shape, type, voxel size and slices, 64 hexadecimal digits.

    Parameters
    ----------
    shape : tuple of int
        (Z, Y, X), voxels.
    dtype : str
        Name of the type.
    voxel_um : tuple of float
        Voxel size (z, y, x), µm.
    slices : iterable of ndarray
        Those of `fingerprint_slices`.
    """
    digest = hashlib.sha256(repr((shape, dtype, voxel_um)).encode())
    for image in slices:
        digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()
