"""Where the histology lies relative to the µCT, learnt beside the generators."""

import torch
from torch import Tensor, nn


class DisplacementField(nn.Module):
    """How far each place of the second picture must look aside to find its like in the first: smooth and bounded.

    Registration leaves a section a few pixels off; ℓ1 terms then reward blur. This network learns, beside the
    generators, where things lie, so that the ℓ1 terms compare what belongs together (Kong et al. 2021, "Breaking the
    dilemma of medical image-to-image translation", NeurIPS 34). It is used in training only.

    Parameters
    ----------
    in_channels : int
        Of both pictures together.
    width : int
        Features after the first layer; they double up to 4 × width.
    levels : int
        Halvings: the field has a knot every 2 ** levels px, and is linear in between.
    bound_px : int
        Longest displacement along each axis.

    Notes
    -----
    Input (B, in_channels, H, W), output (B, 2, h, w): displacement (row, column) at the knots, px.
    """

    def __init__(self, in_channels: int = 6, width: int = 16, levels: int = 4, bound_px: int = 6) -> None:
        super().__init__()
        self.bound_px = bound_px
        features = [width * min(2**level, 4) for level in range(levels)]
        layers: list[nn.Module] = []
        for before, after in zip([in_channels, *features], features, strict=False):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.2)]
        layers += [
            nn.Conv2d(features[-1], features[-1], 3, 1, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(features[-1], 2, 3, 1, 1),
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the field (B, 2, h, w), px, for two pictures (B, C, H, W)."""
        return self.bound_px * torch.tanh(self.layers(torch.cat([first, second], dim=1)))
