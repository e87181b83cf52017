"""The same convolutions with fewer multiplications, for CPUs, and putting them into a network where they pay.

Each is exact: it computes what torch's own does, but for rounding (1.5e-6 of the result, forward and backward), with
the same weights under the same names. Wide networks, and those that normalise over channels, also gain from having
channels last in memory. What it saves, and where it does not: docs/explanation/speed.md.
"""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from tomostain.networks.kernels.instance_norm import PixelwiseInstanceNorm2d
from tomostain.networks.kernels.winograd import conv3x3, tiles_of, transform_kernels
from tomostain.networks.layers import ChannelNorm

N = TypeVar("N", bound=nn.Module)

# Narrower than this, Winograd's transforms cost more than they save, and channels better come first in memory.
WIDE = 256
# To transform the kernels anew for fewer tiles than this takes longer than they save.
FEWEST_TILES = 48
# So few channels out leave torch's own kernels idle, which work on 16 at once.
ROW_CHANNELS = 4


class WinogradConv2d(nn.Conv2d):
    """A 3 × 3 convolution of stride 1 by `tomostain.networks.kernels.winograd`."""

    transformed: Tensor | None = None

    def freeze(self) -> None:
        """Transform the kernels once for all: they stay as they are from now on."""
        self.transformed = transform_kernels(self.weight.detach())

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, K, H - 2, W - 2) of an image (B, C, H, W)."""
        if self.transformed is None and tiles_of(image) < FEWEST_TILES:
            return super().forward(image)
        return conv3x3(image, self.weight, self.bias, self.transformed)


class _View(torch.autograd.Function):
    """`Tensor.as_strided` where no element is met twice: torch has to find that out, at ten times the time back."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, size: tuple[int, ...], steps: tuple[int, ...]) -> Tensor:
        ctx.whole, ctx.part = (image.shape, image.stride()), (size, steps)
        return image.as_strided(size, steps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        to_image = grad.new_empty_strided(*ctx.whole).zero_()
        to_image.as_strided(*ctx.part).copy_(grad)
        return to_image, None, None


class UpsamplingConv2d(nn.Conv2d):
    """Nearest-neighbour × 2, reflection by 1 px and a 3 × 3 convolution, as four 2 × 2 convolutions of the small image.

    Enlarged pixels are equal in pairs, so that of the three rows a kernel sees two are always the same row of the
    image, and their weights can be added beforehand: 16 multiplications in place of 36. The even and the odd rows and
    columns of the result have a kernel each. (Sub-pixel convolution: Shi et al. 2016, arXiv:1609.07009.)
    """

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, K, 2 H, 2 W) of an image (B, C, H, W)."""
        # What reflection puts around the enlarged image is its own border once more.
        padded = functional.pad(image, (1, 1, 1, 1), mode="replicate")
        kernels = phase_kernels(self.weight).flatten(0, 2)
        bias = None if self.bias is None else self.bias.repeat(4)
        phases = functional.conv2d(padded, kernels, bias)
        # Pixel (2 r + i, 2 c + j) of channel k is pixel (r + i, c + j) of phase (i, j) of channel k.
        (batch, height, width), features = (len(image), *image.shape[-2:]), self.out_channels
        of_image, of_channel, down, right = phases.stride()
        size = (batch, features, height, 2, width, 2)
        odd = (2 * features * of_channel + down, features * of_channel + right)
        woven = _View.apply(phases, size, (of_image, of_channel, down, odd[0], right, odd[1]))
        if of_channel > 1:
            return woven.reshape(batch, features, 2 * height, 2 * width)
        # As the channels lie together, so they are copied.
        return woven.permute(0, 2, 3, 4, 5, 1).reshape(batch, 2 * height, 2 * width, features).permute(0, 3, 1, 2)


def phase_kernels(weight: Tensor) -> Tensor:
    """Return what 3 × 3 kernels (K, C, 3, 3) on the enlarged image are on the image itself: (2, 2, K, C, 2, 2)."""
    # Even rows of the result see the image's rows (r - 1, r, r), odd rows (r, r, r + 1).
    pairs = weight.new_tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])
    return torch.einsum("ipu,kcuv,jqv->ijkcpq", pairs, weight, pairs)


class RowsConv2d(nn.Conv2d):
    """A convolution to few channels as one to many: each row of the kernels by itself, the results added row by row."""

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, K, H - R + 1, W - S + 1) of an image (B, C, H, W) with kernels of R × S."""
        outputs, inputs, rows, columns = self.weight.shape
        kernels = self.weight.permute(2, 0, 1, 3).reshape(rows * outputs, inputs, 1, columns)
        by_row = functional.conv2d(image, kernels)
        # Along the diagonals (row of the kernel, row of the image) lies what belongs together.
        height, width = image.shape[-2] - rows + 1, by_row.shape[-1]
        of_image, of_channel, down, right = by_row.stride()
        steps = (of_image, outputs * of_channel + down, of_channel, down, right)
        result = _View.apply(by_row, (len(image), rows, outputs, height, width), steps).sum(dim=1)
        return result if self.bias is None else result + self.bias[:, None, None]


