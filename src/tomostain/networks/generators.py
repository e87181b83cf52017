"""The generators: the ResNet of CycleGAN and the U-Net of pix2pix."""

import torch
from torch import Tensor, nn

from tomostain.networks.layers import conv_norm_relu, down_block, up_block


class ResNetGenerator(nn.Module):
    """Johnson's residual generator as CycleGAN uses it: c7s1-w, d2w, d4w, R4w × blocks, u2w, uw, c7s1-out, tanh.

    Upsampling is nearest-neighbour × 2 and a 3 × 3 convolution, as in the paper's base code, in place of CycleGAN's
    transposed convolution: the number of parameters is the same, the checkerboard is not drawn. All padding is by
    reflection and of the kernel's half width, so that any number of channels keeps its size.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.
    width : int
        Features after the first layer (paper section 2.6.3: 64).
    blocks : int
        Residual blocks (paper: 9).
    norm : {"instance", "channel", "none"}
        Normalisation after each inner convolution: `ChannelNorm` does not depend on what else is in the picture.

    Attributes
    ----------
    multiple : int
        Rows and columns of the input must be multiples of this: 4.
    smallest : int
        And at least this: 8.

    Notes
    -----
    Input (B, in_channels, H, W), output (B, out_channels, H, W), float in [-1, 1].
    Source: Zhu et al. 2017 (CycleGAN), appendix; Irvine et al., J. Synchrotron Rad. 2026, section 2.6.3.
    """

    multiple = 4
    smallest = 8

    def __init__(
        self, in_channels: int = 3, out_channels: int = 3, width: int = 64, blocks: int = 9, norm: str = "instance"
    ) -> None:
        super().__init__()
        layers = conv_norm_relu(in_channels, width, 7, norm=norm)
        for features in (width, 2 * width):
            layers += conv_norm_relu(features, 2 * features, 3, stride=2, norm=norm)
        layers += [ResidualBlock(4 * width, norm) for _ in range(blocks)]
        for features in (4 * width, 2 * width):
            layers += [nn.Upsample(scale_factor=2), *conv_norm_relu(features, features // 2, 3, norm=norm)]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, out_channels, 7), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        """Translate a batch (B, in_channels, H, W) into (B, out_channels, H, W)."""
        return self.layers(image)


class ResidualBlock(nn.Module):
    """Two 3 × 3 convolutions whose result is added to their input (B, features, H, W)."""

    def __init__(self, features: int, norm: str = "instance") -> None:
        super().__init__()
        first = conv_norm_relu(features, features, 3, norm=norm)
        second = conv_norm_relu(features, features, 3, norm=norm)[:-1]
        self.layers = nn.Sequential(*first, *second)

    def forward(self, image: Tensor) -> Tensor:
        """Return input + residual."""
        return image + self.layers(image)


class UNetGenerator(nn.Module):
    """The U-Net of pix2pix: `downs` halvings by 4 × 4 convolutions, mirrored by transposed ones, with skips.

    Dropout of 0.5 in the decoder below the fifth halving (three layers of eight) works while training only: `eval()`
    turns it off. The paper's base code leaves it on when sampling, which is no fair baseline.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.
    width : int
        Features after the first layer; they double up to 8 × width.
    downs : int
        Halvings: 8 brings 256 px to one (pix2pix); fewer for smaller patches. At least 2.
    dropout : float
        Probability in the decoder below the fifth halving.
    norm : {"instance", "channel", "none"}
        Normalisation. pix2pix trained with batches of one, where batch and instance normalisation agree.
    detail : int
        Features of a head at full resolution that sees the input itself, in place of the last transposed convolution,
        whose chequers (Odena et al. 2016, DOI 10.23915/distill.00003) nothing smooths; 0: as in pix2pix.

    Attributes
    ----------
    multiple : int
        Rows and columns of the input must be multiples of this: 2 ** downs.
    smallest : int
        And at least this: 2 ** downs.

    Notes
    -----
    Source: Isola et al. 2017 (pix2pix), appendix 6.1.1; Irvine et al., J. Synchrotron Rad. 2026, section 2.6.3.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        width: int = 64,
        downs: int = 8,
        dropout: float = 0.5,
        norm: str = "instance",
        detail: int = 0,
    ) -> None:
        super().__init__()
        features = [width * min(2**level, 8) for level in range(downs)]
        self.multiple = self.smallest = 2**downs
        self.first = nn.Conv2d(in_channels, features[0], 4, 2, 1)
        self.down = nn.ModuleList(
            # The innermost may be of one pixel, where a normalisation over pixels would leave nothing.
            down_block(features[level - 1], features[level], "none" if level == downs - 1 else norm)
            for level in range(1, downs)
        )
        self.up = nn.ModuleList(
            up_block(
                features[level] * (1 if level == downs - 1 else 2),
                features[level - 1],
                dropout if level >= 5 else 0.0,  # pix2pix: CD512-CD512-CD512, the three innermost of eight
                norm,
            )
            for level in range(downs - 1, 0, -1)
        )
        inner = 2 * features[0]
        # Without the head the modules are named as ever: stored models of before still load.
        self.head = DetailHead(inner, in_channels, detail, out_channels) if detail else None
        if not detail:
            self.last = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(inner, out_channels, 4, 2, 1), nn.Tanh())

    def forward(self, image: Tensor) -> Tensor:
        """Translate a batch (B, in_channels, H, W) into (B, out_channels, H, W)."""
        skips = [self.first(image)]
        for down in self.down:
            skips.append(down(skips[-1]))
        decoded = skips.pop()
        for up in self.up:
            decoded = torch.cat([up(decoded), skips.pop()], dim=1)
        return self.last(decoded) if self.head is None else self.head(decoded, image)


class DetailHead(nn.Module):
    """From half the resolution to the picture: enlarged smoothly, then drawn with the input itself in sight."""

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
        """Draw (B, out_channels, H, W) from (B, inner, H / 2, W / 2) and the input (B, in_channels, H, W)."""
        return self.fine(torch.cat([self.coarse(decoded), image], dim=1))
