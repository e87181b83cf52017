"""Multi-scale features of the channels of a volume or of an image, slice by slice, in bounded memory.

The features of a voxel are, for each channel: its value, Gaussian means of several σ (1, 2, 4 … voxels), the gradient
magnitude at some of these scales, and maximum and minimum of the neighbourhood at some of them. Scales above 1 are
computed on a reduced grid: the mean over blocks of σ³ voxels, filtered with σ = 1 on the grid of the blocks, and
interpolated linearly. The blocks are aligned to the first voxel of the volume, so the features do not depend on the
slices that are computed together. Beyond the border of the volume its outermost voxels, or blocks, are repeated.
"""

from collections.abc import Callable, Sequence
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import model_validator
from scipy import ndimage

from tomostain.config import Config
from tomostain.errors import InputError
from tomostain.io.parallel import in_parallel

Float = NDArray[np.float32]
ReadChannels = Callable[[int, int], Float]
"""Function that takes ``start`` and ``stop`` and returns the channels of these slices, (stop - start, C, Y, X)."""
MAX_SCALE = 64
_RADIUS = 3
_KERNEL = np.exp(-0.5 * np.arange(-_RADIUS, _RADIUS + 1) ** 2)
KERNEL: Float = (_KERNEL / _KERNEL.sum()).astype(np.float32)
"""Gaussian of σ = 1, truncated at 3σ, with the sum 1."""


class FeatureSpec(Config):
    """Which features are computed.

    Attributes
    ----------
    dimension : {2, 3}
        Whether neighbours are those in the image or in the volume.
    scales : tuple of int
        σ of the Gaussian means, voxels: powers of 2.
    gradients : tuple of int
        Scales of the gradient magnitude, a part of `scales`.
    extremes : tuple of int
        Scales of maximum and minimum over the 3 x 3 x 3 (in an image 3 x 3) blocks around a voxel, a part of `scales`
        without 1.
    """

    dimension: Literal[2, 3] = 3
    scales: tuple[int, ...] = (1, 2, 4, 8)
    gradients: tuple[int, ...] = (1, 2, 4)
    extremes: tuple[int, ...] = (2, 4)

    @model_validator(mode="after")
    def _valid_scales(self) -> Self:
        if not self.scales or len(set(self.scales)) != len(self.scales):
            raise ValueError("`scales` must be different powers of 2, at least one")
        if any(scale < 1 or scale > MAX_SCALE or scale & (scale - 1) for scale in self.scales):
            raise ValueError(f"`scales` must be powers of 2 from 1 to {MAX_SCALE}")
        if not set(self.gradients) <= set(self.scales) or not set(self.extremes) <= set(self.scales) - {1}:
            raise ValueError("`gradients` and `extremes` must be a part of `scales`, and `extremes` not contain 1")
        return self

    @property
    def halo(self) -> int:
        """Voxels around a voxel that its features depend on, on each side."""
        # Radius of the kernel, one block for gradient or maximum, one for the interpolation, one for the alignment.
        return max((_RADIUS + 1) if scale == 1 else (_RADIUS + 3) * scale for scale in self.scales)

    def names(self, channels: Sequence[str]) -> tuple[str, ...]:
        """Return the name of every feature, in their order.

        Examples
        --------
        >>> FeatureSpec(scales=(1, 2), gradients=(1,), extremes=(2,)).names(["ct"])
        ('ct', 'ct mean 1', 'ct gradient 1', 'ct mean 2', 'ct maximum 2', 'ct minimum 2')
        """
        result = list(channels)
        for scale in self.scales:
            for kind in self._kinds(scale):
                result += [f"{channel} {kind} {scale}" for channel in channels]
        return tuple(result)

    def _kinds(self, scale: int) -> tuple[str, ...]:
        gradient = ("gradient",) if scale in self.gradients else ()
        return ("mean", *gradient, *(("maximum", "minimum") if scale in self.extremes else ()))


