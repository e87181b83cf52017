"""What the networks are put together from: normalisation, and convolutions with what goes around them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-5  # as in torch's own normalisations


class ChannelNorm(nn.Module):
    """Normalise each pixel over its channels, then scale and shift each channel.

    Instance normalisation takes mean and deviation over a picture, so that what a pixel becomes depends on the tile it
    is stained in: where all is marrow, nothing says how bright marrow is. Here it depends on the pixel alone.

    Parameters
    ----------
    features : int
        Channels.

    Notes
    -----
    Input and output (B, features, H, W). Source: Ba et al. 2016 (layer normalisation), over channels only.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, image: Tensor) -> Tensor:
        """Return the normalised image, laid out in memory as `image` is."""
        if image.is_contiguous(memory_format=torch.channels_last):
            pixels = image.permute(0, 2, 3, 1)  # where channels are neighbours, one pass does it all
            normalised = functional.layer_norm(pixels, pixels.shape[-1:], self.gain, self.bias, EPSILON)
            return normalised.permute(0, 3, 1, 2)
        variance, mean = torch.var_mean(image, dim=1, keepdim=True, correction=0)
        scaled = (image - mean) * torch.rsqrt(variance + EPSILON)
        return scaled * self.gain[:, None, None] + self.bias[:, None, None]


NORMS: dict[str, Callable[[int], nn.Module] | None] = {
    "instance": nn.InstanceNorm2d,
    "channel": ChannelNorm,
    "none": None,
}


def norm_layers(norm: str, features: int) -> list[nn.Module]:
    """Return the normalisation of so many features, or nothing."""
    build = NORMS[norm]
    return [] if build is None else [build(features)]


def conv_norm_relu(inputs: int, outputs: int, kernel: int, *, stride: int = 1, norm: str) -> list[nn.Module]:
    """Reflect, convolve, normalise, rectify."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride)
    return [nn.ReflectionPad2d(kernel // 2), convolution, *norm_layers(norm, outputs), nn.ReLU()]


def down_block(inputs: int, outputs: int, norm: str) -> nn.Module:
    """Rectify, halve by a 4 × 4 convolution, normalise."""
    return nn.Sequential(nn.LeakyReLU(0.2), nn.Conv2d(inputs, outputs, 4, 2, 1), *norm_layers(norm, outputs))


def up_block(inputs: int, outputs: int, dropout: float, norm: str) -> nn.Module:
    """Rectify, double by a transposed 4 × 4 convolution, normalise, drop out."""
    layers = [nn.ReLU(), nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), *norm_layers(norm, outputs)]
    return nn.Sequential(*layers, *([nn.Dropout(dropout)] if dropout else []))
