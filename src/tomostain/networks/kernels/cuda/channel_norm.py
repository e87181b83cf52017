"""`ChannelNorm` and the activation that follows it, as one layer with channels last, forward and backward."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from tomostain.networks.kernels.cuda.launch import (
    autocast_dtype,
    can_run,
    common_arguments,
    dense_channels_last,
    new_like,
    power_of_2,
)
from tomostain.networks.layers import EPSILON, ChannelNorm

_BLOCK, _BLOCK_BACKWARD = 4096, 2048
# Pieces of the pixels, whose gradients of gain and bias are summed afterwards.
_PIECES = 256
MAX_CHANNELS = 1024


class CudaChannelNorm(ChannelNorm):
    """A `ChannelNorm` that computes with channels last, followed by a leaky ReLU.

    Under autocast the result has its data type; torch's layer normalisation would return float32.

    Parameters
    ----------
    norm : ChannelNorm
        Gives its weights.
    slope : float
        0: ReLU, 1: no activation.
    """

    def __init__(self, norm: ChannelNorm, slope: float) -> None:
        super().__init__(0)
        self.gain, self.bias, self.slope = norm.gain, norm.bias, slope
        self.train(norm.training)

    def forward(self, image: Tensor) -> Tensor:
        """Return the result for an image (B, C, H, W)."""
        if not can_run(image):
            return torch.nn.functional.leaky_relu(super().forward(image), self.slope)
        dtype = autocast_dtype(image) or image.dtype
        result: Tensor = _Norm.apply(dense_channels_last(image), self.gain, self.bias, self.slope, dtype)
        return result


class _Context(FunctionCtx):
    """What `_Norm` keeps for its backward pass."""

    saved_tensors: tuple[Tensor, Tensor, Tensor]
    slope: float


class _Norm(torch.autograd.Function):
    """The programs of `tomostain.networks.kernels.cuda.channel_programs` for autograd."""

    @staticmethod
    def forward(ctx: _Context, image: Tensor, gain: Tensor, bias: Tensor, slope: float, dtype: torch.dtype) -> Tensor:
        pixels, channels = image.numel() // image.shape[1], image.shape[1]
        result = new_like(image, image.shape, dtype)
        common = _arguments(image, slope, _BLOCK)
        with torch.cuda.device_of(image):
            _programs().normalise[(-(-pixels // common["BLOCK_P"]),)](
                image, gain, bias, result, pixels, channels, **common
            )
        ctx.save_for_backward(image, gain, bias)
        ctx.slope = slope
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        image, gain, bias = ctx.saved_tensors
        grad = dense_channels_last(grad)
        pixels, channels = image.numel() // image.shape[1], image.shape[1]
        result = new_like(image, image.shape, image.dtype)
        common = _arguments(image, ctx.slope, _BLOCK_BACKWARD)
        steps = power_of_2(-(-pixels // (_PIECES * common["BLOCK_P"])))
        pieces = -(-pixels // (steps * common["BLOCK_P"]))
        parts = image.new_empty((2, pieces, channels), dtype=torch.promote_types(image.dtype, torch.float32))
        with torch.cuda.device_of(image):
            _programs().gradients[(pieces,)](
                image, grad, gain, bias, result, parts[0], parts[1], pixels, channels, STEPS=steps, **common
            )
        to_gain, to_bias = parts.sum(dim=1).to(gain.dtype)
        return result, to_gain, to_bias, None, None


def _programs() -> Any:
    from tomostain.networks.kernels.cuda import channel_programs

    return channel_programs


def _arguments(image: Tensor, slope: float, values: int) -> dict[str, Any]:
    block_c = power_of_2(image.shape[1])
    return common_arguments(image, max(1, values // block_c), block_c) | {"SLOPE": slope, "EPS": EPSILON}