class FeatureReader:
    """The features of the slices of a volume, computed when they are asked for.

    Parameters
    ----------
    read : callable
        Takes ``start`` and ``stop`` (half-open, within the volume) and returns the channels, float32 of shape
        (stop - start, C, Y, X). Each slice is read once if the slices of the features are asked for in order.
    shape : tuple of int
        (Z, Y, X), voxels. Of an image, (1, Y, X).
    spec : FeatureSpec

    Notes
    -----
    `prepare` computes what a range of slices has in common, then `features` may be called from several threads.
    """

    def __init__(self, read: ReadChannels, shape: tuple[int, int, int], spec: FeatureSpec) -> None:
        if spec.dimension == 2 and shape[0] != 1:
            raise InputError(f"features of an image: {shape[0]} slices; give one slice")
        self.spec, self.shape = spec, shape
        self._channels = _Slices(read, shape[0])
        self._levels = {scale: _Level(scale, spec, self._channels) for scale in spec.scales}

    def prepare(self, start: int, stop: int) -> None:
        """Compute the filtered grids that the slices `start` to `stop` need, and forget those of earlier slices."""
        for level in self._levels.values():
            level.prepare(start, stop)
        self._channels.forget(start - (_RADIUS + 1))
        self._channels.ensure(start, stop)

    def features(self, z: int) -> Float:
        """Return the features of a prepared slice, float32 of shape (F, Y, X)."""
        parts = [self._channels.get(z)]
        parts += [level.at(z, self.shape[1:]) for level in self._levels.values()]
        return np.concatenate(parts)


def image_features(channels: Float, spec: FeatureSpec) -> Float:
    """Return the features of an image.

    Parameters
    ----------
    channels : ndarray of float32, shape (C, Y, X)
    spec : FeatureSpec
        Of dimension 2.

    Returns
    -------
    ndarray of float32, shape (F, Y, X)
    """
    reader = FeatureReader(lambda start, stop: channels[None], (1, *channels.shape[1:]), spec)
    reader.prepare(0, 1)
    return reader.features(0)


def volume_features(channels: Float, spec: FeatureSpec) -> Float:
    """Return the features of a volume in memory.

    Parameters
    ----------
    channels : ndarray of float32, shape (C, Z, Y, X)
    spec : FeatureSpec
        Of dimension 3.

    Returns
    -------
    ndarray of float32, shape (F, Z, Y, X)
    """
    shape = (channels.shape[1], channels.shape[2], channels.shape[3])
    reader = FeatureReader(lambda start, stop: np.moveaxis(channels[:, start:stop], 1, 0), shape, spec)
    reader.prepare(0, shape[0])
    return np.stack([reader.features(z) for z in range(shape[0])], axis=1)


class _Slices:
    """Slices of the channels, each read once and forgotten when it is no longer needed."""

    def __init__(self, read: ReadChannels, depth: int) -> None:
        self._read, self.depth = read, depth
        self._slices: dict[int, Float] = {}

    def get(self, z: int) -> Float:
        return self._slices[z]

    def ensure(self, start: int, stop: int) -> None:
        missing = [z for z in range(max(start, 0), min(stop, self.depth)) if z not in self._slices]
        if missing:
            first, end = missing[0], missing[-1] + 1
            for z, values in enumerate(self._read(first, end), start=first):
                self._slices.setdefault(z, np.ascontiguousarray(values, np.float32))

    def forget(self, before: int) -> None:
        for z in [z for z in self._slices if z < before]:
            del self._slices[z]


