"""Building blocks of the networks: normalisation, and convolutions with padding and activation."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, Field
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
        if image.is_cuda or image.is_contiguous(memory_format=torch.channels_last):
            # With channels last one pass is enough. On a GPU, the one kernel is worth a change of the memory format.
            pixels = image.permute(0, 2, 3, 1)
            normalised = functional.layer_norm(pixels, pixels.shape[-1:], self.gain, self.bias, EPSILON)
            return normalised.permute(0, 3, 1, 2)
        variance, mean = torch.var_mean(image, dim=1, keepdim=True, correction=0)
        scaled = (image - mean) * torch.rsqrt(variance + EPSILON)
        return scaled * self.gain[:, None, None] + self.bias[:, None, None]


def _check_increasing(knots: tuple[float, ...]) -> tuple[float, ...]:
    if len(knots) == 1 or any(b <= a for a, b in pairwise(knots)):
        raise ValueError("give at least two knots in increasing order, or none")
    return knots


Knots = Annotated[
    tuple[Annotated[float, Field(ge=-1, le=1)], ...], Field(max_length=256), AfterValidator(_check_increasing)
]
"""Increasing grey values in [-1, 1]: 2 to 256, or none."""


class GreyEncoding(nn.Module):
    """Add hat functions of the grey value as channels: 1 at one knot, 0 at the next ones, linear in between.

    Any piecewise linear function of the grey value between the knots is a linear combination of these channels. A
    convolution can distinguish soft tissues whose grey values differ by a hundredth of the range, and even apply a
    look-up table. Without them, a network with a normalisation per pixel needs thousands of patches to learn it.
    Outside the knots the outermost hats fall linearly to 0 over one more interval.

    Parameters
    ----------
    knots : sequence of float
        Increasing, at least two.
    channels : int
        Number of channels that are encoded, beginning with the first. 0 (default): all.

    Notes
    -----
    Input (B, C, H, W), output (B, C + channels · K, H, W): the input, then K channels for each encoded channel.

    Examples
    --------
    >>> encoding = GreyEncoding([-0.5, 0.5])
    >>> encoding(torch.tensor([-0.5, 0.0, 0.25, 0.5]).view(1, 1, 1, 4)).squeeze().tolist()
    [[-0.5, 0.0, 0.25, 0.5], [1.0, 0.5, 0.25, 0.0], [0.0, 0.5, 0.75, 1.0]]
    """

    knots: Tensor
    falling: Tensor
    rising: Tensor

    def __init__(self, knots: Sequence[float], channels: int = 0) -> None:
        super().__init__()
        self.channels = channels
        values = torch.tensor([float(knot) for knot in knots])
        gaps = values.diff()
        # Stored with the weights: models are built without memory first, and the file fills it.
        for name, part in (
            ("knots", values),
            ("falling", 1 / torch.cat([gaps, gaps[-1:]])),
            ("rising", 1 / torch.cat([gaps[:1], gaps])),
        ):
            self.register_buffer(name, part)

    def forward(self, image: Tensor) -> Tensor:
        """Return the image with its encoding."""
        encoded = image[:, : self.channels] if self.channels else image
        knots, falling, rising = (values[:, None, None] for values in (self.knots, self.falling, self.rising))
        difference = encoded.unsqueeze(2) - knots
        hats = (1 - torch.maximum(difference * falling, -difference * rising)).clamp(min=0)
        return torch.cat([image, hats.flatten(1, 2)], dim=1)


NormName = Literal["instance", "channel", "none"]
NORMS: dict[str, Callable[[int], nn.Module] | None] = {
    "instance": nn.InstanceNorm2d,
    "channel": ChannelNorm,
    "none": None,
}


class ReflectionPad2d(nn.ReflectionPad2d):
    """Reflection padding whose gradient has the same bits each time on a GPU, too, on request.

    Torch sums the gradient of its padding in no fixed order on a GPU. After
    ``torch.use_deterministic_algorithms(True)``, the borders are slices that are turned over, with the same result.
    """

    def forward(self, image: Tensor) -> Tensor:
        """Return an image (B, C, H, W) with reflected borders."""
        if image.is_cuda and torch.are_deterministic_algorithms_enabled():
            return reflect_by_slices(image, self.padding)
        return super().forward(image)


def reflect_by_slices(image: Tensor, padding: tuple[int, int, int, int]) -> Tensor:
    """Return an image (..., H, W) with borders (left, right, top, bottom), px, reflected about the outermost pixels.

    Examples
    --------
    >>> reflect_by_slices(torch.arange(3.0)[None], (2, 1, 0, 0)).tolist()
    [[2.0, 1.0, 0.0, 1.0, 2.0, 1.0]]
    """
    for axis, before, after in ((-1, *padding[:2]), (-2, *padding[2:])):
        size = image.shape[axis]
        first = image.narrow(axis, 1, before).flip(axis) if before else None
        last = image.narrow(axis, size - 1 - after, after).flip(axis) if after else None
        image = torch.cat([part for part in (first, image, last) if part is not None], dim=axis)
    return image


def norm_layers(norm: NormName, features: int) -> list[nn.Module]:
    """Return a list with the normalisation layer for `features` channels, empty for "none"."""
    build = NORMS[norm]
    return [] if build is None else [build(features)]


def conv_norm_relu(inputs: int, outputs: int, kernel: int, *, stride: int = 1, norm: NormName) -> list[nn.Module]:
    """Return reflection padding, convolution, normalisation and ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride)
    return [ReflectionPad2d(kernel // 2), convolution, *norm_layers(norm, outputs), nn.ReLU()]


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
