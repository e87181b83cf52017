"""Building blocks of the networks: normalisation, and convolutions with padding and activation."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-5  # as in torch's own normalisations


class ChannelNorm(nn.Module):
    """Normalise each pixel over its channels, then scale and shift each channel.

    Instance normalisation uses the mean and deviation of an image, so that the output at a pixel depends on the tile
    that is stained: in a tile of marrow only, the absolute brightness of marrow is lost. Here it depends on the pixel
    alone.

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
        """Return the normalised image, in the memory format of `image`."""
        if image.is_contiguous(memory_format=torch.channels_last):
            pixels = image.permute(0, 2, 3, 1)  # channels are contiguous: one pass is enough
            normalised = functional.layer_norm(pixels, pixels.shape[-1:], self.gain, self.bias, EPSILON)
            return normalised.permute(0, 3, 1, 2)
        variance, mean = torch.var_mean(image, dim=1, keepdim=True, correction=0)
        scaled = (image - mean) * torch.rsqrt(variance + EPSILON)
        return scaled * self.gain[:, None, None] + self.bias[:, None, None]


NormName = Literal["instance", "channel", "none"]
NORMS: dict[str, Callable[[int], nn.Module] | None] = {
    "instance": nn.InstanceNorm2d,
    "channel": ChannelNorm,
    "none": None,
}


def norm_layers(norm: NormName, features: int) -> list[nn.Module]:
    """Return a list with the normalisation layer for `features` channels, empty for "none"."""
    build = NORMS[norm]
    return [] if build is None else [build(features)]


def conv_norm_relu(inputs: int, outputs: int, kernel: int, *, stride: int = 1, norm: NormName) -> list[nn.Module]:
    """Return reflection padding, convolution, normalisation and ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride)
    return [nn.ReflectionPad2d(kernel // 2), convolution, *norm_layers(norm, outputs), nn.ReLU()]


def down_block(inputs: int, outputs: int, norm: NormName) -> nn.Module:
    """Return leaky ReLU, a 4 × 4 convolution of stride 2, and normalisation."""
    return nn.Sequential(nn.LeakyReLU(0.2), nn.Conv2d(inputs, outputs, 4, 2, 1), *norm_layers(norm, outputs))


Upsampling = Literal["transposed", "bilinear"]


def up_block(inputs: int, outputs: int, dropout: float, norm: NormName, upsampling: Upsampling) -> nn.Module:
    """Return ReLU, upsampling by 2, normalisation and dropout.

    "transposed" is a transposed 4 × 4 convolution of stride 2. Its output pixels at even and odd positions have
    different weights, so it can draw a lattice (Odena et al. 2016, DOI 10.23915/distill.00003). "bilinear" is a 3 × 3
    convolution and bilinear interpolation.
    """
    layers: list[nn.Module] = [nn.ReLU()]
    if upsampling == "transposed":
        layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), *norm_layers(norm, outputs)]
    else:
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
        layers += [convolution, *norm_layers(norm, outputs), nn.Upsample(scale_factor=2, mode="bilinear")]
    return nn.Sequential(*layers, *([nn.Dropout(dropout)] if dropout else []))