class _Level:
    """The maps of one scale on its grid of blocks: means, gradients, maxima and minima."""

    def __init__(self, scale: int, spec: FeatureSpec, channels: _Slices) -> None:
        self.scale, self.channels = scale, channels
        self.flat = spec.dimension == 2
        self.gradient, self.extremes = scale in spec.gradients, scale in spec.extremes
        self.step = 1 if self.flat else scale
        self.depth = -(-channels.depth // self.step)
        self._blocks: dict[int, Float] = {}
        self._smooth: dict[int, Float] = {}
        self._maps: dict[int, Float] = {}

    def _first(self, z: int) -> int:
        return int(np.floor((z + 0.5) / self.step - 0.5))

    def prepare(self, start: int, stop: int) -> None:
        """Compute the maps between which the slices `start` to `stop` are interpolated."""
        first, end = self._first(start), self._first(stop - 1) + (2 if self.step > 1 else 1)
        first, end = max(first, 0), min(end, self.depth)
        reach = 1 if (self.gradient or self.extremes) and not self.flat else 0
        radius = 0 if self.flat else _RADIUS
        missing = [j for j in range(first, end) if j not in self._maps]
        for cache in (self._maps, self._smooth, self._blocks):
            for j in [j for j in cache if j < first - reach - radius]:
                del cache[j]
        if not missing:
            return
        smooth = self._range(missing[0] - reach, missing[-1] + reach + 1, self._smooth)
        blocks = self._range(smooth[0] - radius, smooth[-1] + radius + 1, self._blocks) if smooth else []
        if self.extremes:
            blocks = sorted({*blocks, *self._range(missing[0] - reach, missing[-1] + reach + 1, self._blocks)})
        for j in blocks:
            self.channels.ensure(j * self.step, (j + 1) * self.step)
        self._blocks.update(zip(blocks, in_parallel(self._block, blocks), strict=True))
        self._smooth.update(zip(smooth, in_parallel(self._filtered, smooth), strict=True))
        self._maps.update(zip(missing, in_parallel(self._map, missing), strict=True))

    def _range(self, first: int, end: int, cache: dict[int, Float]) -> list[int]:
        return [j for j in range(max(first, 0), min(end, self.depth)) if j not in cache]

    def _clamped(self, j: int) -> int:
        return min(max(j, 0), self.depth - 1)

    def _block(self, j: int) -> Float:
        """Return the means over blocks of one layer, (C, rows, columns); the last blocks repeat the border."""
        last = self.channels.depth - 1
        slices = [self.channels.get(min(z, last)) for z in range(j * self.step, (j + 1) * self.step)]
        total = slices[0]
        for each in slices[1:]:
            total = total + each
        if self.scale == 1:
            return total
        rows, columns = (-size % self.scale for size in total.shape[1:])
        padded = np.pad(total, ((0, 0), (0, rows), (0, columns)), mode="edge")
        for axis in (1, 2):
            shape = list(padded.shape)
            shape[axis : axis + 1] = [shape[axis] // self.scale, self.scale]
            padded = padded.reshape(shape).sum(axis=axis + 1)
        return padded * np.float32(1 / (self.scale**2 * self.step))

    def _filtered(self, j: int) -> Float:
        if self.flat:
            along_z = self._blocks[j]
        else:
            along_z = self._blocks[j] * KERNEL[_RADIUS]
            for i in range(1, _RADIUS + 1):
                pair = self._blocks[self._clamped(j - i)] + self._blocks[self._clamped(j + i)]
                pair *= KERNEL[_RADIUS + i]
                along_z += pair
        along_y = ndimage.correlate1d(along_z, KERNEL, axis=1, mode="nearest")
        return np.asarray(ndimage.correlate1d(along_y, KERNEL, axis=2, mode="nearest"))

    def _map(self, j: int) -> Float:
        maps = [self._smooth[j]]
        before, after = self._clamped(j - 1), self._clamped(j + 1)
        if self.gradient:
            squares = _difference(self._smooth[j], 1) ** 2
            squares += _difference(self._smooth[j], 2) ** 2
            if not self.flat:
                squares += (0.5 * (self._smooth[after] - self._smooth[before])) ** 2
            maps.append(np.sqrt(squares))
        if self.extremes:
            for combine, filtered in ((np.maximum, ndimage.maximum_filter), (np.minimum, ndimage.minimum_filter)):
                values = self._blocks[j]
                if not self.flat:
                    values = combine(combine(values, self._blocks[before]), self._blocks[after])
                maps.append(filtered(values, size=(1, 3, 3), mode="nearest"))
        return np.concatenate(maps)

    def at(self, z: int, shape: tuple[int, int]) -> Float:
        """Return the maps of slice `z`, interpolated to voxels, (C x kinds, Y, X)."""
        if self.scale == 1:
            return self._maps[z]
        if self.flat:
            plane = self._maps[z]
        else:
            position = (z + 0.5) / self.step - 0.5
            j = self._first(z)
            weight = np.float32(position - j)
            plane = (1 - weight) * self._maps[self._clamped(j)] + weight * self._maps[self._clamped(j + 1)]
        size = [side * self.scale for side in plane.shape[1:]]
        fine = torch.nn.functional.interpolate(
            torch.from_numpy(plane)[None], size=size, mode="bilinear", align_corners=False
        )
        return np.asarray(fine[0].numpy()[:, : shape[0], : shape[1]])


def _difference(values: Float, axis: int) -> Float:
    """Return central differences along an axis; beyond the border the outermost value is repeated."""
    padded = np.pad(values, [(1, 1) if i == axis else (0, 0) for i in range(values.ndim)], mode="edge")
    n = padded.shape[axis]
    return np.asarray(0.5 * (np.take(padded, range(2, n), axis) - np.take(padded, range(n - 2), axis)))
