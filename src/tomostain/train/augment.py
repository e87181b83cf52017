"""Augmentation of training patches: ranges, and the jitter of contrast and brightness (paper section 2.7).

Source: Irvine et al., J. Synchrotron Rad. 2026, section 2.7.
"""

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from tomostain.config import Config

# Means are clipped to this minimum before a division or a power.
_DARKEST = 1 / 255

_MAX_SCALE = 20.0


class Augment(Config):
    """Ranges of the augmentation of training patches (paper section 2.7).

    Attributes
    ----------
    scale : tuple of float
        Minimum and maximum magnification. The patch keeps its number of pixels.
    flip : bool
        Flip rows and columns, each with probability ½.
    jitter : float
        Maximum relative change of contrast and of brightness, drawn separately for µCT and histology.
    histology_jitter : float or None
        The same for histology alone. A network cannot predict the jitter of its target: it is noise that slows the
        training. None: as `jitter`.
    min_mask : float
        Minimum share of a patch that the correspondence mask should cover; without it, ℓ1 terms have no effect there.
        Positions are drawn up to 8 times, and the best one is taken. 0: any position, as in the paper.
    """

    scale: tuple[float, float] = (0.9, 1.1)
    flip: bool = True
    jitter: float = Field(default=0.1, ge=0, lt=1)
    histology_jitter: float | None = Field(default=None, ge=0, lt=1)
    min_mask: float = Field(default=0.1, ge=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale {list(self.scale)} must be two factors above 0, the smaller one first")
        if self.scale[0] < 1 / _MAX_SCALE or self.scale[1] > _MAX_SCALE:
            raise ValueError(f"scale {list(self.scale)} must be from {1 / _MAX_SCALE:g} to {_MAX_SCALE:g}")
        return self


Jitter = NDArray[np.floating]


def jitter_factors(ct: Jitter, histology: Jitter) -> NDArray[np.float32]:
    """Return gain and offset of `scale_ct`, exponent and brightness of `scale_intensity`: shape (4, B, 1, 1, 1).

    Computed on the host, where a single number costs less than the launch of a kernel on a GPU.

    Parameters
    ----------
    ct, histology : ndarray of float, shape (B, 2)
        Factors of contrast and of brightness of each patch.
    """
    (contrast, brightness), (power, factor) = ct.astype(np.float32).T, histology.astype(np.float32).T
    one = np.float32(1)
    return np.stack([brightness * contrast, brightness - one, power - one, factor])[..., None, None, None]


IDENTITY = Augment(scale=(1.0, 1.0), flip=False, jitter=0.0, min_mask=0.0)


def jitter_ct(x: Tensor, jitter: Tensor, out: Tensor | None = None) -> Tensor:
    """Vary contrast c and brightness b of µCT patches: v' = b (½ + c (v - ½)) with v = (x + 1) / 2, clipped to [0, 1].

    The pivot ½ is the middle between background and bone, independent of the patch.

    Parameters
    ----------
    x : Tensor, shape (B, 1, P, P)
        In [-1, 1].
    jitter : Tensor, shape (B, 2)
        c and b of each patch.
    out : Tensor, shape (B, 1, P, P), optional
        Output; may be `x`.
    """
    contrast, brightness = jitter.view(-1, 2, 1, 1, 1).unbind(1)
    return scale_ct(x, brightness * contrast, brightness - 1, out)


def scale_ct(x: Tensor, gain: Tensor, offset: Tensor, out: Tensor | None = None) -> Tensor:
    """As `jitter_ct`, from gain b c and offset b - 1, each (B, 1, 1, 1)."""
    return torch.mul(x, gain, out=out).add_(offset).clip_(-1, 1)


def jitter_histology(y: Tensor, jitter: Tensor) -> Tensor:
    """Vary contrast c and brightness b of histology patches without changing the ratios R : G : B of a pixel.

    The three values of a pixel are multiplied by one gain, g = b (2 m)^(c - 1), where m is their mean in [0, 1].
    Brightness is a common factor. Contrast is a power law about mid-grey with slope c at m = ½, because an additive
    offset would change the ratios. Where a channel would exceed the scale, g is reduced for the same reason.

    Parameters
    ----------
    y : Tensor, shape (B, 3, P, P)
        In [-1, 1].
    jitter : Tensor, shape (B, 2)
        c and b of each patch.
    """
    return jitter_intensity(y + 1, jitter)


def jitter_intensity(double: Tensor, jitter: Tensor, out: Tensor | None = None) -> Tensor:
    """Do the same as `jitter_histology` from twice the intensity, which saves a pass over the pixels.

    Parameters
    ----------
    double : Tensor, shape (B, 3, P, P)
        In [0, 2].
    jitter : Tensor, shape (B, 2)
        c and b of each patch.
    out : Tensor, shape (B, 3, P, P), optional
        Output.

    Returns
    -------
    Tensor, shape (B, 3, P, P)
        In [-1, 1].
    """
    contrast, brightness = jitter.view(-1, 2, 1, 1, 1).unbind(1)
    return scale_intensity(double, contrast - 1, brightness, out)


def scale_intensity(double: Tensor, exponent: Tensor, brightness: Tensor, out: Tensor | None = None) -> Tensor:
    """As `jitter_intensity`, from the exponent c - 1 and b, each (B, 1, 1, 1)."""
    red, green, blue = double.split(1, dim=1)
    gain = (red + green).add_(blue).div_(3).clamp_min_(2 * _DARKEST)  # 2 m
    gain.log_().mul_(exponent).exp_().mul_(brightness)  # a third of the time of a power
    highest = torch.maximum(red, green)
    highest = torch.maximum(highest, blue, out=highest).clamp_min_(2 * _DARKEST)
    gain = torch.minimum(gain, highest.reciprocal_().mul_(2), out=gain)
    return torch.mul(double, gain, out=out).sub_(1).clip_(-1, 1)
