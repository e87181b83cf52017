"""Put fast CPU layers into a network where they save time. For measurements see docs/explanation/speed.md."""

from typing import TypeVar

import torch
from torch import Tensor, nn

from tomostain.networks.kernels.convolutions import RowsConv2d, UpsamplingConv2d, WinogradConv2d
from tomostain.networks.kernels.instance_norm import PixelwiseInstanceNorm2d
from tomostain.networks.layers import ChannelNorm

N = TypeVar("N", bound=nn.Module)
C = TypeVar("C", bound=nn.Conv2d)

# In narrower networks Winograd's transforms cost more than they save, and channels first is faster.
WIDE = 256
# torch's kernels compute 16 output channels at once; up to this many leave most of that unused.
ROW_CHANNELS = 4


def accelerate(network: N, *, frozen: bool = False) -> N:
    """Replace torch's convolutions in a network by faster ones where they save time on a CPU; in place.

    Weights keep their names, so checkpoints and models are the same with and without. Wide networks and those with
    `ChannelNorm` compute with channels last in memory; inputs and outputs have the usual memory format.

    Parameters
    ----------
    network : nn.Module
        On a CPU.
    frozen : bool
        The weights will not change again, so the transformed kernels are computed now.

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
        for index, layer in enumerate(layers):
            if type(layer) is not nn.Conv2d or not _is_plain(layer):
                continue
            if _follows_upsampling(layers, index):
                layers[index - 2] = layers[index - 1] = nn.Identity()
                layers[index] = _with_weights_of(UpsamplingConv2d, layer)
            elif layer.kernel_size[0] > 3 and layer.out_channels <= ROW_CHANNELS:
                layers[index] = _with_weights_of(RowsConv2d, layer)
            elif layer.kernel_size == (3, 3) and min(layer.in_channels, layer.out_channels) >= WIDE:
                layers[index] = fast = _with_weights_of(WinogradConv2d, layer)
                if frozen:
                    fast.freeze()
    return arrange(network)


def arrange(network: N) -> N:
    """Use channels last where that saves time, in place. No layer is replaced. For half precision.

    The fast convolutions are for single precision only.
    """
    return put_channels_last(network) if _gains_from_channels_last(network) else network


def put_channels_last(network: N) -> N:
    """Let a network compute with channels last in memory; in place. Outputs have the usual memory format."""
    for chain in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for index, layer in enumerate(chain):
            if type(layer) is nn.InstanceNorm2d and not layer.affine and not layer.track_running_stats:
                chain[index] = PixelwiseInstanceNorm2d(layer.num_features, layer.eps)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # Operations on the result would be slow otherwise.
    network.register_forward_hook(_channels_first)
    return network


def _gains_from_channels_last(network: nn.Module) -> bool:
    """Whether a network normalises over channels, or is wide: narrow ones are faster with channels first."""
    modules = list(network.modules())
    wide = any(isinstance(layer, nn.Conv2d) and layer.out_channels >= WIDE for layer in modules)
    return wide or any(isinstance(layer, ChannelNorm) for layer in modules)


def _channels_first(network: nn.Module, inputs: tuple[Tensor, ...], result: Tensor) -> Tensor:
    return result.contiguous()


def _is_plain(layer: nn.Conv2d) -> bool:
    """Whether a convolution has neither stride, padding, dilation nor groups."""
    return layer.stride == layer.dilation == (1, 1) and layer.padding == (0, 0) and layer.groups == 1


def _follows_upsampling(layers: nn.Sequential, index: int) -> bool:
    if index < 2 or layers[index].kernel_size != (3, 3):
        return False
    enlarge, pad = layers[index - 2], layers[index - 1]
    nearest = isinstance(enlarge, nn.Upsample) and enlarge.mode == "nearest" and enlarge.scale_factor == 2
    return nearest and isinstance(pad, nn.ReflectionPad2d) and pad.padding == (1, 1, 1, 1)


def _with_weights_of(kind: type[C], layer: nn.Conv2d) -> C:
    """Return a convolution of another class with the weights of this one."""
    bias = layer.bias is not None
    fast = kind(layer.in_channels, layer.out_channels, layer.kernel_size, bias=bias, device="meta")  # type: ignore[arg-type]
    fast.weight, fast.bias = layer.weight, layer.bias
    return fast.train(layer.training)
