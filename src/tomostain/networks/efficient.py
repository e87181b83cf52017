"""Lean generators: fewer multiply-adds a pixel than the ResNet's full 3 × 3 convolutions, and exact in tiles.

Three ways of saving are put together. Pixels are folded into channels before anything is computed (pixel-unshuffle:
Shi et al. 2016, arXiv:1609.05158), so that nearly all work is done on a quarter or a sixteenth of the pixels. Looking
around and mixing channels are two layers, a depthwise convolution and 1 × 1 convolutions, in place of one that does
both (`MixingBlock`: Liu et al. 2022, arXiv:2201.03545; `GatedBlock`: Chen et al. 2022, arXiv:2204.04676). The last two
convolutions, narrow ones, see the input itself at full resolution and draw the detail.

None of them averages over the picture (NAFNet's channel attention is left out for that), so that with
``norm: channel`` or ``none`` what becomes of a pixel hangs on its neighbourhood alone (`tomostain.tiling.exact`).
Which of them pays: docs/explanation/lean.md.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from tomostain.networks.layers import norm_layers


class MixingBlock(nn.Module):
    """Look around in each channel, normalise, mix the channels through twice as many, add to the input.

    Parameters
    ----------
    features : int
        Channels in and out: (B, features, H, W).
    kernel : int
        Side of the depthwise convolution, odd.
    norm : str
        A key of `tomostain.networks.layers.NORMS`.
    """

    def __init__(self, features: int, kernel: int, norm: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(features, features, kernel, padding=kernel // 2, groups=features),
            *norm_layers(norm, features),
            nn.Conv2d(features, 2 * features, 1),
            nn.ReLU(),
            nn.Conv2d(2 * features, features, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return input + residual."""
        return image + self.layers(image)


class Gate(nn.Module):
    """Multiply the first half of the channels by the second: (B, 2 C, H, W) to (B, C, H, W)."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the product."""
        first, second = image.chunk(2, dim=1)
        return first * second


