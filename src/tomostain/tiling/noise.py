"""Noise as an input of a generator: a fixed function of the position of a voxel and of a seed.

Where the µCT does not determine the texture, a generator needs random numbers to draw one. This noise has no state: its
value at a voxel depends only on the coordinates of the voxel in the volume, the channel and the seed. So it is the same
in every tile, chunk, process and device, it continues from slice to slice, and it can be computed again.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tomostain.config import Config
from tomostain.tiling.noise_field import Triple, position_noise

if TYPE_CHECKING:
    import torch
    from torch import Tensor


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
    if device is not None and device.type != "cpu":
        return noise_on_device(spec, [position], rows, columns, device)[0].cpu().numpy()
    shape = [rows, columns]
    shape.insert(position.axis, 1)
    noise = position_noise(position.origin, shape, seed=position.seed, **spec.model_dump())
    return noise.reshape(spec.channels, rows, columns)


def slices_noise(
    spec: NoiseSpec, positions: Sequence[SlicePosition], rows: int, columns: int, device: "torch.device"
) -> "Tensor":
    """Return the noise of slices of one size on a device, shape (N, channels, rows, columns), float32.

    Each slice has the bits of `slice_noise`. A GPU computes all slices together, and nothing waits for it.
    """
    if device.type != "cpu":
        return noise_on_device(spec, positions, rows, columns, device)
    import torch

    return torch.from_numpy(np.stack([slice_noise(spec, each, rows, columns) for each in positions]))


def noise_on_device(
    spec: NoiseSpec, positions: Sequence[SlicePosition], rows: int, columns: int, device: "torch.device"
) -> "Tensor":
    """Return the noise of `slices_noise`, computed by PyTorch on any device."""
    import torch

    from tomostain.tiling.noise_tensor import tensor_noise

    first, about = positions[0], spec.model_dump() | {"device": device}
    shape = [rows, columns]
    if all(each == first.moved(number) for number, each in enumerate(positions)):
        shape.insert(first.axis, len(positions))
        block = tensor_noise([first.origin], shape, [first.seed], **about)[0]
        return block.movedim(1 + first.axis, 0)
    parts = []
    for axis, group in itertools.groupby(positions, key=lambda each: each.axis):
        members, one = list(group), list(shape)
        one.insert(axis, 1)
        noise = tensor_noise([each.origin for each in members], one, [each.seed for each in members], **about)
        parts.append(noise.squeeze(2 + axis))
    return torch.cat(parts)


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
    noise = slices_noise(spec, positions, rows, columns, images.device)
    return torch.cat([images.reshape(len(images), -1, rows, columns), noise], dim=1)
