"""The receptive field of a network: by its formula for a chain of convolutions, and measured for any network."""

import torch
from torch import Tensor, nn

_MIN_STRIP_PX = 16
# Layers without a kernel, such as attention in windows, are measured up to this reach.
_MIN_LIMIT_PX = 128


def receptive_field(network: nn.Module) -> int:
    """Return the receptive field of a plain chain of convolutions along one axis, px.

    Each convolution of kernel k widens the field by (k - 1) times the product of the strides before it.

    Examples
    --------
    >>> receptive_field(nn.Sequential(nn.Conv2d(1, 1, 4, 2), nn.Conv2d(1, 1, 4)))
    10
    """
    field, step = 1, 1
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            field += (module.kernel_size[0] - 1) * step
            step *= module.stride[0]
    return field


@torch.inference_mode()
def reach_px(network: nn.Module, in_channels: int, multiple: int, min_size_px: int = 1) -> int | None:
    """Return the maximum distance between an output pixel and an input pixel that it depends on, px.

    The reach is measured with NaN: a block of NaN as wide as `multiple` is put into the input, and every output pixel
    that depends on it becomes NaN. Both axes are measured, up to the limit that the kernels of all layers allow: the
    images stay small for networks with attention, whose memory grows with the square of the size.

    Parameters
    ----------
    network : nn.Module
        (B, in_channels, H, W) to (B, C, H, W), in evaluation mode, float32.
    in_channels : int
    multiple : int
        Rows and columns of the input must be multiples of this, px.
    min_size_px : int
        Minimum rows and columns of the input.

    Returns
    -------
    int or None
        None if an output pixel depends on the whole input.

    Examples
    --------
    >>> reach_px(nn.Conv2d(1, 1, 7, padding=3), 1, 1)
    3
    >>> reach_px(nn.InstanceNorm2d(1), 1, 4) is None
    True
    """
    width = round_up(max(multiple, min_size_px, _MIN_STRIP_PX), multiple)
    limit = max(_MIN_LIMIT_PX, 2 * multiple, _sum_of_kernels_px(network, torch.zeros(1, in_channels, width, width)))
    reach = 0
    for axis in (2, 3):
        margin = round_up(max(2 * multiple, min_size_px), multiple)
        while True:
            size = [1, in_channels, width, width]
            size[axis] = 2 * margin + multiple
            image = torch.zeros(size)
            image.narrow(axis, margin, multiple).fill_(torch.nan)
            touched = network(image).isnan().any(dim=1)[0].any(dim=3 - axis).nonzero()[:, 0]
            if len(touched) == 0:
                break
            first, last = int(touched.min()), int(touched.max())
            if first > 0 and last < size[axis] - 1:
                reach = max(reach, margin - first, last - (margin + multiple - 1))
                break
            if margin >= limit:
                return None
            margin *= 2
    return reach


def _sum_of_kernels_px(network: nn.Module, image: Tensor) -> int:
    """Return an upper bound of the reach of a network of convolutions and pooling: the sum over its kernels, px.

    A kernel of k pixels at a resolution of 1 / s reaches less than k · s pixels of the image, also after upsampling.
    """
    total = 0

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        sizes = [value.shape[-1] for value in (inputs[0], output) if isinstance(value, Tensor)]
        scale = -(-image.shape[-1] // max(1, min(sizes)))
        kernel, dilation = getattr(layer, "kernel_size", 2), getattr(layer, "dilation", 1)
        sides = [max(value) if isinstance(value, tuple) else int(value) for value in (kernel, dilation)]
        total += sides[0] * sides[1] * scale

    layers = [layer for layer in network.modules() if hasattr(layer, "kernel_size") or isinstance(layer, nn.Upsample)]
    handles = [layer.register_forward_hook(add) for layer in layers]
    network(image)
    for handle in handles:
        handle.remove()
    return total


def round_up(length: int, multiple: int) -> int:
    """Return the smallest multiple that is not less than a length.

    Examples
    --------
    >>> round_up(9, 4), round_up(8, 4)
    (12, 8)
    """
    return -(-length // multiple) * multiple
