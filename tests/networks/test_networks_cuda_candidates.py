"""Which networks and layers are fused. The conversion runs on the CPU, where fused layers compute by torch."""

import copy
from typing import ClassVar

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from tests.support.fused_layers import draw
from tomostain.networks import Discriminator, Generator, GeneratorSpec
from tomostain.networks.base import Network
from tomostain.networks.generators import ResidualBlock, ResNetGenerator
from tomostain.networks.kernels import accelerate_cuda
from tomostain.networks.kernels.cuda import convert
from tomostain.networks.kernels.cuda.layers import CudaConv2d, FusedLayer, FusedResidualBlock
from tomostain.networks.layers import conv_norm_relu
from tomostain.networks.registry import network_class, network_names
from tomostain.stain.volume_statistics import VolumeNorm

WIDTH = 8


@pytest.fixture(autouse=True)
def _converts_on_a_cpu(monkeypatch):
    """Convert networks. The layers themselves still find that the programs cannot run."""
    monkeypatch.setattr(convert, "can_run", lambda image: True)


def block():
    return [nn.ReflectionPad2d(1), nn.Conv2d(WIDTH, WIDTH, 3), nn.InstanceNorm2d(WIDTH), nn.ReLU()]


def chain_of_blocks(count=2):
    torch.manual_seed(0)
    return nn.Sequential(*[layer for _ in range(count) for layer in block()], nn.Conv2d(WIDTH, WIDTH, 1)).double()


def image():
    return draw((2, WIDTH, 12, 9), 0)


def kinds(network):
    return {type(layer) for layer in network.modules()}


def check_same(plain, fast, run=None):
    """Compare results and the gradients of the image."""
    runs = []
    for network in (plain, fast):
        value = image().requires_grad_()
        results = [network(value)] if run is None else run(network, value)
        runs.append([*results, *torch.autograd.grad(sum(each.square().sum() for each in results), value)])
    assert len(runs[0]) == len(runs[1])
    for expected, ours in zip(*runs, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-10)


class SkipChain(nn.Sequential):
    """A chain with a different `forward`, which reads a normalisation."""

    def forward(self, value):
        skip = self[2](self[1](self[0](value)))
        return super().forward(value) + skip


class Reading(Generator):
    """A plug-in generator that reads between the layers of a chain, and calls two residual blocks itself."""

    def __init__(self, spec):
        super().__init__(spec)
        self.layers, self.chain = chain_of_blocks(), SkipChain(*block()).double()
        self.blocks = nn.Sequential(ResidualBlock(WIDTH), ResidualBlock(WIDTH)).double()

    def forward(self, value):
        first = self.layers[:2](value)
        value = self.chain(self.layers[2:](first)) + first
        for each in self.blocks:
            value = 2 * each(value)
        return value


class Judge(Discriminator):
    """A plug-in discriminator that returns convolutions and normalisations."""

    def __init__(self, spec):
        super().__init__(spec)
        self.layers = chain_of_blocks()

    def features(self, image, condition=None):
        features = []
        for layer in self.layers:
            image = layer(image)
            if isinstance(layer, nn.Conv2d | nn.InstanceNorm2d):
                features.append(image)
        return features


class Whole(Generator):
    """A plug-in generator that opts in, with a part that does not."""

    fusable: ClassVar[bool] = True

    def __init__(self, spec):
        super().__init__(spec)
        self.layers, self.chain = chain_of_blocks(), SkipChain(*block()).double()
        self.part = Reading(GeneratorSpec())

    def forward(self, value):
        return self.part(self.chain(self.layers(value)))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("kind", [Reading, Judge])
def test_a_network_that_does_not_opt_in_stays(kind, frozen):
    plain = kind(kind.Spec())
    fast = accelerate_cuda(copy.deepcopy(plain), frozen=frozen)
    assert [type(layer) for layer in fast.modules()] == [type(layer) for layer in plain.modules()]
    assert [value.stride() for value in fast.parameters()] == [value.stride() for value in plain.parameters()]
    run = None if kind is Reading else lambda network, value: network.features(value)
    check_same(plain, fast, run)


def test_only_plain_chains_of_a_network_that_opts_in_are_fused():
    plain = Whole(GeneratorSpec())
    fast = accelerate_cuda(copy.deepcopy(plain))
    assert {FusedLayer, CudaConv2d} <= kinds(fast.layers)
    assert kinds(fast.chain) == kinds(plain.chain)
    assert kinds(fast.part) == kinds(plain.part)
    assert list(fast.state_dict()) == list(plain.state_dict())
    check_same(plain, fast)


def test_a_module_that_is_not_a_network_stays_but_a_chain_opts_in():
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = chain_of_blocks()

    assert FusedLayer not in kinds(accelerate_cuda(Wrapper()))
    assert FusedLayer not in kinds(accelerate_cuda(SkipChain(*block())))
    assert FusedLayer in kinds(accelerate_cuda(chain_of_blocks()))


def test_a_subclass_makes_the_promise_itself():
    assert ResNetGenerator.fusable
    assert not type("Other", (ResNetGenerator,), {}).fusable
    assert type("Other", (ResNetGenerator,), {"fusable": True}).fusable
    assert not Network.fusable