def accelerate(network: N, *, frozen: bool = False) -> N:
    """Put fast convolutions into a network in place of torch's, in place, where they pay on a CPU.

    Weights and their names stay: checkpoints and models are the same with and without. Wide networks and those with
    `ChannelNorm` get their weights with channels last, and so compute; images go in and come out as ever.

    Parameters
    ----------
    network : nn.Module
        On a CPU.
    frozen : bool
        The weights will never change again, so that what depends on them alone can be computed now.

    Returns
    -------
    nn.Module
        `network`.

    Examples
    --------
    >>> accelerate(nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(256, 256, 3), nn.ReLU()))
    Sequential(
      (0): ReflectionPad2d((1, 1, 1, 1))
      (1): WinogradConv2d(256, 256, kernel_size=(3, 3), stride=(1, 1))
      (2): ReLU()
    )
    """
    for layers in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for place, layer in enumerate(layers):
            if type(layer) is not nn.Conv2d or not _is_plain(layer):
                continue
            if _follows_upsampling(layers, place):
                layers[place - 2] = layers[place - 1] = nn.Identity()
                layers[place] = _take_over(UpsamplingConv2d, layer)
            elif layer.kernel_size[0] > 3 and layer.out_channels <= ROW_CHANNELS:
                layers[place] = _take_over(RowsConv2d, layer)
            elif layer.kernel_size == (3, 3) and min(layer.in_channels, layer.out_channels) >= WIDE:
                layers[place] = fast = _take_over(WinogradConv2d, layer)
                if frozen:
                    fast.freeze()
    return arrange(network)


def arrange(network: N) -> N:
    """Put channels last where that pays, and nothing else: for half precision, which has no fast convolutions here."""
    return put_channels_last(network) if _gains_from_channels_last(network) else network


def put_channels_last(network: N) -> N:
    """Have a network compute with channels last in memory, in place; images go in and come out as ever."""
    for chain in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for place, layer in enumerate(chain):
            if type(layer) is nn.InstanceNorm2d and not layer.affine and not layer.track_running_stats:
                chain[place] = PixelwiseInstanceNorm2d(layer.num_features, layer.eps)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # What is done with the result would be slow otherwise.
    network.register_forward_hook(_channels_first)
    return network


def _gains_from_channels_last(network: nn.Module) -> bool:
    """Whether it normalises over channels, or has many: a few of them lie better each by itself."""
    modules = list(network.modules())
    wide = any(isinstance(layer, nn.Conv2d) and layer.out_channels >= WIDE for layer in modules)
    return wide or any(isinstance(layer, ChannelNorm) for layer in modules)


def _channels_first(network: nn.Module, inputs: Any, result: Tensor) -> Tensor:
    return result.contiguous()


def _is_plain(layer: nn.Conv2d) -> bool:
    """Whether a convolution has neither stride, padding, dilation nor groups."""
    return layer.stride == layer.dilation == (1, 1) and layer.padding == (0, 0) and layer.groups == 1


def _follows_upsampling(layers: nn.Sequential, place: int) -> bool:
    if place < 2 or layers[place].kernel_size != (3, 3):
        return False
    enlarge, pad = layers[place - 2], layers[place - 1]
    nearest = isinstance(enlarge, nn.Upsample) and enlarge.mode == "nearest" and enlarge.scale_factor == 2
    return nearest and isinstance(pad, nn.ReflectionPad2d) and pad.padding == (1, 1, 1, 1)


C = TypeVar("C", bound=nn.Conv2d)


def _take_over(kind: type[C], layer: nn.Conv2d) -> C:
    """Build another kind of convolution around the weights of this one."""
    bias = layer.bias is not None
    fast = kind(layer.in_channels, layer.out_channels, layer.kernel_size, bias=bias, device="meta")  # type: ignore[arg-type]
    fast.weight, fast.bias = layer.weight, layer.bias
    return fast.train(layer.training)
