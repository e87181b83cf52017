"""A small OME-Zarr copy of a µCT volume of any format, which the browser shows next to the stain."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomostain.integers import refuse_not_finite, to_integers
from tomostain.io import Volume, create_ome_zarr
from tomostain.io.metadata.placement import Placement
from tomostain.progress import Progress, silent

MAX_VOXELS = 2**28
"""Maximum number of voxels of the copy. A larger volume is averaged over n × n × n voxels."""
_Z_CHUNK = 32
_WINDOW_PIXELS = 2**25
"""Maximum number of grey values of which percentiles are computed; of larger slices, every n-th row and column."""


def grey_copy(
    volume: Volume,
    path: Path,
    *,
    max_voxels: int = MAX_VOXELS,
    placement: Placement | None = None,
    window: tuple[float, float] | None = None,
    progress: Progress = silent,
) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """Write a volume as an 8-bit OME-Zarr of one channel with a pyramid, binned until it is small enough.

    Parameters
    ----------
    volume : Volume
        The µCT volume.
    path : Path
        A folder that does not exist yet.
    max_voxels : int
        Maximum number of voxels of the copy.
    placement : Placement, optional
        Where the first voxel of the volume is shown, in the coordinates of the stained volume next to it.
    window : tuple of float, optional
        The grey values that become 0 and 255. Default: those of `grey_window`.
    progress : Progress
        Listener.

    Returns
    -------
    tuple of int, tuple of float
        Shape (Z, Y, X), voxels, and voxel size (z, y, x), µm, of the copy.
    """
    bins = 1
    while np.prod([max(1, n // bins) for n in volume.shape], dtype=float) > max_voxels:
        bins += 1
    z, y, x = (max(1, n // bins) for n in volume.shape)
    # Along an axis thinner than a bin, the only voxel is as thick as the volume.
    per_axis = [min(bins, n) for n in volume.shape]
    z_um, y_um, x_um = (step * n for step, n in zip(volume.voxel_um, per_axis, strict=True))
    low, high = window or grey_window(volume)
    half_bins = [(n - 1) / 2 * step for n, step in zip(per_axis, volume.voxel_um, strict=True)]
    writer = create_ome_zarr(
        path,
        (z, y, x),
        (z_um, y_um, x_um),
        z_chunk=_Z_CHUNK,
        provenance={"grey": volume.path.name},
        placement=(placement or Placement()).moved(half_bins),
    )
    for start, stop in writer.pending():
        grey = np.stack([_slice(volume, index, per_axis) for index in range(start, stop)])
        refuse_not_finite(grey, f"{volume.path}: grey values")
        eight_bit = to_integers(np.clip((grey - low) / (high - low), 0, 1) * 255, np.uint8, str(volume.path))
        writer.write(start, eight_bit)
        progress("reading µCT", stop, z)
    writer.finish()
    return (z, y, x), (z_um, y_um, x_um)


def grey_window(volume: Volume) -> tuple[float, float]:
    """Return the grey values shown black and white: the 0.1 and 99.9 percentiles of five slices of the volume.

    Of slices of more than `_WINDOW_PIXELS` / 5 pixels, every n-th row and column is used.

    Returns
    -------
    tuple of float
        Never equal, so that their difference can be a divisor.
    """
    chosen = sorted({round(share * (volume.shape[0] - 1)) for share in (0.1, 0.3, 0.5, 0.7, 0.9)})
    pixels = len(chosen) * volume.shape[1] * volume.shape[2]
    every = max(1, math.ceil(math.sqrt(pixels / _WINDOW_PIXELS)))
    sample = np.concatenate([volume.read(index, index + 1)[0, ::every, ::every].ravel() for index in chosen])
    low, high = (float(value) for value in np.percentile(sample, [0.1, 99.9]))
    return low, high if high > low else low + 1.0


def _slice(volume: Volume, index: int, per_axis: list[int]) -> NDArray[np.float32]:
    """Return one slice of the copy: the mean over each bin. Only the sum of its slices is in memory as float32."""
    deep, high, wide = per_axis
    mean = np.zeros(volume.shape[1:], np.float32)
    for layer in volume.read(index * deep, (index + 1) * deep):
        mean += layer
    mean /= deep
    rows, columns = mean.shape[0] // high, mean.shape[1] // wide
    binned = mean[: rows * high, : columns * wide].reshape(rows, high, columns, wide)
    return np.asarray(binned.mean(axis=(1, 3)), dtype=np.float32)