def test_own_networks_opt_in():
    classes = [network_class(name) for name in network_names()]
    ours = [each for each in classes if each.__module__.startswith("tomostain.")]
    assert len(ours) >= 7
    assert all(each.fusable for each in ours)


HOOKS = {
    "forward": lambda layer, seen: layer.register_forward_hook(lambda _, values, result: seen.append(result)),
    "before": lambda layer, seen: layer.register_forward_pre_hook(lambda _, values: seen.append(values[0])),
    "backward": lambda layer, seen: layer.register_full_backward_hook(lambda _, slope, other: seen.append(other[0])),
}


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("index", range(9))
def test_a_layer_with_a_hook_stays_and_sees_the_same(hook, index):
    plain = chain_of_blocks()
    fast = copy.deepcopy(plain)
    seen = [], []
    for network, values in zip((plain, fast), seen, strict=True):
        HOOKS[hook](network[index], values)
    layer = fast[index]
    accelerate_cuda(fast)
    assert fast[index] is layer
    assert FusedLayer in kinds(fast)
    check_same(plain, fast)
    assert len(seen[0]) == len(seen[1]) == 1
    torch.testing.assert_close(seen[1][0], seen[0][0], rtol=1e-9, atol=1e-10)


def residual_blocks():
    torch.manual_seed(0)
    first = conv_norm_relu(WIDTH, WIDTH, 3, norm="instance")
    return nn.Sequential(*first, *(ResidualBlock(WIDTH) for _ in range(3)), *block()).double()


@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize("index", [4, 5, 6])
def test_a_residual_block_with_a_hook_stays(index, inner):
    plain = residual_blocks()
    fast = copy.deepcopy(plain)
    seen = [], []
    for network, values in zip((plain, fast), seen, strict=True):
        HOOKS["forward"](network[index].layers if inner else network[index], values)
    accelerate_cuda(fast)
    assert type(fast[index]) is ResidualBlock
    assert sum(type(layer) is FusedResidualBlock for layer in fast) == 2
    check_same(plain, fast)
    torch.testing.assert_close(seen[1][0], seen[0][0], rtol=1e-9, atol=1e-10)


def test_a_layer_with_another_forward_stays():
    plain = chain_of_blocks()
    plain[2].forward = lambda value: 3 * value
    fast = accelerate_cuda(copy.deepcopy(plain))
    assert fast[2].forward(1) == 3
    assert type(fast[1]) is nn.Conv2d
    check_same(plain, fast)


def with_volume_norms_twice():
    """Return a chain that contains one convolution and one block of layers twice."""
    torch.manual_seed(0)
    convolution, norms = nn.Conv2d(WIDTH, WIDTH, 3, padding=1), [VolumeNorm(WIDTH) for _ in range(3)]
    for number, norm in enumerate(norms):
        norm.mean, norm.variance = draw((WIDTH,), number), draw((WIDTH,), 9 + number).exp()
    shared = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 1), norms[2])
    return nn.Sequential(convolution, norms[0], convolution, norms[1], shared, shared).double().eval()


def test_a_layer_that_occurs_twice_is_not_scaled_twice():
    plain = with_volume_norms_twice()
    fast = accelerate_cuda(copy.deepcopy(plain), frozen=True)
    assert [type(layer) for layer in fast.modules()] == [type(layer) for layer in plain.modules()]
    check_same(plain, fast)


def test_a_fixed_norm_with_a_gain_is_not_folded():
    class Gain(VolumeNorm):
        def __init__(self):
            super().__init__(WIDTH)
            self.gain = nn.Parameter(torch.full((), 3.0))

        def forward(self, value):
            return self.gain * super().forward(value)

    plain = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 1), Gain()).double().eval()
    check_same(plain, accelerate_cuda(copy.deepcopy(plain), frozen=True))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "normalise",
    [
        torch.nn.utils.spectral_norm,
        torch.nn.utils.weight_norm,
        parametrizations.spectral_norm,
        parametrizations.weight_norm,
    ],
)
@pytest.mark.parametrize("frozen", [False, True])
def test_a_convolution_with_computed_weights_stays(normalise, frozen):
    plain = chain_of_blocks()
    for index in (1, 5):
        normalise(plain[index])
    if frozen:
        plain[2] = VolumeNorm(WIDTH).double()
    plain.eval()
    fast = copy.deepcopy(plain) if normalise.__module__.endswith("parametrizations") else rebuilt(plain, normalise)
    layer = fast[1]
    accelerate_cuda(fast, frozen=frozen)
    assert fast[1] is layer
    assert FusedLayer in kinds(fast)
    assert list(fast.state_dict()) == list(plain.state_dict())
    check_same(plain, fast)


def rebuilt(plain, normalise):
    """Return a copy: `copy.deepcopy` refuses weights that are computed from others."""
    copied = chain_of_blocks()
    for index in (1, 5):
        normalise(copied[index])
    copied[2] = copy.deepcopy(plain[2])
    copied.load_state_dict(plain.state_dict())
    return copied.eval()
