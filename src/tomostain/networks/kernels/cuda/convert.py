"""Put fused layers into a network that is on a GPU."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, TypeGuard, TypeVar

import torch
from torch import Tensor, nn

from tomostain.networks.generators import ResidualBlock
from tomostain.networks.kernels.cuda.candidates import find_chains, is_fusable, without_observed_layers
from tomostain.networks.kernels.cuda.channel_norm import MAX_CHANNELS, CudaChannelNorm
from tomostain.networks.kernels.cuda.launch import can_run
from tomostain.networks.kernels.cuda.layers import (
    CudaConv2d,
    FusedLayer,
    FusedLeakyReLU,
    FusedResidualBlock,
)
from tomostain.networks.kernels.cuda.narrow import GatheringConv2d, RowSumConv2d
from tomostain.networks.kernels.cuda.plan import LayerPlan
from tomostain.networks.layers import ChannelNorm, ReflectionPad2d

N = TypeVar("N", bound=nn.Module)


class FixedNorm(Protocol):
    """A normalisation with a fixed mean and variance, as `tomostain.stain.volume_statistics.VolumeNorm`."""

    mean: Tensor
    variance: Tensor
    eps: float


def accelerate_cuda(
    network: N, *, device: torch.device | None = None, frozen: bool = False, gather_channels: bool = True
) -> N:
    """Fuse layers of a network and compute with channels last in memory, on a GPU; in place.

    Normalisation, activation, nearest-neighbour enlarging and the reflection padding of the next convolution become one
    layer. Weights keep their names, so checkpoints and models are the same with and without. The result is that of
    torch's layers up to rounding. It can be differentiated once: for gradients of gradients (such as R1), leave a
    network as it is.

    A network is converted if its class sets `tomostain.networks.base.Network.fusable`, or if it is a plain
    `nn.Sequential`. Any other one stays as it is, in its memory format. Within the network these layers stay:
    subclasses of `nn.Sequential`, layers with hooks, parametrizations or computed weights (`spectral_norm`), and layers
    that occur more than once.

    Parameters
    ----------
    network : nn.Module
    device : torch.device, optional
        Where it will run; default: where it is. On a CPU, or without Triton, the network stays as it is.
    frozen : bool
        The weights will not change again: normalisations with a fixed mean and variance become part of the preceding
        convolution. This changes the weights of the network. Forms of the weights are computed once.
    gather_channels : bool
        Compute convolutions of few channels by `tomostain.networks.kernels.cuda.narrow`, in half precision.

    Returns
    -------
    nn.Module
        `network`. Its results have channels last in memory, if it was converted.
    """
    device = device or next((value.device for value in network.parameters()), torch.device("cpu"))
    if not is_fusable(network) or not can_run(torch.empty(0, device=device)):
        return network
    chains = find_chains(network)
    with without_observed_layers(network, chains):
        for chain in chains:
            if frozen:
                _fold_fixed_norms(chain)
            _convert_convolutions(chain, gather_channels)
            _convert_channel_norms(chain)
        for chain in chains:
            _fuse_residual_blocks(chain)
        for chain in chains:
            _fuse_chain(chain)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if frozen:
        for layer in network.modules():
            if isinstance(layer, GatheringConv2d | RowSumConv2d):
                layer.freeze()
    return network


def _next(chain: nn.Sequential, index: int) -> int:
    """Return the index of the next layer that does something, or the length."""
    index += 1
    while index < len(chain) and type(chain[index]) is nn.Identity:
        index += 1
    return index


def _layer(chain: nn.Sequential, index: int) -> nn.Module | None:
    return chain[index] if index < len(chain) else None


def _fold_fixed_norms(chain: nn.Sequential) -> None:
    """Make normalisations with fixed statistics part of the preceding convolution."""
    for index, layer in enumerate(chain):
        after = _next(chain, index)
        norm = _layer(chain, after)
        if type(layer) is nn.Conv2d and _is_fixed_norm(norm):
            fold_fixed_norm(layer, norm)
            chain[after] = nn.Identity()


def _is_fixed_norm(layer: nn.Module | None) -> TypeGuard[FixedNorm]:
    """Whether a layer is a `FixedNorm` and has no other values, such as a gain.

    `isinstance` of a protocol does not see buffers since Python 3.12.
    """
    if not isinstance(layer, nn.Module) or not hasattr(layer, "eps") or layer.training:
        return False
    return set(layer.state_dict()) == {"mean", "variance"}


@torch.no_grad()
def fold_fixed_norm(convolution: nn.Conv2d, norm: FixedNorm) -> None:
    """Change weights and bias of a convolution so that it normalises: (w * x + b - m) r = (r w) * x + (b - m) r."""
    wide = torch.promote_types(convolution.weight.dtype, torch.float32)
    scale = torch.rsqrt(norm.variance.to(wide) + norm.eps)
    weight = convolution.weight.to(wide) * scale[:, None, None, None]
    bias = 0 if convolution.bias is None else convolution.bias.to(wide)
    for name, value in (("weight", weight), ("bias", (bias - norm.mean.to(wide)) * scale)):
        setattr(convolution, name, nn.Parameter(value.to(convolution.weight.dtype), requires_grad=False))


def _convert_convolutions(chain: nn.Sequential, gather: bool) -> None:
    """Leave out biases that a normalisation removes, and choose other ways for few channels."""
    for index, layer in enumerate(chain):
        if type(layer) is not nn.Conv2d or layer.padding_mode != "zeros" or layer.groups != 1:
            continue
        is_followed_by_norm = layer.bias is not None and _is_instance_norm(_layer(chain, _next(chain, index)))
        kind = CudaConv2d
        if gather and GatheringConv2d.suits(layer):
            kind = GatheringConv2d
        elif gather and RowSumConv2d.suits(layer):
            kind = RowSumConv2d
        if kind is CudaConv2d and not is_followed_by_norm:
            continue
        chain[index] = fast = kind(
            layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, layer.dilation,  # type: ignore[arg-type]
            bias=layer.bias is not None, device="meta",
        )  # fmt: skip
        fast.weight, fast.bias, fast.is_followed_by_norm = layer.weight, layer.bias, is_followed_by_norm
        fast.train(layer.training)
        if isinstance(fast, GatheringConv2d):
            _take_padding(chain, index, fast)


def _take_padding(chain: nn.Sequential, index: int, convolution: GatheringConv2d) -> None:
    """Give the reflection padding before a convolution to it, if nothing else could be fused with the padding."""
    before = [place for place in range(index) if type(chain[place]) is not nn.Identity]
    if not before or convolution.padding != (0, 0):
        return
    padding = chain[before[-1]]
    is_first = len(before) == 1 or isinstance(chain[before[-2]], nn.Conv2d)
    if is_first and _is_reflection(padding) and len(set(padding.padding)) == 1:
        convolution.reflection = padding.padding[0]
        chain[before[-1]] = nn.Identity()


def _convert_channel_norms(chain: nn.Sequential) -> None:
    """Replace `ChannelNorm`, with a ReLU that follows it unless padding follows that: it is fused then.

    A leaky ReLU stays: discriminators return its output.
    """
    for index, layer in enumerate(chain):
        if type(layer) is not ChannelNorm or len(layer.gain) > MAX_CHANNELS:
            continue
        after = _next(chain, index)
        following = _layer(chain, _next(chain, after))
        takes_relu = type(_layer(chain, after)) is nn.ReLU
        takes_relu = takes_relu and not isinstance(following, nn.Upsample | nn.ReflectionPad2d | ResidualBlock)
        chain[index] = CudaChannelNorm(layer, 0.0 if takes_relu else 1.0)
        if takes_relu:
            chain[after] = nn.Identity()


def _is_reflection(layer: nn.Module | None) -> TypeGuard[nn.ReflectionPad2d]:
    """Whether a layer is reflection padding of torch or of `tomostain.networks.layers`."""
    return type(layer) in (nn.ReflectionPad2d, ReflectionPad2d)


def _is_instance_norm(layer: nn.Module | None) -> bool:
    return type(layer) is nn.InstanceNorm2d and not layer.affine and not layer.track_running_stats


def _slope(layer: nn.Module | None) -> float | None:
    """Return the slope of an activation below 0; None for other layers."""
    if type(layer) is nn.ReLU:
        return 0.0
    return float(layer.negative_slope) if type(layer) is nn.LeakyReLU else None


def _match(chain: nn.Sequential, index: int, plan: LayerPlan) -> tuple[LayerPlan, list[int]]:
    """Add the layers from `index` on to a plan, as far as they fit in its order; return it and their indices."""
    used: list[int] = []
    layer = _layer(chain, index)
    if _is_instance_norm(layer):
        assert isinstance(layer, nn.InstanceNorm2d)
        plan, used, index = replace(plan, eps=layer.eps), [*used, index], _next(chain, index)
    slope = _slope(_layer(chain, index))
    if slope is not None:
        plan, used, index = replace(plan, slope=slope), [*used, index], _next(chain, index)
    return _match_border(chain, index, plan, used)


def _match_border(chain: nn.Sequential, index: int, plan: LayerPlan, used: list[int]) -> tuple[LayerPlan, list[int]]:
    """Add enlarging and padding, which follow in this order, to a plan."""
    layer = _layer(chain, index)
    if type(layer) is nn.Upsample and layer.mode == "nearest" and layer.scale_factor == 2 and layer.size is None:
        plan, used, index = replace(plan, up=2), [*used, index], _next(chain, index)
    layer = _layer(chain, index)
    if _is_reflection(layer) and len(set(layer.padding)) == 1:
        plan, used, index = replace(plan, pad=layer.padding[0]), [*used, index], _next(chain, index)
    return plan, used


def _fuse_chain(chain: nn.Sequential) -> None:
    """Replace normalisations, activations, enlargings and paddings that follow each other by one layer."""
    for index in range(len(chain)):
        plan, used = _match(chain, index, LayerPlan())
        if not used:
            continue
        if isinstance(_layer(chain, _next(chain, used[-1])), FusedResidualBlock) and plan.up == 1 and plan.pad == 0:
            plan = replace(plan, pad=1, plain=True)
        if plan.eps is None and plan.pad == 0:
            continue  # torch does this in one pass, too
        _put(chain, used, plan, _convolution_before(chain, index))


def _convolution_before(chain: nn.Sequential, index: int) -> CudaConv2d | None:
    """Return the convolution before a normalisation if it leaves out its bias."""
    for layer in reversed(list(chain)[:index]):
        if type(layer) is not nn.Identity:
            return layer if isinstance(layer, CudaConv2d) and layer.is_followed_by_norm else None
    return None


def _put(chain: nn.Sequential, indices: Sequence[int], plan: LayerPlan, convolution: CudaConv2d | None) -> None:
    """Put a fused layer into a chain. One that ends with a leaky ReLU remains one, for discriminators."""
    convolution = convolution if plan.eps is not None else None
    is_leaky = type(chain[indices[-1]]) is nn.LeakyReLU
    place = indices[-1] if is_leaky else indices[0]
    for index in indices:
        chain[index] = nn.Identity()
    chain[place] = FusedLeakyReLU(plan, convolution) if is_leaky else FusedLayer(plan, convolution)


def _fuse_residual_blocks(chain: nn.Sequential) -> None:
    """Replace residual blocks by those whose last layer also adds, and pads for the layer that follows."""
    for index, block in enumerate(chain):
        if type(block) is not ResidualBlock or not _begins_with_padding(block.layers):
            continue
        inner, following = block.layers, _next(chain, index)
        plan, used = LayerPlan(), list[int]()
        last = max(place for place, layer in enumerate(inner) if type(layer) is not nn.Identity)
        convolution = None
        if _is_instance_norm(norm := inner[last]):
            assert isinstance(norm, nn.InstanceNorm2d)
            plan, convolution = replace(plan, eps=norm.eps), _convolution_before(inner, last)
            inner[last] = nn.Identity()
        if type(_layer(chain, following)) is ResidualBlock:
            plan = replace(plan, pad=1, plain=True)
        else:
            plan, used = _match_border(chain, following, plan, [])
        inner[0] = nn.Identity()
        for place in used:
            chain[place] = nn.Identity()
        chain[index] = FusedResidualBlock(inner, FusedLayer(plan, convolution)).train(block.training)


def _begins_with_padding(layers: nn.Sequential) -> bool:
    first = layers[0]
    return _is_reflection(first) and first.padding == (1, 1, 1, 1)
