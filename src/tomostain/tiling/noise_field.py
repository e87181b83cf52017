"""The values of the noise input: a hash of coordinates on a lattice, weighted by a Gaussian.

`tomostain.tiling.noise_lattice` defines the lattice. An array is computed here, block by block, and a tensor by
`tomostain.tiling.noise_tensor`. Both have the same bits.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from tomostain.tiling.noise_lattice import LATTICE_STD, Float64, Int64, Kernel, lattice_integers, mixed, step

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Triple = tuple[int, int, int]

MAX_SEED = 2**32 - 1
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
        return _field(origin, shape, channels, correlation_px, seed)
    import torch

    from tomostain.tiling.noise_tensor import tensor_noise

    place = torch.device(device)
    return tensor_noise([origin], shape, [seed], channels=channels, correlation_px=correlation_px, device=place)[0]


def _field(
    origin: Sequence[int], shape: Sequence[int], channels: int, correlation_px: float, seed: int
) -> NDArray[np.float32]:
    """Return the noise of `position_noise`, block by block."""
    field = np.empty((channels, *shape), np.float32)
    keys = np.arange(channels, dtype=np.int64).reshape(-1, 1, 1, 1)
    first = mixed(np.full((1, 1, 1, 1), seed, np.int64), step(keys))
    starts = [range(0, length, block) for length, block in zip(shape, _BLOCK, strict=True)]
    for corner in itertools.product(*starts):
        spans = zip(corner, shape, _BLOCK, strict=True)
        part = [slice(start, min(start + block, length)) for start, length, block in spans]
        axes = [_Axis.of(o + s.start, s.stop - s.start, correlation_px) for o, s in zip(origin, part, strict=True)]
        field[:, part[0], part[1], part[2]] = _block(axes, first)
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

    points: Int64
    weights: Float64
    scale: Float64

    @classmethod
    def of(cls, start: int, length: int, correlation_px: float) -> "_Axis":
        kernel, voxels = Kernel(correlation_px), np.arange(start, start + length)
        points = np.arange(kernel.first_point(voxels)[0], kernel.last_point(voxels)[-1] + 1)
        weights = kernel.weights(voxels[:, None] - kernel.spacing * points)
        return cls(points, weights, 1 / np.sqrt((weights**2).sum(axis=1)))


def _block(axes: Sequence[_Axis], first: Int64) -> NDArray[np.float32]:
    """Return the noise of a block (channels, Z, Y, X) from the hash of seed and channel."""
    hashed = first
    for number, axis in enumerate(axes):
        hashed = mixed(hashed, step(axis.points.reshape([-1 if n == number else 1 for n in range(3)])))
    lattice = lattice_integers(hashed).astype(np.float64)
    channels, depth, height, width = lattice.shape
    z, y, x = (axis.weights for axis in axes)
    lattice = (z @ lattice.reshape(channels, depth, height * width)).reshape(channels, -1, height, width)
    values = y @ lattice @ x.T
    for axis, sides in zip(axes, ((-1, 1, 1), (-1, 1), (-1,)), strict=True):
        values = values * axis.scale.reshape(sides)
    return (values * (1 / LATTICE_STD)).astype(np.float32)
