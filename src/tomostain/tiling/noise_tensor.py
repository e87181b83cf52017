"""The noise input as a tensor: all voxels in one computation, with few operators and without waiting for a GPU.

Each axis is divided into blocks of equal length, and the blocks are a dimension of the tensors. So the number of
operators does not depend on the size of the image, and the matrices of weights stay small.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomostain.host_copy import copy_together
from tomostain.tiling.noise_lattice import LATTICE_STD, Float64, Int64, Kernel, lattice_integers, mixed, step

# Voxels along an axis whose values are one matrix product.
_BLOCK = 256
MAX_BYTES = 2**28
"""Size of the largest tensor, bytes; about four of this size exist at the same time. More is computed in parts."""


@dataclass(frozen=True)
class _Axis:
    """The lattice along one axis of N images of one size, for B blocks of L voxels with K points each.

    Attributes
    ----------
    points : ndarray of int64, shape (N, B, K)
        Indices of the lattice points, descending.
    weights : ndarray of float64, shape (N, B, L + spacing · (K - 1))
        The weight of point k for voxel v is number v + spacing · k.
    scale : ndarray of float64, shape (N, length)
        Makes the variance of each voxel 1.
    """

    points: Int64
    weights: Float64
    scale: Float64

    @classmethod
    def of(cls, starts: Int64, length: int, kernel: Kernel) -> "_Axis":
        blocks = -(-length // _BLOCK)
        block = -(-length // blocks)
        first_voxel = starts[:, None] + block * np.arange(blocks)
        first = kernel.first_point(first_voxel)
        number = int((kernel.last_point(first_voxel + block - 1) - first).max()) + 1
        points = first[..., None] + np.arange(number)[::-1]
        distance = (first_voxel - kernel.spacing * points[..., 0])[..., None]
        weights = kernel.weights(distance + np.arange(block + kernel.spacing * (number - 1)))
        return cls(points, weights, _scale(starts[:, None] + np.arange(length), kernel))


def _scale(voxels: Int64, kernel: Kernel) -> Float64:
    """Return 1 / the root of the sum of the squared weights of all points around each voxel; it has a period."""
    phase = np.arange(kernel.spacing)[:, None]
    points = np.arange(int(kernel.first_point(phase).min()), int(kernel.last_point(phase).max()) + 1)
    squares = (kernel.weights(phase - kernel.spacing * points) ** 2).sum(axis=1)
    scale: Float64 = (1 / np.sqrt(squares))[voxels % kernel.spacing]
    return scale


def tensor_noise(
    origins: Sequence[Sequence[int]],
    shape: Sequence[int],
    seeds: Sequence[int],
    *,
    channels: int,
    correlation_px: float,
    device: torch.device,
) -> Tensor:
    """Return the noise of N blocks of voxels of one shape.

    Parameters
    ----------
    origins : sequence of N (int, int, int)
        (z, y, x) of the first voxel of each.
    shape : sequence of int
        (Z, Y, X), voxels.
    seeds : sequence of N int
        Of each block, from 0 to 2**32 - 1.
    channels, correlation_px
        As in `tomostain.tiling.noise_field.position_noise`.
    device : torch.device
        Nothing waits for it.

    Returns
    -------
    Tensor of float32, shape (N, channels, Z, Y, X)
        With the bits of `position_noise`.
    """
    part = partial(tensor_noise, channels=channels, correlation_px=correlation_px, device=device)
    starts, kernel = np.array(origins, np.int64), Kernel(correlation_px)
    axes = [_Axis.of(starts[:, axis], length, kernel) for axis, length in enumerate(shape)]
    sizes = [(length, math.prod(axis.points.shape[1:])) for length, axis in zip(shape, axes, strict=True)]
    # Before, between and after the three products.
    largest = max(math.prod(side[n < done] for n, side in enumerate(sizes)) for done in range(4))
    if 8 * len(origins) * channels * largest <= MAX_BYTES or len(origins) * max(shape) == 1:
        return _noise(axes, shape, seeds, channels, kernel.spacing, device)
    if len(origins) > 1:
        half = len(origins) // 2
        return torch.cat([part(origins[span], shape, seeds[span]) for span in (slice(half), slice(half, None))])
    axis = int(np.argmax(shape))
    halves = []
    for start, end in itertools.pairwise((0, shape[axis] // 2, shape[axis])):
        origin = [first + start * (n == axis) for n, first in enumerate(origins[0])]
        halves.append(part([origin], [*shape[:axis], end - start, *shape[axis + 1 :]], seeds))
    return torch.cat(halves, dim=2 + axis)


def _noise(
    axes: Sequence[_Axis],
    shape: Sequence[int],
    seeds: Sequence[int],
    channels: int,
    spacing: int,
    device: torch.device,
) -> Tensor:
    """Return the noise (N, channels, Z, Y, X) in one piece."""
    z, y, x = axes
    arrays: list[NDArray[Any]] = [_hashed_planes(seeds, channels, z), step(y.points), step(x.points)]
    arrays += [part for axis in axes for part in (axis.weights, axis.scale)]
    planes, rows, columns, *terms = copy_together(device, *arrays)
    hashed = mixed(planes[..., None], rows.view(len(planes), 1, 1, -1))
    hashed = mixed(hashed[..., None], columns.view(len(planes), 1, 1, 1, -1))
    values = lattice_integers(hashed).double()
    for dim, axis, weights in zip((2, 3, 4), axes, terms[::2], strict=True):
        points = axis.points.shape[2]
        block = weights.shape[2] - spacing * (points - 1)
        values = _weighted(values, dim, weights.unfold(2, block, spacing).contiguous(), shape[dim - 2])
    for dim, scale in zip((2, 3, 4), terms[1::2], strict=True):
        values = values * scale.view([side if n in (0, dim) else 1 for n, side in enumerate(values.shape)])
    return (values * (1 / LATTICE_STD)).float()


def _hashed_planes(seeds: Sequence[int], channels: int, z: _Axis) -> Int64:
    """Return the hash (N, channels, B · K) of seed, channel and lattice plane; few numbers, computed on the host."""
    first = mixed(np.array(seeds, np.int64)[:, None], step(np.arange(channels)))
    return mixed(first[..., None], step(z.points).reshape(len(seeds), 1, -1))


def _weighted(values: Tensor, dim: int, weights: Tensor, length: int) -> Tensor:
    """Return sums along a dimension over the points of each block, with weights of the shape (N, B, K, L)."""
    shape, (number, blocks, points, _) = values.shape, weights.shape
    before, after = math.prod(shape[1:dim]), math.prod(shape[dim + 1 :])
    sums = torch.einsum("nabkc,nbkl->nablc", values.reshape(number, before, blocks, points, after), weights)
    return sums.reshape(*shape[:dim], -1, *shape[dim + 1 :]).narrow(dim, 0, length)
