"""Resampling of a volume to another voxel size, slice by slice while it is read.

Along each axis the result is a weighted sum of input voxels: linear or cubic interpolation at the centres of the new
voxels, after a Gaussian filter where the new voxels are larger. As in `skimage.transform.rescale`, σ is half the excess
of the ratio of the voxel sizes over 1, in input voxels. The volume is continued beyond its ends by its border voxels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tomostain.errors import InputError
from tomostain.integers import to_integers
from tomostain.io.metadata.placement import Placement
from tomostain.io.metadata.units import check_voxel_um, format_sides
from tomostain.io.volumes.base import Source
from tomostain.io.volumes.missing import merged
from tomostain.io.volumes.opening import open_volume
from tomostain.io.volumes.volume import Volume, volume_of_source
from tomostain.paths import StrPath

Interpolation = Literal["linear", "cubic"]
Triple = tuple[float, float, float]
# The Gaussian kernel ends at 4 σ, as in scipy and scikit-image.
TRUNCATE = 4.0
# Input slices that are read at once.
READ_SLICES = 8


@dataclass(frozen=True)
class Resampling:
    """The grids before and after resampling. Their lower edges coincide.

    Attributes
    ----------
    original_shape : tuple of int
        (Z, Y, X), voxels.
    original_um : tuple of float
        Voxel size (z, y, x), µm.
    target_um : tuple of float
        New voxel size (z, y, x), µm.
    interpolation : "linear" or "cubic"

    Examples
    --------
    >>> halved = Resampling((10, 100, 100), (5.0, 5.0, 5.0), (10.0, 10.0, 10.0))
    >>> halved.shape, halved.origin_um
    ((5, 50, 50), (2.5, 2.5, 2.5))
    """

    original_shape: tuple[int, int, int]
    original_um: Triple
    target_um: Triple
    interpolation: Interpolation = "linear"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, Y, X) after resampling: the nearest number of voxels along each axis."""
        sizes = zip(self.original_shape, self.original_um, self.target_um, strict=True)
        # The small number: 9.4999999 and 9.5 are the same length.
        z, y, x = (max(1, int(n * old / new + 0.5 + 1e-9)) for n, old, new in sizes)
        return z, y, x

    @property
    def origin_um(self) -> Triple:
        """Centre of the first new voxel (z, y, x), µm from the centre of the first original voxel."""
        z, y, x = ((new - old) / 2 for old, new in zip(self.original_um, self.target_um, strict=True))
        return z, y, x

    @cached_property
    def weights(self) -> tuple[Any, Any, Any]:
        """Sparse matrices (new voxels, original voxels) of the three axes."""
        z, y, x = (
            axis_weights(n_in, n_out, new / old, self.interpolation)
            for n_in, n_out, old, new in zip(
                self.original_shape, self.shape, self.original_um, self.target_um, strict=True
            )
        )
        return z, y, x

    def memory_bytes(self, itemsize: int) -> int:
        """Return the memory of reading, in addition to the result, for grey values of `itemsize` bytes.

        The input slices of one output slice and `READ_SLICES` more, as stored; and three float32 images.
        """
        pixels = self.original_shape[1] * self.original_shape[2]
        slices = int(np.diff(self.weights[0].indptr).max()) + READ_SLICES
        return pixels * (slices * itemsize + 3 * 4)

    def to_dict(self) -> dict[str, Any]:
        """Return the provenance: the original grid, and where the new one begins."""
        return {
            "original_shape": list(self.original_shape),
            "original_voxel_um": list(self.original_um),
            "origin_um": list(self.origin_um),
            "interpolation": self.interpolation,
        }


