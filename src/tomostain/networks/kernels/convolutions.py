"""Convolution layers with fewer multiplications, for CPUs.

Each computes the result of `torch.nn.Conv2d` up to rounding (1.5e-6 of the result, forward and backward), with the same
weights under the same names.
"""

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

from tomostain.networks.kernels.winograd import conv3x3, tiles_of, transform_kernels

# For fewer tiles than this, transforming the kernels takes longer than the transform saves.
FEWEST_TILES = 48


class WinogradConv2d(nn.Conv2d):
    """A 3 × 3 convolution of stride 1 by `tomostain.networks.kernels.winograd`."""

    transformed: Tensor | None = None

    def freeze(self) -> None:
        """Transform the kernels once; call this only if the weights will not change again."""
        self.transformed = transform_kernels(self.weight.detach())

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, K, H - 2, W - 2) of an image (B, C, H, W)."""
        if self.transformed is None and tiles_of(image) < FEWEST_TILES:
            return super().forward(image)
        return conv3x3(image, self.weight, self.bias, self.transformed)


class _ViewContext(FunctionCtx):
    """Shapes and strides that `_View` keeps for its backward pass."""

    whole: tuple[torch.Size, tuple[int, ...]]
    part: tuple[tuple[int, ...], tuple[int, ...]]


class _View(torch.autograd.Function):
    """`Tensor.as_strided` without repeated elements. The general backward pass of torch takes ten times as long."""

    @staticmethod
    def forward(ctx: _ViewContext, image: Tensor, size: tuple[int, ...], steps: tuple[int, ...]) -> Tensor:
        ctx.whole, ctx.part = (image.shape, image.stride()), (size, steps)
        return image.as_strided(size, steps)

    @staticmethod
    @once_differentiable
    def backward(ctx: _ViewContext, grad: Tensor) -> tuple[Tensor, None, None]:
        to_image = grad.new_empty_strided(*ctx.whole).zero_()
        to_image.as_strided(*ctx.part).copy_(grad)
        return to_image, None, None


class UpsamplingConv2d(nn.Conv2d):
    """Nearest-neighbour × 2, reflection by 1 px and a 3 × 3 convolution, as four 2 × 2 convolutions of the small image.

    Enlarged pixels are equal in pairs. Two of the three rows that a kernel sees are therefore the same row of the
    image, and their weights are added beforehand: 16 multiplications instead of 36. Even and odd rows and columns of
    the result have one kernel each. (Sub-pixel convolution: Shi et al. 2016, arXiv:1609.07009.)
    """

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, K, 2 H, 2 W) of an image (B, C, H, W)."""
        # Reflection by 1 px of the enlarged image repeats the border of the image.
        padded = functional.pad(image, (1, 1, 1, 1), mode="replicate")
        kernels = phase_kernels(self.weight).flatten(0, 2)
        bias = None if self.bias is None else self.bias.repeat(4)
        phases = functional.conv2d(padded, kernels, bias)
        # Pixel (2 r + i, 2 c + j) of channel k is pixel (r + i, c + j) of phase (i, j) of channel k.
        (batch, height, width), features = (len(image), *image.shape[-2:]), self.out_channels
        of_image, of_channel, down, right = phases.stride()
        size = (batch, features, height, 2, width, 2)
        odd = (2 * features * of_channel + down, features * of_channel + right)
        interleaved = _View.apply(phases, size, (of_image, of_channel, down, odd[0], right, odd[1]))
        if of_channel > 1:
            return interleaved.reshape(batch, features, 2 * height, 2 * width)
        # Channels are last in memory: copy them in that order.
        return interleaved.permute(0, 2, 3, 4, 5, 1).reshape(batch, 2 * height, 2 * width, features).permute(0, 3, 1, 2)


def phase_kernels(weight: Tensor) -> Tensor:
    """Return kernels (2, 2, K, C, 2, 2) for the image that equal 3 × 3 kernels (K, C, 3, 3) on the enlarged image."""
    # Even rows of the result see the image's rows (r - 1, r, r), odd rows (r, r, r + 1).
    pairs = weight.new_tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])
    return torch.einsum("ipu,kcuv,jqv->ijkcpq", pairs, weight, pairs)


class RowsConv2d(nn.Conv2d):
    """A convolution to few channels: each row of the kernels is a separate kernel, and the results are added."""

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, K, H - R + 1, W - S + 1) of an image (B, C, H, W) with kernels of R × S."""
        outputs, inputs, rows, columns = self.weight.shape
        kernels = self.weight.permute(2, 0, 1, 3).reshape(rows * outputs, inputs, 1, columns)
        by_row = functional.conv2d(image, kernels)
        # Values that are added lie on the diagonals (row of the kernel, row of the image).
        height, width = image.shape[-2] - rows + 1, by_row.shape[-1]
        of_image, of_channel, down, right = by_row.stride()
        steps = (of_image, outputs * of_channel + down, of_channel, down, right)
        result = _View.apply(by_row, (len(image), rows, outputs, height, width), steps).sum(dim=1)
        return result if self.bias is None else result + self.bias[:, None, None]
