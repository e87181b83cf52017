"""Efficient generators: fewer multiply-adds for each pixel than the full 3 × 3 convolutions of the ResNet.

Three ways of saving are combined. Pixels are folded into channels first (pixel-unshuffle: Shi et al. 2016,
arXiv:1609.05158), so most of the work is done on a quarter or a sixteenth of the pixels. Spatial filtering and mixing
of channels are separate layers, a depthwise convolution and 1 × 1 convolutions (`MixingBlock`: Liu et al. 2022,
arXiv:2201.03545; `GatedBlock`: Chen et al. 2022, arXiv:2204.04676). The last two convolutions are narrow, see the input
image at full resolution, and draw the detail.

None of them averages over the image (NAFNet's channel attention is left out for that reason). With ``norm: channel`` or
``none`` the output at a pixel depends only on its neighbourhood (`tomostain.tiling.exact`). For measured quality and
cost see docs/explanation/lean.md.
"""

from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from tomostain.networks.base import Count, DepthOrZero, Downsamplings, Generator, GeneratorSpec, OddKernel
from tomostain.networks.generators import NARROW
from tomostain.networks.layers import NormName, norm_layers
from tomostain.networks.registry import register_generator


class MixingBlock(nn.Module):
    """ConvNeXt block: depthwise convolution, normalisation, two 1 × 1 convolutions, added to the input.

    Parameters
    ----------
    features : int
        Channels in and out: (B, features, H, W).
    kernel : int
        Side of the depthwise convolution, odd.
    norm : {"instance", "channel", "none"}
        Normalisation.
    """

    def __init__(self, features: int, kernel: int, norm: NormName) -> None:
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
    """NAFNet block: two residual branches whose only nonlinearity is a product of channels.

    The first branch has a depthwise convolution, the second only 1 × 1 convolutions.

    Parameters and shapes as `MixingBlock`.
    """

    def __init__(self, features: int, kernel: int, norm: NormName) -> None:
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
    """Pixel shuffle to full resolution, then two convolutions that also see the input image.

    Pixel shuffle alone shows the grid of the folded pixels; two 3 × 3 convolutions across it remove that.
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
        """Return (B, out_channels, H, W) from (B, C, H / fold, W / fold) and the image (B, in_channels, H, W)."""
        return self.fine(torch.cat([self.coarse(folded), image], dim=1))


class FoldedSpec(GeneratorSpec):
    """Arguments that the efficient generators share.

    Attributes
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.
    width : int
        Features of the blocks; for U-Nets at half the resolution, doubling with every further halving up to 8 × width.
    kernel : int
        Side of the depthwise convolutions, odd.
    detail : int
        Features of the head at full resolution, at least 1.
    norm : {"instance", "channel", "none"}
        Normalisation.
    """

    width: Count = 64
    kernel: OddKernel = 5
    detail: Count = 16
    norm: NormName = "instance"

    @property
    def activation_bytes_per_pixel(self) -> int:
        """Four feature maps at full resolution."""
        return 16 * self.width

    def narrowed(self) -> Self:
        """Return the same specification with few features."""
        return self.model_copy(update={"width": NARROW, "detail": NARROW})


class _Folded(Generator):
    """Base of the efficient generators: the stem that folds pixels into channels, the head, and the initial weights."""

    def __init__(self, spec: FoldedSpec, fold: int) -> None:
        super().__init__(spec)
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(fold),
            nn.Conv2d(spec.in_channels * fold**2, spec.width, 3, padding=1),
            *norm_layers(spec.norm, spec.width),
        )
        self.head = UnfoldingHead(spec.width, fold, spec.in_channels, spec.detail, spec.out_channels)

    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw weights from N(0, 1 / fan-in), which preserves the scale of the signal; biases are 0.

        With the N(0, 0.02) of the GAN literature, products of channels would vanish.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, module.weight[0].numel() ** -0.5, generator=generator)
                assert module.bias is not None
                nn.init.zeros_(module.bias)


@register_generator("shuffle")
class ShuffleGenerator(_Folded):
    """Pixels folded four by four into channels, blocks of large depthwise kernels, and unfolding.

    Parameters
    ----------
    spec : ShuffleGenerator.Spec

    Notes
    -----
    Input (B, in_channels, H, W), output (B, out_channels, H, W), float in [-1, 1].
    """

    class Spec(FoldedSpec):
        """Arguments of `ShuffleGenerator`: those of `FoldedSpec`, and the number of blocks.

        Attributes
        ----------
        blocks : int
            Number of `MixingBlock`; each adds 4 · (kernel // 2) px to the receptive field on each side.
        """

        width: Count = 128
        blocks: DepthOrZero = 6
        kernel: OddKernel = 7

        @property
        def size_multiple(self) -> int:
            """The fold: 4."""
            return 4

    fusable: ClassVar[bool] = True

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec, 4)
        self.blocks = nn.Sequential(*(MixingBlock(spec.width, spec.kernel, spec.norm) for _ in range(spec.blocks)))

    def forward(self, image: Tensor) -> Tensor:
        """Translate a batch (B, in_channels, H, W) into (B, out_channels, H, W)."""
        return self.head(self.blocks(self.stem(image)), image)


@register_generator("convnext-unet", "ladder")
class ConvNeXtUNet(_Folded):
    """A U-Net of `MixingBlock`: down by 2 × 2 convolutions, up by 1 × 1 and pixel shuffle; skips are added.

    Parameters
    ----------
    spec : ConvNeXtUNet.Spec

    Notes
    -----
    Input (B, in_channels, H, W), output (B, out_channels, H, W), float in [-1, 1]. Its older name in specifications,
    "ladder", remains valid.
    """

    class Spec(FoldedSpec):
        """Arguments of `ConvNeXtUNet`: those of `FoldedSpec`, and the depth.

        Attributes
        ----------
        downs : int
            Halvings, the first of them by folding. At least 2.
        blocks : int
            Blocks at each resolution of the encoder, and again of the decoder.
        """

        downs: Downsamplings = 5
        blocks: DepthOrZero = 1

        @property
        def size_multiple(self) -> int:
            """2 ** downs."""
            return 2**self.downs

    fusable: ClassVar[bool] = True
    block: ClassVar[type[MixingBlock] | type[GatedBlock]] = MixingBlock

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec, 2)
        downs = spec.downs
        features = [spec.width * min(2**level, 8) for level in range(downs)]

        def stage(level: int) -> nn.Module:
            return nn.Sequential(*(self.block(features[level], spec.kernel, spec.norm) for _ in range(spec.blocks)))

        # The module names are those of stored models.
        self.down_rungs = nn.ModuleList(stage(level) for level in range(downs))
        self.downs = nn.ModuleList(nn.Conv2d(features[n], features[n + 1], 2, 2) for n in range(downs - 1))
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(features[n + 1], 4 * features[n], 1), nn.PixelShuffle(2)) for n in range(downs - 1)
        )
        self.up_rungs = nn.ModuleList(stage(level) for level in range(downs - 1))

    def forward(self, image: Tensor) -> Tensor:
        """Translate a batch (B, in_channels, H, W) into (B, out_channels, H, W)."""
        value, skips = self.down_rungs[0](self.stem(image)), []
        for down, stage in zip(self.downs, self.down_rungs[1:], strict=True):
            skips.append(value)
            value = stage(down(value))
        for up, stage in zip(reversed(self.ups), reversed(self.up_rungs), strict=True):
            value = stage(up(value) + skips.pop())
        return self.head(value, image)


@register_generator("gated")
class GatedGenerator(ConvNeXtUNet):
    """`ConvNeXtUNet` with `GatedBlock`: more work in each block, and products as the only nonlinearity."""

    fusable: ClassVar[bool] = True
    block = GatedBlock
