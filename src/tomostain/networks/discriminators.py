"""The patch discriminator, and how much of the picture it sees."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tomostain.networks.layers import norm_layers


class PatchDiscriminator(nn.Module):
    """PatchGAN: judges every patch of an image, C64-C128-C256-C512-1 with 4 × 4 kernels.

    `layers` convolutions of stride 2 and two of stride 1. With the default three the receptive field is 70 × 70 px, as
    the paper names it (its base code's sees 94 × 94); with two it is 34 × 34, with one 16 × 16.

    Parameters
    ----------
    in_channels : int
        Channels of the judged image; for a conditional discriminator those of image and condition together.
    width : int
        Features after the first layer; they double up to 8 × width.
    layers : int
        Convolutions of stride 2.
    norm : {"instance", "channel", "none"}
        Normalisation after all but the first and the last convolution.

    Notes
    -----
    Input (B, in_channels, H, W), output (B, 1, h, w): one score for each patch, unbounded, 1 meaning real (LSGAN).
    Source: Isola et al. 2017, appendix 6.1.2; Irvine et al., J. Synchrotron Rad. 2026, section 2.6.3.
    """

    def __init__(self, in_channels: int = 3, width: int = 64, layers: int = 3, norm: str = "instance") -> None:
        super().__init__()
        features = [width * min(2**level, 8) for level in range(layers + 1)]
        modules: list[nn.Module] = [nn.Conv2d(in_channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for level in range(1, layers + 1):
            stride = 2 if level < layers else 1
            modules += [
                nn.Conv2d(features[level - 1], features[level], 4, stride, 1),
                *norm_layers(norm, features[level]),
            ]
            modules += [nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*modules, nn.Conv2d(features[-1], 1, 4, 1, 1))
        self.receptive_field = receptive_field(self)

    def forward(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
        """Score the patches of `image` (B, C, H, W), given `condition` (B, C', H, W) where it is conditional."""
        return self.features(image, condition)[-1]

    def features(self, image: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        """Return what each activation hands on, and the scores last."""
        now = image if condition is None else torch.cat([condition, image], dim=1)
        found = []
        for layer in self.layers:
            now = layer(now)
            if isinstance(layer, nn.LeakyReLU):
                found.append(now)
        return [*found, now]


def smallest_px(spec: Mapping[str, Any]) -> int:
    """Return the least side of an image that a patch discriminator can judge, px.

    Its last normalisation needs 2 pixels a side; a convolution of kernel 4, padding 1 and stride 1 takes one away.
    """
    return 3 * 2 ** int(spec.get("layers", 3))


def receptive_field(network: nn.Module) -> int:
    """Return how many input pixels, along one axis, one output value of a plain chain of convolutions sees.

    Each convolution of kernel k widens the field by (k - 1) times the product of the strides before it.
    """
    field, step = 1, 1
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            field += (module.kernel_size[0] - 1) * step
            step *= module.stride[0]
    return field