class GatedBlock(nn.Module):
    """Two residuals whose only nonlinearity is a product of channels; the first one looks around.

    Parameters and shapes as `MixingBlock`.
    """

    def __init__(self, features: int, kernel: int, norm: str) -> None:
        super().__init__()
        self.around = nn.Sequential(
            *norm_layers(norm, features),
            nn.Conv2d(features, 2 * features, 1),
            nn.Conv2d(2 * features, 2 * features, kernel, padding=kernel // 2, groups=2 * features),
            Gate(),
            nn.Conv2d(features, features, 1),
        )
        self.mixing = nn.Sequential(
            *norm_layers(norm, features),
            nn.Conv2d(features, 2 * features, 1),
            Gate(),
            nn.Conv2d(features, features, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return input + both residuals."""
        image = image + self.around(image)
        return image + self.mixing(image)


class UnfoldingHead(nn.Module):
    """From folded pixels to the picture, drawn with the input itself in sight.

    What is unfolded alone would show the grid of the folds; two 3 × 3 convolutions across it smooth that away.
    """

    def __init__(self, features: int, fold: int, in_channels: int, detail: int, out_channels: int) -> None:
        super().__init__()
        self.coarse = nn.Sequential(nn.Conv2d(features, detail * fold**2, 1), nn.PixelShuffle(fold))
        self.fine = nn.Sequential(
            nn.Conv2d(detail + in_channels, detail, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(detail, out_channels, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, folded: Tensor, image: Tensor) -> Tensor:
        """Draw (B, out_channels, H, W) from (B, features, H / fold, W / fold) and the input (B, in_channels, H, W)."""
        return self.fine(torch.cat([self.coarse(folded), image], dim=1))


class _Folded(nn.Module):
    """What the lean generators share: the stem that folds pixels into channels, the head, and how weights begin."""

    def __init__(self, fold: int, in_channels: int, out_channels: int, width: int, detail: int, norm: str) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(fold),
            nn.Conv2d(in_channels * fold**2, width, 3, padding=1),
            *norm_layers(norm, width),
        )
        self.head = UnfoldingHead(width, fold, in_channels, detail, out_channels)

    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw weights that keep the size of what goes through: N(0, 1 / fan-in); biases 0.

        N(0, 0.02), as the GAN literature has it, would leave next to nothing of a product of channels.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, module.weight[0].numel() ** -0.5, generator=generator)
                assert module.bias is not None
                nn.init.zeros_(module.bias)


class ShuffleGenerator(_Folded):
    """Pixels folded four by four into channels, blocks of large depthwise kernels there, unfolded again.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.
    width : int
        Features of every block.
    blocks : int
        `MixingBlock`s; each looks 4 · (kernel // 2) px farther.
    kernel : int
        Side of their depthwise convolutions, odd, in folded pixels.
    detail : int
        Features of the head at full resolution, at least 1.
    norm : {"instance", "channel", "none"}
        Normalisation.

    Attributes
    ----------
    multiple, smallest : int
        Rows and columns of the input must be multiples of this, and at least this: 4.

    Notes
    -----
    Input (B, in_channels, H, W), output (B, out_channels, H, W), float in [-1, 1].
    """

    multiple = smallest = 4

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        width: int = 128,
        blocks: int = 6,
        kernel: int = 7,
        detail: int = 16,
        norm: str = "instance",
    ) -> None:
        super().__init__(4, in_channels, out_channels, width, detail, norm)
        self.blocks = nn.Sequential(*(MixingBlock(width, kernel, norm) for _ in range(blocks)))

    def forward(self, image: Tensor) -> Tensor:
        """Translate a batch (B, in_channels, H, W) into (B, out_channels, H, W)."""
        return self.head(self.blocks(self.stem(image)), image)


class ConvNeXtUNet(_Folded):
    """A U-Net of lean blocks: down by 2 × 2 convolutions, up by 1 × 1 and unfolding; skips are added, not joined.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.
    width : int
        Features at half the resolution; they double with every further halving up to 8 × width.
    downs : int
        Halvings, the first of them by folding. At least 2.
    blocks : int
        Blocks at each resolution, on the way down and again on the way up.
    kernel : int
        Side of their depthwise convolutions, odd.
    detail : int
        Features of the head at full resolution, at least 1.
    norm : {"instance", "channel", "none"}
        Normalisation.

    Attributes
    ----------
    multiple, smallest : int
        Rows and columns of the input must be multiples of this, and at least this: 2 ** downs.

    Notes
    -----
    Input (B, in_channels, H, W), output (B, out_channels, H, W), float in [-1, 1].
    """

    block: ClassVar[type[nn.Module]] = MixingBlock

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        width: int = 64,
        downs: int = 5,
        blocks: int = 1,
        kernel: int = 5,
        detail: int = 16,
        norm: str = "instance",
    ) -> None:
        super().__init__(2, in_channels, out_channels, width, detail, norm)
        self.multiple = self.smallest = 2**downs
        features = [width * min(2**level, 8) for level in range(downs)]

        def rung(level: int) -> nn.Module:
            return nn.Sequential(*(self.block(features[level], kernel, norm) for _ in range(blocks)))

        self.down_rungs = nn.ModuleList(rung(level) for level in range(downs))
        self.downs = nn.ModuleList(nn.Conv2d(features[n], features[n + 1], 2, 2) for n in range(downs - 1))
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(features[n + 1], 4 * features[n], 1), nn.PixelShuffle(2)) for n in range(downs - 1)
        )
        self.up_rungs = nn.ModuleList(rung(level) for level in range(downs - 1))

    def forward(self, image: Tensor) -> Tensor:
        """Translate a batch (B, in_channels, H, W) into (B, out_channels, H, W)."""
        now, skips = self.down_rungs[0](self.stem(image)), []
        for down, rung in zip(self.downs, self.down_rungs[1:], strict=True):
            skips.append(now)
            now = rung(down(now))
        for up, rung in zip(reversed(self.ups), reversed(self.up_rungs), strict=True):
            now = rung(up(now) + skips.pop())
        return self.head(now, image)


class GatedGenerator(ConvNeXtUNet):
    """The ladder with `GatedBlock`s: more work in a block, and no nonlinearity but products. Otherwise the same."""

    block: ClassVar[type[nn.Module]] = GatedBlock