def axis_weights(n_in: int, n_out: int, ratio: float, interpolation: Interpolation = "linear") -> Any:
    """Return the weights of resampling along one axis.

    Parameters
    ----------
    n_in, n_out : int
        Numbers of voxels.
    ratio : float
        New voxel size relative to the original one.
    interpolation : "linear" or "cubic"
        Cubic: Catmull-Rom (Keys 1981, a = -1/2), exact for polynomials of degree 2.

    Returns
    -------
    scipy.sparse.csr_array of float32, shape (n_out, n_in)
        Each row sums to 1.

    Examples
    --------
    >>> (1000 * axis_weights(4, 2, 2.0).toarray()).round().tolist()
    [[500.0, 447.0, 53.0, 0.0], [0.0, 53.0, 447.0, 500.0]]
    >>> axis_weights(2, 4, 0.5).toarray().tolist()
    [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    """
    centres = (np.arange(n_out) + 0.5) * ratio - 0.5
    first = to_integers(np.floor(centres), np.int64, "positions")
    t = np.asarray(centres - first, np.float64)
    values: dict[int, NDArray[np.float64]] = {0: 1 - t, 1: t}
    if interpolation == "cubic":
        values = {
            -1: ((2 - t) * t - 1) * t / 2,
            0: ((3 * t - 5) * t * t + 2) / 2,
            1: ((4 - 3 * t) * t + 1) * t / 2,
            2: (t - 1) * t * t / 2,
        }
    kernel = gaussian(max(0.0, (ratio - 1) / 2))
    radius = len(kernel) // 2
    rows, columns, entries = [], [], []
    for tap, value in values.items():
        tapped = np.clip(first + tap, 0, n_in - 1)
        for offset, share in enumerate(kernel, start=-radius):
            rows.append(np.arange(n_out))
            columns.append(np.clip(tapped + offset, 0, n_in - 1))
            entries.append(value * share)
    parts = np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))
    matrix = sparse.coo_array(parts, shape=(n_out, n_in)).tocsr()
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix.astype(np.float32)


def gaussian(sigma: float) -> NDArray[np.float64]:
    """Return a Gaussian kernel that ends at 4 σ and sums to 1; one number for σ = 0.

    Examples
    --------
    >>> gaussian(0.0).tolist(), len(gaussian(0.5))
    ([1.0], 5)
    """
    if sigma == 0:
        return np.ones(1)
    radius = int(TRUNCATE * sigma + 0.5)
    values = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return np.asarray(values / values.sum())


class ResampledSlices:
    """The slices of a resampled volume. Each is computed separately and does not depend on the others.

    Parameters
    ----------
    volume : Volume
    resampling : Resampling
    """

    def __init__(self, volume: Volume, resampling: Resampling) -> None:
        self.volume, self.resampling = volume, resampling
        self.shape, self.dtype = resampling.shape, volume.dtype

    def __getitem__(self, span: slice) -> NDArray[Any]:
        """Return the slices ``start:stop``."""
        start, stop, _ = span.indices(self.shape[0])
        along_z, along_y, along_x = self.resampling.weights
        window = _Window(self.volume, int(along_z.indices[along_z.indptr[start] : along_z.indptr[stop]].max()) + 1)
        result = np.empty((stop - start, *self.shape[1:]), self.dtype)
        for z in range(start, stop):
            entries = np.s_[along_z.indptr[z] : along_z.indptr[z + 1]]
            image = window.weighted_sum(along_z.indices[entries], along_z.data[entries])
            image = (along_x @ np.ascontiguousarray((along_y @ image).T)).T
            if self.dtype.kind == "u":
                image = np.clip(np.rint(image), 0, self._largest(window, along_z.indices[entries]))
            result[z - start] = image
        return result

    def _largest(self, window: "_Window", indices: NDArray[np.integer[Any]]) -> int:
        """Return the largest value of a slice that is interpolated between some slices.

        That of the significant bits. Files can state too few, as for values that are shifted to the upper bits; then
        the largest value of the slices.
        """
        if self.volume.bits is None:
            return int(np.iinfo(self.dtype).max)
        return max(2**self.volume.bits - 1, *(window.maximum(index) for index in indices.tolist()))


