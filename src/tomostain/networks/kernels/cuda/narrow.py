"""Convolutions of few channels, for tensor cores: neighbouring pixels become channels.

Tensor cores multiply blocks of many channels. For 3 channels most of a block is zeros: the two 7 × 7 convolutions of
the paper's generator have 3 % of the multiplications and take a quarter of the time. Here, the rows that a kernel sees
become channels of the input (`GatheringConv2d`), or each row of the kernels becomes a separate output
(`RowSumConv2d`; `tomostain.networks.kernels.convolutions.RowsConv2d` is the same for CPUs).
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

from tomostain.networks.kernels.cuda.launch import (
    autocast_dtype,
    can_run,
    common_arguments,
    dense_channels_last,
    new_like,
    power_of_2,
)
from tomostain.networks.kernels.cuda.layers import CudaConv2d

_BLOCK = 2048
# The number of channels is a multiple of this.
_CHANNELS = 8
# Channels of the input of a convolution of stride 2 or more, all its taps together.
MAX_TAPS = 128


def _pays(image: Tensor) -> bool:
    """Whether the programs can run and the values have 16 bits; float64 is for tests."""
    return can_run(image) and (autocast_dtype(image) or image.dtype) != torch.float32


def _rounded_up(channels: int) -> int:
    return -(-channels // _CHANNELS) * _CHANNELS


class GatheringConv2d(CudaConv2d):
    """A convolution of few input channels. Those that its kernel sees in a column, or at all, become one pixel.

    Attributes
    ----------
    reflection : int
        Reflection padding before the convolution, px; 0: its own padding, with zeros.
    """

    reflection: int = 0

    @staticmethod
    def suits(layer: nn.Conv2d) -> bool:
        """Whether a convolution should be computed in this way."""
        rows, columns = layer.kernel_size
        taps = layer.in_channels * rows * columns
        if layer.in_channels >= _CHANNELS or not _is_plain(layer) or layer.stride[0] != layer.stride[1]:
            return False
        return rows >= 5 if layer.stride == (1, 1) else taps <= MAX_TAPS

    def forward(self, image: Tensor) -> Tensor:
        """Return the convolution of an image (B, C, H, W)."""
        if not _pays(image):
            if self.reflection:
                image = functional.pad(image, (self.reflection,) * 4, mode="reflect")
            return super().forward(image)
        rows, columns = self.kernel_size
        taps = Taps(
            rows, columns if self.stride[0] > 1 else 1, self.stride[0], self.reflection or int(self.padding[0]),
            self.reflection > 0,
        )  # fmt: skip
        gathered: Tensor = _Gather.apply(image, taps, autocast_dtype(image) or image.dtype)
        weight = self.transformed if self.transformed is not None else self.transform()
        return functional.conv2d(gathered, weight, self.used_bias)

    def transform(self) -> Tensor:
        """Return the kernels for the gathered input."""
        outputs, inputs, rows, columns = self.weight.shape
        if self.stride[0] > 1:
            weight = self.weight.permute(0, 2, 3, 1).reshape(outputs, rows * columns * inputs, 1, 1)
        else:
            weight = self.weight.permute(0, 2, 1, 3).reshape(outputs, rows * inputs, 1, columns)
        return _filled(weight, 1)


class RowSumConv2d(CudaConv2d):
    """A convolution of few output channels. Each row of the kernels is a separate kernel, and results are added."""

    @staticmethod
    def suits(layer: nn.Conv2d) -> bool:
        """Whether a convolution should be computed in this way."""
        rows = layer.kernel_size[0]
        few = layer.out_channels * rows <= 4 * _CHANNELS
        return few and rows >= 5 and layer.stride == (1, 1) and layer.padding == (0, 0) and _is_plain(layer)

    def forward(self, image: Tensor) -> Tensor:
        """Return the convolution of an image (B, C, H, W)."""
        if not _pays(image):
            return super().forward(image)
        weight = self.transformed if self.transformed is not None else self.transform()
        result: Tensor = _SumRows.apply(
            functional.conv2d(image, weight), self.used_bias, self.kernel_size[0], self.out_channels
        )
        return result

    def transform(self) -> Tensor:
        """Return the kernels, one for each row."""
        outputs, inputs, rows, columns = self.weight.shape
        return _filled(self.weight.permute(2, 0, 1, 3).reshape(rows * outputs, inputs, 1, columns), 0)


def _is_plain(layer: nn.Conv2d) -> bool:
    if layer.dilation != (1, 1) or layer.groups != 1 or layer.padding_mode != "zeros":
        return False
    return not isinstance(layer.padding, str) and layer.padding[0] == layer.padding[1]


def _filled(weight: Tensor, axis: int) -> Tensor:
    """Return kernels with zeros up to a multiple of 8 channels along an axis, with channels last."""
    size = weight.shape[axis]
    more = _rounded_up(size) - size
    weight = functional.pad(weight, (0, 0, 0, 0, 0, more) if axis == 1 else (0, 0, 0, 0, 0, 0, 0, more))
    return weight.contiguous(memory_format=torch.channels_last)


class Taps(NamedTuple):
    """What becomes one pixel: rows × columns every `stride` pixels of the padded image."""

    rows: int
    columns: int
    stride: int
    pad: int
    reflects: bool


class _GatherContext(FunctionCtx):
    """What `_Gather` keeps for its backward pass."""

    taps: Taps
    shape: torch.Size
    dtype: torch.dtype


class _Gather(torch.autograd.Function):
    """(B, C, H, W) → (B, rows · columns · C or more, H', W')."""

    @staticmethod
    def forward(ctx: _GatherContext, image: Tensor, taps: Taps, dtype: torch.dtype) -> Tensor:
        ctx.taps, ctx.shape, ctx.dtype = taps, image.shape, image.dtype
        batch, channels, height, width = image.shape
        if taps.reflects and taps.pad >= min(height, width):
            raise RuntimeError(f"reflection padding of {taps.pad} px needs a larger image than {height} × {width} px")
        rows = (height + 2 * taps.pad - taps.rows) // taps.stride + 1
        columns = (width + 2 * taps.pad - taps.columns) // taps.stride + 1
        outputs = _rounded_up(taps.rows * taps.columns * channels)
        result = new_like(image, (batch, outputs, rows, columns), dtype)
        block_c = min(32, power_of_2(outputs))
        block_p = _BLOCK // block_c
        with torch.cuda.device_of(image):
            _programs().gather[-(-rows * columns // block_p), -(-outputs // block_c), batch](
                image, result, image.stride(0), image.stride(2), image.stride(3), image.stride(1),
                height, width, channels, outputs // _CHANNELS, rows, columns, taps.pad,
                R=taps.rows, S=taps.columns, STRIDE=taps.stride, REFLECT=taps.reflects, BLOCK_P=block_p,
                BLOCK_C=block_c,
            )  # fmt: skip
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: _GatherContext, grad: Tensor) -> tuple[Tensor, None, None]:
        batch, channels, height, width = ctx.shape
        taps, grad = ctx.taps, dense_channels_last(grad)
        result = new_like(grad, ctx.shape, ctx.dtype)
        block_c = power_of_2(channels)
        common = common_arguments(grad, _BLOCK // 4 // block_c, block_c)
        with torch.cuda.device_of(grad):
            _programs().gather_gradient[-(-height * width // common["BLOCK_P"]), batch](
                grad, result, height, width, channels, grad.shape[1], grad.shape[2], grad.shape[3], taps.pad,
                R=taps.rows, S=taps.columns, STRIDE=taps.stride, COPIES=3 if taps.reflects else 1, **common,
            )  # fmt: skip
        return result, None, None


class _SumRowsContext(FunctionCtx):
    """What `_SumRows` keeps for its backward pass."""

    shape: torch.Size
    rows: int
    has_bias: bool


class _SumRows(torch.autograd.Function):
    """(B, rows · outputs or more, H, W) → (B, outputs, H - rows + 1, W)."""

    @staticmethod
    def forward(ctx: _SumRowsContext, image: Tensor, bias: Tensor | None, rows: int, outputs: int) -> Tensor:
        image = dense_channels_last(image)
        ctx.shape, ctx.rows, ctx.has_bias = image.shape, rows, bias is not None
        batch, channels, height, width = image.shape
        height -= rows - 1
        result = new_like(image, (batch, outputs, height, width), image.dtype)
        block_c = power_of_2(outputs)
        common = common_arguments(image, _BLOCK // block_c, block_c)
        with torch.cuda.device_of(image):
            _programs().sum_rows[-(-height * width // common["BLOCK_P"]), batch](
                image, image if bias is None else bias, result, height, width, channels, outputs,
                R=rows, BIAS=bias is not None, **common,
            )  # fmt: skip
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: _SumRowsContext, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        batch, channels, height, width = ctx.shape
        grad = dense_channels_last(grad)
        result = new_like(grad, ctx.shape, grad.dtype)
        block_c = power_of_2(channels)
        block_p = _BLOCK // block_c
        with torch.cuda.device_of(grad):
            _programs().spread_rows[-(-height * width // block_p), batch](
                grad, result, grad.shape[2], width, channels // _CHANNELS, grad.shape[1], R=ctx.rows, BLOCK_P=block_p,
                BLOCK_C=block_c,
            )  # fmt: skip
        wide = torch.promote_types(grad.dtype, torch.float32)
        to_bias = grad.sum(dim=(0, 2, 3), dtype=wide) if ctx.has_bias else None
        return result, to_bias, None, None


def _programs() -> Any:
    from tomostain.networks.kernels.cuda import narrow_programs

    return narrow_programs
