"""The deformation between the µCT and the histology, learned together with the generators."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from tomostain.networks.base import Count, Depth, Network, NetworkSpec
from tomostain.networks.registry import register_deformation


@register_deformation("field")
class DisplacementField(Network):
    """A smooth, bounded displacement from each pixel of the second image to the matching one of the first.

    Registration leaves a section a few pixels off, and ℓ1 terms then favour blur. This network learns the remaining
    deformation together with the generators, so that the ℓ1 terms compare matching pixels (Kong et al. 2021, "Breaking
    the dilemma of medical image-to-image translation", NeurIPS 34). It is used in training only.

    Parameters
    ----------
    spec : DisplacementField.Spec

    Notes
    -----
    Input (B, in_channels, H, W), output (B, 2, h, w): displacement (row, column) at the knots, px.
    """

    class Spec(NetworkSpec):
        """Arguments of `DisplacementField`.

        Attributes
        ----------
        in_channels : int
            Channels of both images together.
        width : int
            Features after the first layer; they double up to 4 × width.
        levels : int
            Number of halvings: the field has a knot every 2 ** levels px and is linear in between.
        bound_px : int
            Maximum displacement along each axis.
        """

        in_channels: Count = 6
        width: Count = 16
        levels: Depth = 4
        bound_px: Count = 6

    role: ClassVar[str] = "deformation"
    fusable: ClassVar[bool] = True

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.bound_px = spec.bound_px
        features = [spec.width * min(2**level, 4) for level in range(spec.levels)]
        layers: list[nn.Module] = []
        for before, after in zip([spec.in_channels, *features], features, strict=False):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.2)]
        layers += [
            nn.Conv2d(features[-1], features[-1], 3, 1, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(features[-1], 2, 3, 1, 1),
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the field (B, 2, h, w), px, for two images (B, C, H, W)."""
        return self.bound_px * torch.tanh(self.layers(torch.cat([first, second], dim=1)))
