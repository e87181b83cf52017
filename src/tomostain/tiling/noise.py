"""Noise as an input of a generator: a fixed function of the position of a voxel and of a seed.

Where the µCT does not determine the texture, a generator needs random numbers to draw one. This noise has no state: its
value at a voxel depends only on the coordinates of the voxel in the volume, the channel and the seed. So it is the same
in every tile, chunk, process and device, it continues from slice to slice, and it can be computed again.

Random integers on a lattice (a hash of their coordinates: the finaliser of SplitMix64, Steele et al. 2014, DOI
10.1145/2660193.2660195) are weighted by a Gaussian around the voxel. Integers and weights are so small that all sums
are exact in float64. They do not depend on the order of summation, and NumPy and PyTorch give the same bits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tomostain.config import Config

if TYPE_CHECKING:
    import torch
    from torch import Tensor

A = TypeVar("A", NDArray[Any], "Tensor")
Triple = tuple[int, int, int]

MAX_SEED = 2**32 - 1
# Sums of 13-bit integers, weighted by 10 bits along three axes, stay below 2**53.
_LATTICE_BITS, _MAX_WEIGHT = 13, 1023
_LATTICE_STD = math.sqrt((4**_LATTICE_BITS - 1) / 3)
# Distance at which a weight is rounded to 0, in units of σ.
_RADIUS = math.sqrt(2 * math.log(2 * _MAX_WEIGHT))
# Voxels (z, y, x) that are computed at once, so that their lattice stays in the cache of a processor.
_BLOCK = (16, 256, 256)


class NoiseSpec(Config):
    """The noise that a generator gets in addition to the µCT: a key of recipes and of ``model.yaml``.

    Attributes
    ----------
    channels : int
        Number of independent channels; 0: no noise.
    correlation_px : float
        Distance at which the correlation falls to 1 / e, voxels.
    """

    channels: int = Field(default=0, ge=0, le=16)
    correlation_px: float = Field(default=4.0, ge=2, le=64)


@dataclass(frozen=True)
class SlicePosition:
    """Where a slice lies in its volume, and the seed of its noise.

    Attributes
    ----------
    origin : tuple of int
        (z, y, x) of the first pixel, voxels.
    axis : int
        Axis of the volume that is normal to the slice: 0 for z. Rows and columns are the other two, in order.
    seed : int
        From 0 to 2**32 - 1.

    Examples
    --------
    >>> SlicePosition(axis=1).moved(5)
    SlicePosition(origin=(0, 5, 0), axis=1, seed=0)
    """

    origin: Triple = (0, 0, 0)
    axis: int = 0
    seed: int = 0

    def moved(self, slices: int) -> "SlicePosition":
        """Return the position so many slices further along the axis."""
        z, y, x = (first + slices * (n == self.axis) for n, first in enumerate(self.origin))
        return replace(self, origin=(z, y, x))


FIRST_SLICE = SlicePosition()
"""The position of an image that is no part of a volume."""


def slice_noise(
    spec: NoiseSpec, position: SlicePosition, rows: int, columns: int, device: "torch.device | None" = None
) -> NDArray[np.float32]:
    """Return the noise of a slice, shape (channels, rows, columns); a GPU computes it if `device` is one.

    See `position_noise`. On a CPU, NumPy takes half the time of PyTorch.
    """
    shape = [rows, columns]
    shape.insert(position.axis, 1)
    origin, seed, about = position.origin, position.seed, spec.model_dump()
    if device is None or device.type == "cpu":
        noise = position_noise(origin, shape, seed=seed, **about)
    else:
        noise = position_noise(origin, shape, seed=seed, device=device, **about).cpu().numpy()
    return noise.reshape(spec.channels, rows, columns)


def with_noise(
    ct: NDArray[Any], spec: NoiseSpec | None, position: SlicePosition, device: "torch.device | None" = None
) -> NDArray[Any]:
    """Return a slice with its noise as further channels.

    Parameters
    ----------
    ct : ndarray, shape (Y, X) or (S, Y, X)
        One slice, or with its neighbours.
    spec : NoiseSpec or None
        None, or no channels: `ct` itself is returned.
    position : SlicePosition
    device : torch.device, optional
        Where the noise is computed; the bits are the same.

    Returns
    -------
    ndarray of float32, shape (S + channels, Y, X)
        Grey values as they are, then the noise.
    """
    if spec is None or not spec.channels:
        return ct
    rows, columns = ct.shape[-2:]
    grey = ct.reshape(-1, rows, columns).astype(np.float32)
    return np.concatenate([grey, slice_noise(spec, position, rows, columns, device)])


def add_noise_channels(images: "Tensor", spec: NoiseSpec | None, positions: Sequence[SlicePosition]) -> "Tensor":
    """Return slices with their noise as further channels, on the device of the slices.

    Parameters
    ----------
    images : Tensor of float32, shape (N, Y, X) or (N, S, Y, X)
        Slices, or slices with their neighbours.
    spec : NoiseSpec or None
        None, or no channels: `images` itself is returned.
    positions : sequence of SlicePosition
        Of the N slices.

    Returns
    -------
    Tensor of float32, shape (N, S + channels, Y, X)
        As `with_noise` for each slice, with the same bits.
    """
    if spec is None or not spec.channels:
        return images
    import torch

    rows, columns = images.shape[-2:]
    noise = torch.stack([_noise_tensor(spec, each, rows, columns, images.device) for each in positions])
    return torch.cat([images.reshape(len(images), -1, rows, columns), noise], dim=1)


def _noise_tensor(
    spec: NoiseSpec, position: SlicePosition, rows: int, columns: int, device: "torch.device"
) -> "Tensor":
    import torch

    if device.type == "cpu":
        return torch.from_numpy(slice_noise(spec, position, rows, columns))
    shape = [rows, columns]
    shape.insert(position.axis, 1)
    noise = position_noise(position.origin, shape, seed=position.seed, device=device, **spec.model_dump())
    return noise.reshape(spec.channels, rows, columns)


@overload
def position_noise(
    origin: Sequence[int],
    shape: Sequence[int],
    *,
    channels: int = ...,
    correlation_px: float = ...,
    seed: int = ...,
    device: None = None,
) -> NDArray[np.float32]: ...


@overload
def position_noise(
    origin: Sequence[int],
    shape: Sequence[int],
    *,
    channels: int = ...,
    correlation_px: float = ...,
    seed: int = ...,
    device: "torch.device | str",
) -> "Tensor": ...


def position_noise(
    origin: Sequence[int],
    shape: Sequence[int],
    *,
    channels: int = 1,
    correlation_px: float = 4.0,
    seed: int = 0,
    device: "torch.device | str | None" = None,
) -> "NDArray[np.float32] | Tensor":
    """Return correlated noise at the voxels of a block.

    Parameters
    ----------
    origin : sequence of int
        (z, y, x) of the first voxel; may be negative.
    shape : sequence of int
        (Z, Y, X), voxels.
    channels : int
        Independent channels.
    correlation_px : float
        Distance at which the correlation falls to 1 / e, voxels, from 2 to 64.
    seed : int
        From 0 to 2**32 - 1. Different seeds give independent noise.
    device : torch.device or str, optional
        Compute a tensor there. None: an array. Both have the same bits.

    Returns
    -------
    ndarray or Tensor of float32, shape (channels, Z, Y, X)
        Nearly normally distributed. Over all seeds, every voxel has mean 0 and variance 1 exactly, and the correlation
        of two voxels at distance d is exp(-(d / correlation_px)²) within 0.01. It is the same everywhere within 0.001.

    Examples
    --------
    >>> whole = position_noise((0, 0, 0), (2, 20, 30), seed=7)
    >>> part = position_noise((1, 5, 10), (1, 15, 20), seed=7)
    >>> bool((whole[:, 1:, 5:, 10:] == part).all())
    True
    """
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"noise seed {seed}: give a whole number from 0 to {MAX_SEED}")
    if device is None:
        return cast(NDArray[np.float32], _field(_NUMPY, origin, shape, channels, correlation_px, seed))
    return _field(_torch_library(device), origin, shape, channels, correlation_px, seed)


class _Library(Protocol[A]):
    """The operations in which NumPy and PyTorch differ."""

    def put(self, array: NDArray[Any]) -> A:
        """Return an array of NumPy as one of the library."""

    def double(self, integers: A) -> A:
        """Convert to float64."""

    def single(self, values: A) -> A:
        """Convert to float32."""


class _Numpy:
    def put(self, array: NDArray[Any]) -> NDArray[Any]:
        return array

    def double(self, integers: NDArray[Any]) -> NDArray[Any]:
        return integers.astype(np.float64)

    def single(self, values: NDArray[Any]) -> NDArray[Any]:
        return values.astype(np.float32)


_NUMPY = _Numpy()


def _torch_library(device: "torch.device | str") -> "_Library[Tensor]":
    import torch

    class Torch:
        def put(self, array: NDArray[Any]) -> "Tensor":
            # Not waiting for the work that the device has yet to do.
            return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)

        def double(self, integers: "Tensor") -> "Tensor":
            return integers.double()

        def single(self, values: "Tensor") -> "Tensor":
            return values.float()

    return Torch()


def _field(
    library: _Library[A], origin: Sequence[int], shape: Sequence[int], channels: int, correlation_px: float, seed: int
) -> A:
    """Return the noise of `position_noise`, block by block."""
    field = library.put(np.empty((channels, *shape), np.float32))
    keys = library.put(np.arange(channels, dtype=np.int64).reshape(-1, 1, 1, 1))
    first = _mixed(library.put(np.full((1, 1, 1, 1), seed, np.int64)), keys)
    starts = [range(0, length, block) for length, block in zip(shape, _BLOCK, strict=True)]
    for z in starts[0]:
        for y in starts[1]:
            for x in starts[2]:
                spans = zip((z, y, x), shape, _BLOCK, strict=True)
                part = [slice(start, min(start + block, length)) for start, length, block in spans]
                axes = [
                    _Axis.of(o + s.start, s.stop - s.start, correlation_px) for o, s in zip(origin, part, strict=True)
                ]
                field[:, part[0], part[1], part[2]] = _block(library, axes, first)
    return field


@dataclass(frozen=True)
class _Axis:
    """The lattice along one axis of a block, and its weights.

    Attributes
    ----------
    points : ndarray of int64, shape (K,)
        Indices of the lattice points.
    weights : ndarray of float64, shape (n, K)
        Whole numbers: the weight of each point for each voxel.
    scale : ndarray of float64, shape (n,)
        Makes the variance of each voxel 1.
    """

    points: NDArray[np.int64]
    weights: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def of(cls, start: int, length: int, correlation_px: float) -> "_Axis":
        # A sum with Gaussian weights of σ has the correlation exp(-d² / 4σ²). With a spacing of at most σ the lattice
        # does not show: the sum of the squared weights varies by 2 exp(-π²).
        sigma = correlation_px / 2
        spacing = max(1, math.floor(sigma))
        radius = math.ceil(_RADIUS * sigma)
        points = np.arange((start - radius) // spacing, (start + length - 1 + radius) // spacing + 1)
        distance = np.arange(start, start + length)[:, None] - spacing * points
        weights = np.rint(_MAX_WEIGHT * np.exp(-0.5 * (distance / sigma) ** 2))
        return cls(points, weights, 1 / np.sqrt((weights**2).sum(axis=1)))


def _block(library: _Library[A], axes: Sequence[_Axis], first: A) -> A:
    """Return the noise of a block (channels, Z, Y, X) from the hash of seed and channel."""
    hashed = first
    for number, axis in enumerate(axes):
        hashed = _mixed(hashed, library.put(axis.points.reshape([-1 if n == number else 1 for n in range(3)])))
    # The highest bits, as odd numbers: symmetric about 0.
    lattice = library.double(2 * ((hashed >> (64 - _LATTICE_BITS)) & (2**_LATTICE_BITS - 1)) - (2**_LATTICE_BITS - 1))
    channels, depth, height, width = lattice.shape
    z, y, x = (library.put(axis.weights) for axis in axes)
    lattice = (z @ lattice.reshape(channels, depth, height * width)).reshape(channels, -1, height, width)
    values = y @ lattice @ x.T
    for axis, sides in zip(axes, ((-1, 1, 1), (-1, 1), (-1,)), strict=True):
        values = values * library.put(axis.scale.reshape(sides))
    return library.single(values * (1 / _LATTICE_STD))


def _mixed(hashed: A, key: A) -> A:
    """Return the finaliser of SplitMix64 for a state that is advanced `key` + 1 times; int64 that wraps around."""
    state = hashed + (key + 1) * -0x61C8864680B583EB
    state = (state ^ ((state >> 30) & (2**34 - 1))) * -0x40A7B892E31B1A47
    state = (state ^ ((state >> 27) & (2**37 - 1))) * -0x6B2FB644ECCEEE15
    return state ^ ((state >> 31) & (2**33 - 1))
