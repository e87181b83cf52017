"""Whole slices on a device: grey values to the normalised scale, colours to bytes, and the spread of colours."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tomostain.imaging.intensity import IntensityReference
from tomostain.imaging.network_range import CT_BACKGROUND, CT_BONE


def normalise(grey: Tensor, reference: IntensityReference) -> Tensor:
    """Return `tomostain.imaging.intensity.normalise_ct` of float32 grey values, as float32; NaN and infinity stay."""
    scale = (CT_BONE - CT_BACKGROUND) / (reference.bone - reference.background)
    scaled = (grey - float(np.float32(reference.background))) * float(np.float32(scale)) + CT_BACKGROUND
    return (scaled.round().clip(0, 65535)) + (scaled - scaled)


def to_bytes(colours: Tensor, *, planar: bool = False) -> tuple[Tensor, Tensor]:
    """Round colours to bytes and put the channels last.

    Parameters
    ----------
    colours : Tensor of float32, shape (N, 3, Y, X)
        In [0, 255] up to rounding, or not finite.
    planar : bool
        The memory of the bytes has the channels before the rows. By default they are last.

    Returns
    -------
    bytes : Tensor of uint8, shape (N, Y, X, 3)
        Rounded half to even.
    wrong : Tensor of int64, shape (N,)
        Number of values that are not in [0, 255]: not finite.
    """
    # Weighted means of 255 may be one unit of the last place above it.
    inside = (colours - 127.5).abs_() < 127.75
    wrong = inside[0].numel() - inside.sum(dim=(1, 2, 3))
    rounded = colours.round().to(torch.uint8)
    if planar:
        return rounded.contiguous().permute(0, 2, 3, 1), wrong
    return rounded.permute(0, 2, 3, 1).contiguous(), wrong


def mean_deviation(images: Sequence[Tensor]) -> Tensor:
    """Return `tomostain.stain.uncertainty.disagreement` of slices, with the same bits.

    Parameters
    ----------
    images : sequence of Tensor of uint8, shape (N, Y, X, 3)
        The same slices, two or more times.

    Returns
    -------
    Tensor of float32, shape (N, Y, X)
    """
    first = images[0]
    # A GPU multiplies by the reciprocal of a number of the host; these are on the device, so that it divides.
    number, channels = (first.new_full((), count, dtype=torch.float32) for count in (len(images), 3))
    total = first.float()
    for image in images[1:]:
        total += image
    mean = total.div_(number)
    squares = torch.zeros_like(mean)
    for image in images:
        squares += (image - mean).square_()
    # On a CPU, torch's square root of float32 is not the nearest number.
    deviation = squares.div_(number).double().sqrt_().float()
    red, green, blue = deviation.unbind(-1)
    return (red + green).add_(blue).div_(channels)
