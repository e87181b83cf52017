"""The ResNet generator of CycleGAN and the U-Net generator of pix2pix."""

from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from tomostain.networks.base import (
    Count,
    CountOrZero,
    DepthOrZero,
    Downsamplings,
    Generator,
    GeneratorSpec,
    Probability,
)
from tomostain.networks.layers import (
    GreyEncoding,
    Knots,
    NormName,
    ReflectionPad2d,
    Upsampling,
    conv_norm_relu,
    down_block,
    up_block,
)
from tomostain.networks.registry import register_generator

# Features of a narrowed network: normalisation over fewer channels removes most of the signal.
NARROW = 4


@register_generator("resnet")
class ResNetGenerator(Generator):
    """Johnson's residual generator as in CycleGAN: c7s1-w, d2w, d4w, R4w × blocks, u2w, uw, c7s1-out, tanh.

    Upsampling is nearest-neighbour × 2 and a 3 × 3 convolution, as in the paper's base code, instead of CycleGAN's
    transposed convolution: the same number of parameters without checkerboard artefacts. All padding is by reflection
    and of half the kernel's width, so the size is preserved for any number of channels.

    Parameters
    ----------
    spec : ResNetGenerator.Spec

    Notes
    -----
    Input (B, in_channels, H, W), output (B, out_channels, H, W), float in [-1, 1].
    Source: Zhu et al. 2017 (CycleGAN), appendix; Irvine et al., J. Synchrotron Rad. 2026, section 2.6.3.
    """

    class Spec(GeneratorSpec):
        """Arguments of `ResNetGenerator`.

        Attributes
        ----------
        in_channels, out_channels : int
            Channels of the input and of the output.
        width : int
            Features after the first layer (paper section 2.6.3: 64).
        blocks : int
            Residual blocks (paper: 9).
        norm : {"instance", "channel", "none"}
            Normalisation after each inner convolution. `ChannelNorm` does not depend on the rest of the image.
        """

        width: Count = 64
        blocks: DepthOrZero = 9
        norm: NormName = "instance"

        @property
        def size_multiple(self) -> int:
            """Two halvings: 4."""
            return 4

        @property
        def min_size_px(self) -> int:
            """Reflection needs 2 px at a quarter of the resolution: 8."""
            return 8

        @property
        def activation_bytes_per_pixel(self) -> int:
            """Four feature maps at full resolution."""
            return 16 * self.width

        def narrowed(self) -> Self:
            """Return the same specification with few features."""
            return self.model_copy(update={"width": NARROW})

    fusable: ClassVar[bool] = True

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        width, norm = spec.width, spec.norm
        layers = conv_norm_relu(spec.in_channels, width, 7, norm=norm)
        for features in (width, 2 * width):
            layers += conv_norm_relu(features, 2 * features, 3, stride=2, norm=norm)
        layers += [ResidualBlock(4 * width, norm) for _ in range(spec.blocks)]
        for features in (4 * width, 2 * width):
            layers += [nn.Upsample(scale_factor=2), *conv_norm_relu(features, features // 2, 3, norm=norm)]
        layers += [ReflectionPad2d(3), nn.Conv2d(width, spec.out_channels, 7), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        """Translate a batch (B, in_channels, H, W) into (B, out_channels, H, W)."""
        return self.layers(image)


class ResidualBlock(nn.Module):
    """Two 3 × 3 convolutions whose result is added to their input (B, features, H, W)."""

    def __init__(self, features: int, norm: NormName = "instance") -> None:
        super().__init__()
        first = conv_norm_relu(features, features, 3, norm=norm)
        second = conv_norm_relu(features, features, 3, norm=norm)[:-1]
        self.layers = nn.Sequential(*first, *second)

    def forward(self, image: Tensor) -> Tensor:
        """Return input + residual."""
        return image + self.layers(image)


@register_generator("unet")
class UNetGenerator(Generator):
    """The U-Net of pix2pix: `downs` halvings by 4 × 4 convolutions, mirrored by transposed ones, with skips.

    Dropout of 0.5 in the decoder below the fifth halving (three layers of eight) is active in training only: `eval()`
    turns it off. The paper's base code leaves it on when sampling, which makes the baseline weaker.

    Parameters
    ----------
    spec : UNetGenerator.Spec

    Notes
    -----
    Input (B, in_channels, H, W), output (B, out_channels, H, W), float in [-1, 1].
    Source: Isola et al. 2017 (pix2pix), appendix 6.1.1; Irvine et al., J. Synchrotron Rad. 2026, section 2.6.3.
    """

    class Spec(GeneratorSpec):
        """Arguments of `UNetGenerator`.

        Attributes
        ----------
        in_channels, out_channels : int
            Channels of the input and of the output.
        width : int
            Features after the first layer; they double up to 8 × width.
        downs : int
            Halvings: 8 reduces 256 px to one (pix2pix); fewer for smaller patches. At least 2.
        dropout : float
            Probability in the decoder below the fifth halving.
        norm : {"instance", "channel", "none"}
            Normalisation. pix2pix trained with batches of one, where batch and instance normalisation agree.
        detail : int
            Features of a head at full resolution that also sees the input image. It replaces the last transposed
            convolution, which draws a checkerboard (Odena et al. 2016, DOI 10.23915/distill.00003). 0: as in pix2pix.
        grey_knots : tuple of float
            Grey values of the input, increasing, in [-1, 1]: each adds a channel (`GreyEncoding`), so that the network
            need not learn to distinguish similar grey values. Empty: none.
        grey_channels : int
            Number of input channels that are encoded, beginning with the first; the others are noise. 0: all.
        upsampling : {"transposed", "bilinear"}
            In the decoder: transposed convolutions as in pix2pix, or convolutions and bilinear interpolation, which
            draw no lattice.
        """

        width: Count = 64
        downs: Downsamplings = 8
        dropout: Probability = 0.5
        norm: NormName = "instance"
        detail: CountOrZero = 0
        grey_knots: Knots = ()
        grey_channels: CountOrZero = 0
        upsampling: Upsampling = "transposed"

        @property
        def size_multiple(self) -> int:
            """2 ** downs."""
            return 2**self.downs

        @property
        def activation_bytes_per_pixel(self) -> int:
            """Four feature maps at full resolution."""
            return 16 * self.width

        def narrowed(self) -> Self:
            """Return the same specification with few features."""
            return self.model_copy(update={"width": NARROW, "detail": NARROW if self.detail else 0})

    fusable: ClassVar[bool] = True

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        downs, norm = spec.downs, spec.norm
        features = [spec.width * min(2**level, 8) for level in range(downs)]
        # Modules without weights do not change the names of the others in stored models.
        self.encoding = GreyEncoding(spec.grey_knots, spec.grey_channels) if spec.grey_knots else nn.Identity()
        encoded = spec.in_channels + (spec.grey_channels or spec.in_channels) * len(spec.grey_knots)
        self.first = nn.Conv2d(encoded, features[0], 4, 2, 1)
        self.down = nn.ModuleList(
            # The innermost may have one pixel, where a normalisation over pixels would leave nothing.
            down_block(features[level - 1], features[level], "none" if level == downs - 1 else norm)
            for level in range(1, downs)
        )
        self.up = nn.ModuleList(
            up_block(
                features[level] * (1 if level == downs - 1 else 2),
                features[level - 1],
                spec.dropout if level >= 5 else 0.0,  # pix2pix: CD512-CD512-CD512, the three innermost of eight
                norm,
                spec.upsampling,
            )
            for level in range(downs - 1, 0, -1)
        )
        inner = 2 * features[0]
        # The module names without the head are those of older models, which still load.
        self.head = DetailHead(inner, encoded, spec.detail, spec.out_channels) if spec.detail else None
        if not spec.detail:
            self.last = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(inner, spec.out_channels, 4, 2, 1), nn.Tanh())

    def forward(self, image: Tensor) -> Tensor:
        """Translate a batch (B, in_channels, H, W) into (B, out_channels, H, W)."""
        image = self.encoding(image)
        skips = [self.first(image)]
        for down in self.down:
            skips.append(down(skips[-1]))
        decoded = skips.pop()
        for up in self.up:
            decoded = torch.cat([up(decoded), skips.pop()], dim=1)
        return self.last(decoded) if self.head is None else self.head(decoded, image)


class DetailHead(nn.Module):
    """Bilinear upsampling from half the resolution, then two convolutions that also see the input image."""

    def __init__(self, inner: int, in_channels: int, features: int, out_channels: int) -> None:
        super().__init__()
        self.coarse = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(inner, features, 3, padding=1),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
        )
        self.fine = nn.Sequential(
            nn.Conv2d(features + in_channels, features, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(features, out_channels, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, decoded: Tensor, image: Tensor) -> Tensor:
        """Return (B, out_channels, H, W) from (B, inner, H / 2, W / 2) and the input (B, in_channels, H, W)."""
        return self.fine(torch.cat([self.coarse(decoded), image], dim=1))
