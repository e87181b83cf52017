"""Copies of small arrays to a device: one for several arrays, and the host does not wait for a GPU."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_ALIGNED = 8  # bytes of the largest type


def copy_together(device: torch.device, *arrays: NDArray[Any]) -> list[Tensor]:
    """Return arrays of any numeric types on a device; on a CPU they share their memory.

    To a GPU all are copied at once, from one pinned buffer.
    """
    if device.type == "cpu":
        return [torch.from_numpy(array) for array in arrays]
    buffer = torch.empty(sum(map(_room, arrays)), dtype=torch.uint8, pin_memory=device.type == "cuda")
    pack(arrays, buffer.numpy())
    return unpack(buffer.to(device, non_blocking=True), arrays)


def pack(arrays: Sequence[NDArray[Any]], buffer: NDArray[np.uint8]) -> None:
    """Write arrays one after the other into a buffer."""
    first = 0
    for array in arrays:
        buffer[first : first + array.nbytes].view(array.dtype).reshape(array.shape)[...] = array
        first += _room(array)


def unpack(buffer: Tensor, arrays: Sequence[NDArray[Any]]) -> list[Tensor]:
    """Return views into a packed buffer, with the types and shapes of `arrays`."""
    # Few operators: one view for each type, and one for each array.
    typed: dict[torch.dtype, Tensor] = {}
    parts, first = [], 0
    for array in arrays:
        kind: torch.dtype = getattr(torch, array.dtype.name)
        if kind not in typed:
            typed[kind] = buffer[: len(buffer) // array.itemsize * array.itemsize].view(kind)
        begin = typed[kind].storage_offset() + first // array.itemsize
        parts.append(typed[kind].as_strided(array.shape, _strides(array.shape), begin))
        first += _room(array)
    return parts


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of an array in order, in elements."""
    strides, step = [], 1
    for side in reversed(shape):
        strides.append(step)
        step *= max(side, 1)
    return tuple(reversed(strides))


def _room(array: NDArray[Any]) -> int:
    return -(-array.nbytes // _ALIGNED) * _ALIGNED
