"""Gaussian filters: of a volume on all cores, and of an image of which some pixels are needed."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.io.parallel import in_parallel

TRUNCATE = 4.0
"""The kernel ends at this multiple of σ."""
_BLOCK_ROWS = 64
Float = TypeVar("Float", bound=np.floating[Any])


def gaussian_filter_3d(volume: NDArray[Any], sigma: float) -> NDArray[np.float32]:
    """Filter a volume; beyond its borders, the values at the border are repeated.

    Parameters
    ----------
    volume : ndarray, shape (Z, Y, X)
    sigma : float
        Standard deviation, voxels.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        The same bits as ``scipy.ndimage.gaussian_filter`` with ``mode="nearest"``.

    Examples
    --------
    >>> gaussian_filter_3d(np.full((2, 3, 4), 7, np.uint16), 1.0).tolist()[0][0]
    [7.0, 7.0, 7.0, 7.0]
    """
    result = np.empty(volume.shape, np.float32)

    def along_z(first: int) -> None:
        rows = slice(first, first + _BLOCK_ROWS)
        block = volume[:, rows].astype(np.float32)
        ndimage.gaussian_filter1d(block, sigma, 0, output=result[:, rows], mode="nearest", truncate=TRUNCATE)

    def in_plane(image: NDArray[np.float32]) -> None:
        ndimage.gaussian_filter(image, sigma, output=image, mode="nearest", truncate=TRUNCATE)

    in_parallel(along_z, range(0, volume.shape[1], _BLOCK_ROWS))
    in_parallel(in_plane, result)
    return result


def gaussian_samples(image: NDArray[Float], sigma: float, step: int, truncate: float = TRUNCATE) -> NDArray[Float]:
    """Return every `step`-th row and column of a filtered image; beyond its borders, the image is mirrored.

    Parameters
    ----------
    image : ndarray, shape (Y, X)
    sigma : float
        Standard deviation, pixels.
    step : int
    truncate : float
        The kernel ends at this multiple of `sigma`.

    Returns
    -------
    ndarray, shape (ceil(Y / step), ceil(X / step))
        Of the same type, the same bits as ``scipy.ndimage.gaussian_filter(image, sigma)[::step, ::step]``.

    Examples
    --------
    >>> gaussian_samples(np.full((4, 5), 7.0), 1.0, 2).round(3).tolist()
    [[7.0, 7.0, 7.0], [7.0, 7.0, 7.0]]
    """
    # The filter along the rows is applied to those that are returned.
    rows = ndimage.gaussian_filter1d(image, sigma, 0, truncate=truncate)[::step]
    filtered: NDArray[Float] = ndimage.gaussian_filter1d(rows, sigma, 1, truncate=truncate)[:, ::step]
    return filtered
