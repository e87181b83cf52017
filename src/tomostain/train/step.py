"""The record of one training step: what the terms read, each thing computed when it is first asked for."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn


@dataclass
class Networks:
    """The networks of a recipe. `g_yx` and `d_x` are None where the recipe has no reverse direction.

    `conditional` says that D_y judges µCT and histology together (Pix2Pix).
    """

    g_xy: nn.Module
    d_y: nn.Module
    g_yx: nn.Module | None = None
    d_x: nn.Module | None = None
    conditional: bool = False

    def named(self) -> dict[str, nn.Module]:
        """Return the networks that exist, by name."""
        every = {"g_xy": self.g_xy, "g_yx": self.g_yx, "d_x": self.d_x, "d_y": self.d_y}
        return {name: network for name, network in every.items() if network is not None}

    @property
    def generators(self) -> list[nn.Module]:
        """The generators that exist, G_xy first."""
        return [network for network in (self.g_xy, self.g_yx) if network is not None]

    @property
    def discriminators(self) -> list[nn.Module]:
        """The discriminators that exist, D_y first."""
        return [network for network in (self.d_y, self.d_x) if network is not None]

    def reverse(self) -> tuple[nn.Module, nn.Module]:
        """Return G_yx and D_x; a recipe that asks for them without having them is caught when it is read."""
        if self.g_yx is None or self.d_x is None:
            raise ValueError("this recipe has no reverse direction")
        return self.g_yx, self.d_x

    def judged_as(self, x: Tensor, y: Tensor) -> Tensor:
        """Return what D_y looks at: the histology, or µCT and histology together."""
        return torch.cat([x, y], dim=1) if self.conditional else y


class Step:
    """x, y and mask of a batch, and all that the networks make of them, lazily.

    A recipe without cycles so never runs the reverse generator: nothing asks for what it would draw.

    Parameters
    ----------
    x : Tensor, shape (B, 1|3, H, W)
        µCT in [-1, 1].
    y : Tensor, shape (B, 3, H, W)
        Histology in [-1, 1].
    mask : Tensor, shape (B, 1, H, W)
        1 where they correspond.
    networks : Networks
    """

    def __init__(self, x: Tensor, y: Tensor, mask: Tensor, networks: Networks) -> None:
        self.x, self.y, self.mask, self.networks = x, y, mask, networks

    @cached_property
    def fake_y(self) -> Tensor:
        """G_xy(x)."""
        return self.networks.g_xy(self.x)

    @cached_property
    def fake_x(self) -> Tensor:
        """G_yx(y)."""
        return self.networks.reverse()[0](self.y)

    @cached_property
    def cycled_x(self) -> Tensor:
        """G_yx(G_xy(x))."""
        return self.networks.reverse()[0](self.fake_y)

    @cached_property
    def cycled_y(self) -> Tensor:
        """G_xy(G_yx(y))."""
        return self.networks.g_xy(self.fake_x)

    @cached_property
    def same_x(self) -> Tensor:
        """G_yx(x)."""
        return self.networks.reverse()[0](self.x)

    @cached_property
    def same_y(self) -> Tensor:
        """G_xy(y)."""
        return self.networks.g_xy(self.y)

    @cached_property
    def judged_fake_y(self) -> Tensor:
        """D_y(G_xy(x)), or D(x, G(x)) where it is conditional."""
        return self.networks.d_y(self.networks.judged_as(self.x, self.fake_y))

    @cached_property
    def judged_fake_x(self) -> Tensor:
        """D_x(G_yx(y))."""
        return self.networks.reverse()[1](self.fake_x)
