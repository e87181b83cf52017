"""The patch discriminator."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from tomostain.networks.base import Count, Depth, Discriminator, DiscriminatorSpec
from tomostain.networks.layers import NormName, norm_layers
from tomostain.networks.receptive_field import receptive_field
from tomostain.networks.registry import register_discriminator


@register_discriminator("patch")
class PatchDiscriminator(Discriminator):
    """PatchGAN: scores every patch of an image, C64-C128-C256-C512-1 with 4 × 4 kernels.

    It has `layers` convolutions of stride 2 and two of stride 1. With the default of three the receptive field is
    70 × 70 px, as the paper states (its base code sees 94 × 94); with two it is 34 × 34, with one 16 × 16.

    Parameters
    ----------
    spec : PatchDiscriminator.Spec

    Notes
    -----
    Input (B, in_channels, H, W), output (B, 1, h, w): one score for each patch, unbounded, 1 meaning real (LSGAN).
    Source: Isola et al. 2017, appendix 6.1.2; Irvine et al., J. Synchrotron Rad. 2026, section 2.6.3.
    """

    class Spec(DiscriminatorSpec):
        """Arguments of `PatchDiscriminator`.

        Attributes
        ----------
        in_channels : int
            Channels of the judged image; for a conditional discriminator those of image and condition together.
        width : int
            Features after the first layer; they double up to 8 × width.
        layers : int
            Number of convolutions of stride 2.
        norm : {"instance", "channel", "none"}
            Normalisation after all but the first and the last convolution.
        """

        width: Count = 64
        layers: Depth = 3
        norm: NormName = "instance"

        @property
        def min_size_px(self) -> int:
            """Minimum side of an image, px.

            The last normalisation needs 2 pixels a side; a convolution of kernel 4, padding 1 and stride 1 removes one.
            """
            return 3 * 2**self.layers

    fusable: ClassVar[bool] = True

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        features = [spec.width * min(2**level, 8) for level in range(spec.layers + 1)]
        modules: list[nn.Module] = [nn.Conv2d(spec.in_channels, spec.width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for level in range(1, spec.layers + 1):
            stride = 2 if level < spec.layers else 1
            modules += [
                nn.Conv2d(features[level - 1], features[level], 4, stride, 1),
                *norm_layers(spec.norm, features[level]),
            ]
            modules += [nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*modules, nn.Conv2d(features[-1], 1, 4, 1, 1))
        self.receptive_field = receptive_field(self)

    def features(self, image: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        """Return the output of each activation, and the scores last."""
        value = image if condition is None else torch.cat([condition, image], dim=1)
        features = []
        for layer in self.layers:
            value = layer(value)
            if isinstance(layer, nn.LeakyReLU):
                features.append(value)
        return [*features, value]