class _Window:
    """Input slices in memory: those of one output slice, and a few more that are read with them."""

    def __init__(self, volume: Volume, end: int) -> None:
        self.volume, self.end = volume, end
        self.slices: dict[int, NDArray[Any]] = {}
        self.maxima: dict[int, int] = {}

    def weighted_sum(self, indices: NDArray[np.integer[Any]], weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the sum of some slices, float32."""
        first = int(indices.min())
        self.slices = {index: image for index, image in self.slices.items() if index >= first}
        total = np.zeros(self.volume.shape[1:], np.float32)
        for index, weight in zip(indices.tolist(), weights, strict=True):
            if index not in self.slices:
                stop = min(index + READ_SLICES, self.end)
                self.slices |= dict(enumerate(self.volume.read(index, stop), start=index))
            total += weight * self.slices[index]
        return total

    def maximum(self, index: int) -> int:
        """Return the largest value of a slice of integers that is in memory."""
        if index not in self.maxima:
            self.maxima[index] = int(self.slices[index].max())
        return self.maxima[index]


def resample_volume(
    volume: Volume | StrPath,
    target_um: float | Sequence[float],
    *,
    interpolation: Interpolation = "linear",
) -> Volume:
    """Return a volume that is resampled to another voxel size while it is read.

    Parameters
    ----------
    volume : Volume or path
        A µCT volume.
    target_um : float or sequence of float
        New voxel size, or (z, y, x), µm.
    interpolation : "linear" or "cubic"
        Linear: no values beyond those of the neighbours. Cubic: sharper where the new voxels are smaller.

    Returns
    -------
    Volume
        Of the same type and significant bits; values above these bits are kept. The lower edges of both volumes
        coincide, so the centre of the first voxel moves by half the difference of the voxel sizes
        (`Resampling.origin_um`), also in its `placement`; a volume without one begins at 0. Integers are rounded.

    Raises
    ------
    InputError
        If a size or the interpolation is not valid, or the volume is a region of another one: take the region of the
        resampled volume instead.

    Notes
    -----
    Where the new voxels are larger, a Gaussian filter prevents aliasing. Memory, in addition to the slices that are
    asked for: see `Resampling.memory_bytes`. The values do not depend on how many slices are read at a time.

    Examples
    --------
    >>> volume = Volume.from_array(np.arange(8, dtype=np.float32).reshape(8, 1, 1), voxel_um=5)
    >>> resample_volume(volume, (10, 5, 5))[1:3].ravel().tolist()
    [2.5, 4.5]
    """
    volume = volume if isinstance(volume, Volume) else open_volume(volume)
    resampling = resampling_of(volume, target_um, interpolation)
    sizes = format_sides(volume.voxel_um)
    slices = ResampledSlices(volume, resampling)
    source = Source(
        slices.shape,
        slices.dtype,
        (None, None, None),
        lambda start, stop: slices[start:stop],
        placement=(volume.placement or Placement()).moved(resampling.origin_um),
        step=resampling.target_um,
        bits=volume.bits,
    )
    resampled = volume_of_source(volume.path, source, resampling.target_um)
    # A slice is interpolated between its neighbours.
    ratio = volume.voxel_um[0] / resampling.target_um[0]
    spans = [(math.floor((a - 1) * ratio), math.ceil((b + 1) * ratio)) for a, b in volume.missing]
    missing = merged((max(0, a), min(b, resampled.shape[0])) for a, b in spans)
    return replace(resampled, voxel_from=f"resampling of {sizes} µm", missing=missing)


def resampling_of(
    volume: Volume, target_um: float | Sequence[float], interpolation: Interpolation = "linear"
) -> Resampling:
    """Return the grids of `resample_volume`.

    Raises
    ------
    InputError
        If a size or the interpolation is not valid, or the volume is a region of another one.
    """
    if any(volume.origin):
        raise InputError(
            f"{volume.path}: is a region that begins at voxel {volume.origin}; resample the whole volume, and take the "
            "region of the result, in its voxels: `resample_volume(whole, target_um).region(first, end)`"
        )
    if interpolation not in get_args(Interpolation):
        raise InputError(
            f"interpolation '{interpolation}': expected {' or '.join(get_args(Interpolation))}",
            parameter="interpolation",
        )
    return Resampling(volume.shape, volume.voxel_um, check_voxel_um(target_um, "target_um"), interpolation)
