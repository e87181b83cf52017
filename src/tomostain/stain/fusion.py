"""Fusion of the colours of the same voxels from staining along several axes, on any device, with the same bytes."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomostain.errors import InputError

RGB = NDArray[np.uint8]
# Distance from the median at which the weight is one half, grey levels.
HALF_WEIGHT_DISTANCE = 8.0
# Values that are fused at once: on a CPU they stay in the cache of a core; on a GPU their float32 copies take less
# memory than a batch of slices in the network.
_CPU_VALUES, _GPU_VALUES = 2**17, 2**23


def fuse(colours: Sequence[RGB], how: str) -> RGB:
    """Fuse the colours of the same voxels from staining along several axes.

    Parameters
    ----------
    colours : sequence of ndarray of uint8, shape (…, 3)
        Two or more, of one shape.
    how : {"mean", "median", "weighted"}
        Weighted: with weight 1 / (1 + distance / 8 grey levels), where the distance is that from the median, averaged
        over the channels.

    Returns
    -------
    ndarray of uint8, shape (…, 3)

    Raises
    ------
    InputError
        If `how` is unknown.

    Examples
    --------
    >>> a, b, c = (np.full((1, 3), grey, np.uint8) for grey in (10, 12, 100))
    >>> [fuse([a, b, c], how)[0, 0].item() for how in ("mean", "median", "weighted")]
    [41, 12, 15]
    """
    fused: RGB = fuse_tensors([torch.from_numpy(_readable(each)) for each in colours], how).numpy()
    return fused


def fuse_tensors(colours: Sequence[Tensor], how: str) -> Tensor:
    """Fuse colours on the device of the first tensor; as `fuse`, with the same bytes on every device.

    Parameters
    ----------
    colours : sequence of Tensor of uint8, shape (…, 3)
        Two or more, of one shape, in any order of axes in memory.
    how : {"mean", "median", "weighted"}
        See `fuse`.

    Returns
    -------
    Tensor of uint8, shape (…, 3)
        Contiguous. On a GPU nothing waits for it.

    Notes
    -----
    The bytes do not depend on the device, because every floating-point operation is rounded once, as IEEE 754 says, and
    because values are added in order of their size.
    """
    if how not in _WAYS:
        raise InputError(f"fuse '{how}': unknown; give mean, median or weighted")
    first, way = colours[0], _WAYS[how]
    if first.ndim == 1:
        return fuse_tensors([each[None] for each in colours], how)[0]
    colours = [each.to(first.device) for each in colours]
    fused = torch.empty(first.shape, dtype=torch.uint8, device=first.device)
    values = _CPU_VALUES if first.device.type == "cpu" else _GPU_VALUES
    step = max(1, values * len(first) // max(1, first.numel()))
    for start in range(0, len(first), step):
        fused[start : start + step] = way([each[start : start + step] for each in colours])
    return fused


def _readable(values: RGB) -> RGB:
    """Return an array that torch can use without a warning: writeable, and no axis is reversed."""
    return values if values.flags.writeable and min(values.strides, default=0) >= 0 else values.copy()


def _ordered(values: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors with the same values at each place, from the smallest to the largest."""
    ordered = list(values)
    for last in range(1, len(ordered)):
        for low in reversed(range(last)):
            pair = ordered[low], ordered[low + 1]
            ordered[low], ordered[low + 1] = torch.minimum(*pair), torch.maximum(*pair)
    return ordered


def _total(values: Sequence[Tensor]) -> Tensor:
    """Return the sum as float32, added one after the other."""
    total = values[0].to(torch.float32, copy=True)
    for each in values[1:]:
        total += each
    return total


def _divided(values: Tensor, number: float) -> Tensor:
    """Divide in place. A GPU multiplies by the reciprocal of a plain number, which rounds twice."""
    return values.div_(values.new_full((), number))


def _rounded(values: Tensor) -> Tensor:
    """Round half to even. Means of bytes are finite and need no check, for which a GPU would wait."""
    return values.round_().to(torch.uint8)


def _mean(colours: Sequence[Tensor]) -> Tensor:
    return _rounded(_divided(_total(colours), len(colours)))


def _middle(colours: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the two values in the middle; for an odd number of values they are the same."""
    ordered, number = _ordered(colours), len(colours)
    return ordered[(number - 1) // 2], ordered[number // 2]


def _median(colours: Sequence[Tensor]) -> Tensor:
    low, high = _middle(colours)
    return low if low is high else _mean([low, high])


def _weighted(colours: Sequence[Tensor]) -> Tensor:
    channels = colours[0].shape[-1]
    doubled = torch.add(*(each.to(torch.int16) for each in _middle(colours)))
    weights = []
    for each in colours:
        distance = (each.to(torch.int16) * 2).sub_(doubled).abs_().sum(-1, keepdim=True, dtype=torch.int32)
        weight = _divided(distance.to(torch.float32).mul_(0.5), channels)
        weights.append(_divided(weight, HALF_WEIGHT_DISTANCE).add_(1).reciprocal_())
    products = [weight * each for weight, each in zip(weights, colours, strict=True)]
    return _rounded(_total(_ordered(products)).div_(_total(_ordered(weights))))


_WAYS: dict[str, Callable[[Sequence[Tensor]], Tensor]] = {"mean": _mean, "median": _median, "weighted": _weighted}
