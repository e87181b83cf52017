"""Normalisation, activation, enlarging and reflection padding as one layer with channels last, forward and backward.

The programs are those of `tomostain.networks.kernels.cuda.forward_programs` and `gradient_programs`. Nothing here waits
for the GPU, allocates by data, or searches for block sizes, so CUDA graphs can contain it.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from tomostain.networks.kernels.cuda import launch
from tomostain.networks.kernels.cuda.launch import (
    blocks_of,
    common_arguments,
    dense_channels_last,
    new_like,
    power_of_2,
    widest,
)
from tomostain.networks.kernels.cuda.plan import LayerPlan


def statistics(image: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return the mean and (variance + ε)^(-½) of each channel of each image, (B, C), at least in float32."""
    from tomostain.networks.kernels.cuda import forward_programs as programs

    batch, channels, height, width = image.shape
    pixels, blocks = height * width, blocks_of(batch, channels, height * width, launch.BLOCK)
    parts = image.new_empty((2, batch, blocks.pieces, channels), dtype=widest(image.dtype))
    result = image.new_empty((2, batch, channels), dtype=parts.dtype)
    common = common_arguments(image, blocks.pixels, blocks.channels)
    grid = (blocks.pieces, -(-channels // blocks.channels), batch)
    with torch.cuda.device_of(image):
        programs.moments[grid](image, parts[0], parts[1], pixels, channels, STEPS=blocks.steps, **common)
        few = _few(channels)
        programs.combine_moments[-(-channels // few), batch](
            parts[0], parts[1], result[0], result[1], pixels, channels, blocks.piece, blocks.pieces,
            EPS=eps, WIDE=common["WIDE"], PIECES=power_of_2(blocks.pieces), BLOCK_C=few, num_warps=launch.WARPS,
        )  # fmt: skip
    return result[0], result[1]


def _few(channels: int) -> int:
    """Return the channels of a block of the programs that combine pieces: many small blocks run side by side."""
    return min(8, power_of_2(channels))


def forward(
    image: Tensor, plan: LayerPlan, *, residual: Tensor | None = None, dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Compute the layer. Return the padded result, the plain one, mean and scale, each None if the layer has none.

    Parameters
    ----------
    image : Tensor, shape (B, C, H, W)
        With normalisation: channels last. Else any strides.
    plan : LayerPlan
    residual : Tensor, shape (B, C, H, W), optional
        Channels last; added before the activation.
    dtype : torch.dtype, optional
        Of the results; default: that of `image`.
    """
    from tomostain.networks.kernels.cuda import forward_programs as programs

    batch, channels, height, width = image.shape
    _check_size(image, plan)
    dtype = dtype or image.dtype
    mean, scale = (None, None) if plan.eps is None else statistics(image, plan.eps)
    rows, columns = (plan.up * side + 2 * plan.pad for side in (height, width))
    padded = new_like(image, (batch, channels, rows, columns), dtype)
    plain = new_like(image, image.shape, dtype) if plan.plain else None
    blocks = blocks_of(batch, channels, rows * columns, launch.BLOCK)
    grid = (-(-rows * columns // blocks.pixels), -(-channels // blocks.channels), batch)
    unused = image
    with torch.cuda.device_of(image):
        programs.write_padded[grid](
            image, _or(mean, unused), _or(scale, unused), _or(residual, unused), padded, _or(plain, unused),
            image.stride(0), image.stride(2), image.stride(3), image.stride(1),
            height, width, channels, plan.pad,
            NORM=mean is not None, RESIDUAL=residual is not None, PLAIN=plan.plain, SLOPE=plan.slope, UP=plan.up,
            **common_arguments(image, blocks.pixels, blocks.channels),
        )  # fmt: skip
    return padded, plain, mean, scale


def _or(tensor: Tensor | None, other: Tensor) -> Tensor:
    """Return `other` where a program does not use its argument."""
    return other if tensor is None else tensor


def _check_size(image: Tensor, plan: LayerPlan) -> None:
    """Raise if a side is too short for the padding, as torch does."""
    height, width = image.shape[-2:]
    if plan.pad >= plan.up * min(height, width):
        raise RuntimeError(f"reflection padding of {plan.pad} px needs a larger image than {height} × {width} px")
    if plan.eps is not None and height * width == 1:
        raise ValueError(f"instance normalisation needs more than one pixel; the image has shape {tuple(image.shape)}")


class Gradients(NamedTuple):
    """Gradients of the padded and of the plain result, channels last; None: 0."""

    padded: Tensor | None
    plain: Tensor | None


class Saved(NamedTuple):
    """What the backward pass needs: shape of the image, and what it depends on."""

    shape: torch.Size
    image: Tensor | None
    mean: Tensor | None
    scale: Tensor | None


def backward(
    gradients: Gradients, saved: Saved, plan: LayerPlan, *, dtype: torch.dtype, residual: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients of the image, with this data type, and of the residual, if there is one."""
    from tomostain.networks.kernels.cuda import gradient_programs as programs

    padded, plain = gradients
    mean, scale = saved.mean, saved.scale
    image = next(value for value in (saved.image, padded, plain) if value is not None)
    batch, channels, height, width = saved.shape
    pixels, blocks = height * width, blocks_of(batch, channels, height * width, launch.BLOCK_BACKWARD)
    result = new_like(image, saved.shape, dtype)
    common = common_arguments(image, blocks.pixels, blocks.channels) | {"SLOPE": plan.slope, "UP": plan.up}
    average = along = image
    across = -(-channels // blocks.channels)
    with torch.cuda.device_of(image):
        if plan.eps is not None:
            # The gradient of the residual; with enlarging, it also has fewer values than that of the result.
            sum_grad = new_like(image, saved.shape, image.dtype) if residual or plan.up != 1 else None
            parts = image.new_empty((2, batch, blocks.pieces, channels), dtype=widest(image.dtype))
            means = image.new_empty((2, batch, channels), dtype=parts.dtype)
            programs.gradient_sums[blocks.pieces, across, batch](
                _or(padded, image), _or(plain, image), image, mean, scale, _or(sum_grad, image), parts[0], parts[1],
                height, width, channels, plan.pad, STEPS=blocks.steps,
                PADDED=padded is not None, PLAIN=plain is not None,
                RESIDUAL=sum_grad is not None, **common,
            )  # fmt: skip
            few = _few(channels)
            programs.combine_sums[-(-channels // few), batch](
                parts[0], parts[1], means[0], means[1], channels, blocks.pieces, pixels,
                WIDE=common["WIDE"], PIECES=power_of_2(blocks.pieces), BLOCK_C=few, num_warps=launch.WARPS,
            )  # fmt: skip
            average, along = means[0], means[1]
            if sum_grad is not None:
                # Folded and activated already.
                padded, plain, common = None, sum_grad, common | {"SLOPE": 1.0}
        programs.gradient_of_source[-(-pixels // blocks.pixels), across, batch](
            _or(padded, image), _or(plain, image), image, _or(mean, image), _or(scale, image), average, along, result,
            height, width, channels, plan.pad,
            NORM=plan.eps is not None, PADDED=padded is not None, PLAIN=plain is not None, **common,
        )  # fmt: skip
    if not residual:
        return result, None
    return result, result if plan.eps is None else plain


class _Context(FunctionCtx):
    """What `_Fused` keeps for its backward pass."""

    saved_tensors: tuple[Tensor | None, Tensor | None, Tensor | None]
    shape: torch.Size
    plan: LayerPlan
    dtype: torch.dtype
    bias: tuple[torch.Size, torch.dtype] | None
    residual: bool


class _Fused(torch.autograd.Function):
    """`forward` and `backward` for autograd."""

    @staticmethod
    def forward(
        ctx: _Context,
        image: Tensor,
        residual: Tensor | None,
        bias: Tensor | None,
        plan: LayerPlan,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor | None]:
        padded, plain, mean, scale = forward(image, plan, residual=residual, dtype=dtype)
        # The gradient of padding does not depend on the image.
        is_linear = plan.eps is None and plan.slope == 1.0
        ctx.save_for_backward(None if is_linear else image, mean, scale)  # type: ignore[arg-type]
        ctx.plan, ctx.shape, ctx.dtype, ctx.residual = plan, image.shape, image.dtype, residual is not None
        ctx.bias = None if bias is None else (bias.shape, bias.dtype)
        ctx.set_materialize_grads(False)
        return padded, plain

    @staticmethod
    @once_differentiable
    def backward(
        ctx: _Context, padded: Tensor | None, plain: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        grads = Gradients(*(None if grad is None else dense_channels_last(grad) for grad in (padded, plain)))
        if grads.padded is None and grads.plain is None:
            return None, None, None, None, None
        image, *moments = ctx.saved_tensors
        saved = Saved(ctx.shape, None if image is None else dense_channels_last(image), *moments)
        to_image, to_residual = backward(grads, saved, ctx.plan, dtype=ctx.dtype, residual=ctx.residual)
        # A bias before a normalisation has no effect.
        to_bias = None if ctx.bias is None else to_image.new_zeros(ctx.bias[0], dtype=ctx.bias[1])
        return to_image, to_residual, to_bias, None, None


def fused(
    image: Tensor,
    plan: LayerPlan,
    *,
    residual: Tensor | None = None,
    bias: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Return the padded and the plain result of a layer, differentiable once.

    Parameters
    ----------
    image : Tensor, shape (B, C, H, W)
    plan : LayerPlan
    residual : Tensor, shape (B, C, H, W), optional
        Added before the activation. With an activation its gradient is not computed, so both together are refused.
    bias : Tensor, optional
        The bias of the preceding convolution, which left it out because the normalisation removes it. Its gradient is
        0.
    dtype : torch.dtype, optional
        Of the results; default: that of `image`.
    """
    if residual is not None and plan.slope != 1.0:
        raise ValueError("a residual with an activation is not supported")
    if plan.eps is not None:
        image = dense_channels_last(image)
    if residual is not None:
        residual = dense_channels_last(residual)
    if plan.plain and plan.up != 1:
        raise ValueError("`plain` is not supported with enlarging")
    if torch.is_grad_enabled() and any(value is not None and value.requires_grad for value in (image, residual, bias)):
        run: Callable[..., tuple[Tensor, Tensor | None]] = _Fused.apply
        return run(image, residual, bias, plan, dtype or image.dtype)
    return forward(image, plan, residual=residual, dtype=dtype)[:2]
