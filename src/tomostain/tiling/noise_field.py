"""The values of the noise input: a hash of coordinates on a lattice, weighted by a Gaussian.

Random integers on a lattice (a hash of their coordinates: the finaliser of SplitMix64, Steele et al. 2014, DOI
10.1145/2660193.2660195) are weighted by a Gaussian around the voxel. Integers and weights are so small that all sums
are exact in float64. They do not depend on the order of summation, and NumPy and PyTorch give the same bits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray

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
