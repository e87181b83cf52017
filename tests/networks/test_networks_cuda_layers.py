"""Fused layers for GPUs equal torch's own, forward and backward.

On a machine without a GPU, Triton's interpreter runs the programs on the CPU: the first test runs this file with
``TRITON_INTERPRET=1``, which must be set before Triton is imported.
"""

import copy
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from tomostain.networks.build import build_network
from tomostain.networks.generators import ResidualBlock
from tomostain.networks.kernels import accelerate_cuda
from tomostain.networks.kernels.cuda import channel_norm, functions, launch, layers
from tomostain.networks.kernels.cuda.channel_norm import CudaChannelNorm
from tomostain.networks.kernels.cuda.functions import fused
from tomostain.networks.kernels.cuda.layers import CudaConv2d, FusedLayer, FusedLeakyReLU, FusedResidualBlock
from tomostain.networks.kernels.cuda.narrow import GatheringConv2d, RowSumConv2d
from tomostain.networks.kernels.cuda.plan import Plan
from tomostain.networks.layers import ChannelNorm
from tomostain.stain.volume_statistics import VolumeNorm, with_volume_norms

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not INTERPRETED, reason="run by the first test of this file, with TRITON_INTERPRET=1")
DEVICES = [pytest.param("cpu", marks=interpreted), pytest.param("cuda", marks=pytest.mark.gpu)]
on_each_device = pytest.mark.parametrize("device", DEVICES)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("triton") is None, reason="needs triton, which comes with torch for CUDA")
@pytest.mark.skipif(INTERPRETED, reason="this is the run that it starts")
def test_the_tests_of_this_file_pass_in_tritons_interpreter():
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    root = Path(__file__).parents[2]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=root, check=False)
    assert run.returncode == 0, run.stdout[-4000:]
    assert "passed" in run.stdout


def reference(image, plan, residual=None):
    """Return what torch's layers compute, one after the other."""
    value = image if plan.eps is None else functional.instance_norm(image, eps=plan.eps)
    value = value if residual is None else value + residual
    if plan.slope != 1:
        value = functional.leaky_relu(value, plan.slope) if plan.slope else functional.relu(value)
    padded = functional.interpolate(value, scale_factor=plan.up) if plan.up != 1 else value
    padded = functional.pad(padded, (plan.pad,) * 4, mode="reflect") if plan.pad else padded
    return padded, value if plan.plain else None


def draw(shape, seed, device, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)


def run(function, image, plan, residual, dtype):
    """Return results and gradients."""
    values = [value.to(dtype, copy=True).requires_grad_() for value in (image, residual) if value is not None]
    results = [value for value in function(values[0], plan, *values[1:]) if value is not None]
    weights = [draw(result.shape, 7 + number, image.device, dtype) for number, result in enumerate(results)]
    grads = torch.autograd.grad(results, values, weights)
    return [*(result.detach() for result in results), *grads]


def by_programs(image, plan, residual=None):
    return fused(image, plan, residual=residual)


NORM = Plan(eps=1e-5)
PLANS = {
    "pad 1": Plan(pad=1),
    "pad 3": Plan(pad=3),
    "enlarge, pad 1": Plan(up=2, pad=1),
    "relu, pad 2": Plan(slope=0.0, pad=2),
    "norm": NORM,
    "norm, leaky": replace(NORM, slope=0.2),
    "norm, relu, pad 3": replace(NORM, slope=0.0, pad=3),
    "norm, relu, pad 1, plain": replace(NORM, slope=0.0, pad=1, plain=True),
    "norm, relu, enlarge, pad 1": replace(NORM, slope=0.0, up=2, pad=1),
}
JOINS = {
    "pad 1, plain": Plan(pad=1, plain=True),
    "norm, pad 1, plain": replace(NORM, pad=1, plain=True),
    "norm, enlarge, pad 1": replace(NORM, up=2, pad=1),
    "norm": NORM,
}
CASES = [*((name, plan, False) for name, plan in PLANS.items()), *((n, plan, True) for n, plan in JOINS.items())]
cases = pytest.mark.parametrize(("plan", "joins"), [case[1:] for case in CASES], ids=[f"{n} {j}" for n, _, j in CASES])

# The last is wider than a block of pixels, so that blocks in the middle of a row have no copies beyond the border.
SHAPES = [(4, 3, 7, 4), (1, 70, 4, 5), (1, 5, 4, 45)]


def compare(plan, joins, shape, device, dtype, tolerance):
    """Compare with float64, relative to the largest value."""
    image = (draw(shape, 0, device) + 3 * draw((shape[1], 1, 1), 1, device)).to(dtype)
    image = image.contiguous(memory_format=torch.channels_last)
    residual = draw(shape, 2, device).to(dtype) if joins else None
    precise = None if residual is None else residual.double()
    truth = run(reference, image.double(), plan, precise, torch.float64)
    found = run(by_programs, image, plan, residual, dtype)
    assert len(found) == len(truth)
    for ours, wanted in zip(found, truth, strict=True):
        assert ours.shape == wanted.shape
        assert ours.dtype == dtype
        assert (ours.double() - wanted).abs().max() <= tolerance * wanted.abs().max()


@on_each_device
@cases
@pytest.mark.parametrize("shape", SHAPES)
def test_any_plan_gives_what_torch_gives_in_float64(plan, joins, shape, device, monkeypatch):
    monkeypatch.setattr(launch, "BLOCK", 256)
    monkeypatch.setattr(launch, "BLOCK_BACKWARD", 128)
    compare(plan, joins, shape, device, torch.float64, 1e-11)


@on_each_device
@cases
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-6), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
def test_other_precisions_only_round(plan, joins, dtype, tolerance, device):
    compare(plan, joins, (2, 5, 6, 9), device, dtype, tolerance)


@on_each_device
@pytest.mark.parametrize("slope", [1.0, 0.0, 0.2])
@pytest.mark.parametrize("shape", [(2, 5, 7, 4), (1, 70, 3, 9)])
def test_channel_norm_gives_what_torch_gives(shape, slope, device, monkeypatch):
    monkeypatch.setattr(channel_norm, "_PIECES", 2)
    plain = ChannelNorm(shape[1]).to(device, torch.float64)
    with torch.no_grad():
        for number, value in enumerate(plain.parameters()):
            value += draw(value.shape, number, device)
    fast = CudaChannelNorm(copy.deepcopy(plain), slope)
    assert list(fast.state_dict()) == list(plain.state_dict())
    found = []
    for layer in (plain, fast):
        image = (3 + draw(shape, 2, device)).contiguous(memory_format=torch.channels_last).requires_grad_()
        result = layer(image)
        if layer is plain and slope != 1:
            result = functional.leaky_relu(result, slope)
        values = [image, *layer.parameters()]
        found.append([result, *torch.autograd.grad(result, values, draw(shape, 3, device))])
    for wanted, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-10, atol=1e-11)


@on_each_device
def test_a_mean_far_from_zero_does_not_cost_precision(device):
    image = 1000 + draw((1, 3, 40, 30), 0, device)
    single = image.float()
    wanted = functional.instance_norm(single.double())
    found = fused(single, NORM)[0]
    assert (found - wanted).abs().max() < 1e-4  # a mean of squares would lose all digits but one
    mean, scale = functions.statistics(launch.channels_last(single), 0.0)
    torch.testing.assert_close(mean.double(), single.double().mean((2, 3)), rtol=1e-6, atol=0)
    torch.testing.assert_close(scale.double(), single.double().var((2, 3), correction=0).rsqrt(), rtol=1e-5, atol=0)


@on_each_device
def test_a_first_pixel_far_from_the_others_costs_little_precision(device):
    image = draw((1, 3, 40, 30), 0, device)
    image[:, :, 0, 0] = 1e4
    found, wanted = fused(image.float(), NORM)[0], functional.instance_norm(image.float().double())
    assert (found - wanted).norm() <= 1e-6 * wanted.norm()


@on_each_device
def test_results_have_channels_last_whatever_the_input(device):
    for image in (draw((2, 4, 6, 5), 0, device), draw((2, 4, 5, 6), 0, device).transpose(2, 3)):
        for plan in (Plan(pad=1), replace(NORM, pad=1)):
            padded = fused(image, plan)[0]
            assert padded.is_contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(padded, reference(image, plan)[0])


@on_each_device
def test_not_finite_values_stay_visible(device):
    image = draw((1, 2, 4, 4), 0, device)
    image[0, 0, 1, 1], image[0, 1, 2, 2] = torch.nan, -torch.inf
    found, wanted = fused(image, Plan(slope=0.0, pad=1))[0], reference(image, Plan(slope=0.0, pad=1))[0]
    torch.testing.assert_close(found, wanted, equal_nan=True)
    assert fused(image, replace(NORM, slope=0.0))[0].isnan().all()


@on_each_device
@pytest.mark.parametrize(("plan", "side"), [(Plan(pad=3), 3), (Plan(up=2, pad=3), 1), (NORM, 1)])
def test_too_small_images_are_refused_as_by_torch(plan, side, device):
    image = draw((1, 2, side, side), 0, device)
    for function in (by_programs, reference):
        with pytest.raises((RuntimeError, ValueError)):
            function(image, plan)


NARROW = {
    "3 to 5, 7 x 7": (nn.Conv2d(3, 5, 7), 3),
    "3 to 5, 7 x 7, zeros": (nn.Conv2d(3, 5, 7, padding=3), 0),
    "1 to 6, 5 x 5": (nn.Conv2d(1, 6, 5, bias=False), 2),
    "3 to 5, 4 x 4, stride 2": (nn.Conv2d(3, 5, 4, 2, 1), 0),
    "6 to 5, 3 x 3, stride 2": (nn.Conv2d(6, 5, 3, 2), 1),
    "9 to 3, 7 x 7": (nn.Conv2d(9, 3, 7), 3),
    "9 to 2, 5 x 5": (nn.Conv2d(9, 2, 5, bias=False), 2),
}


@on_each_device
@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("frozen", [False, True])
def test_convolutions_of_few_channels_give_what_torch_gives(name, frozen, device):
    layer, pad = NARROW[name]
    chain = [nn.ReflectionPad2d(pad), layer] if pad else [layer]
    plain = nn.Sequential(*copy.deepcopy(chain)).to(device, torch.float64)
    fast = accelerate_cuda(copy.deepcopy(plain), frozen=frozen)
    assert any(isinstance(each, GatheringConv2d | RowSumConv2d) for each in fast)
    found = []
    for network in (plain, fast):
        image = draw((2, layer.in_channels, 9, 12), 0, device).requires_grad_()
        values = [image] if frozen else [image, *network.parameters()]
        result = network(image)
        found.append([result, *torch.autograd.grad(result, values, draw(result.shape, 1, device))])
    for wanted, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-10, atol=1e-11)


RESNET = {"name": "resnet", "in_channels": 3, "width": 6, "blocks": 2}
NETWORKS = {
    "resnet": (RESNET, (2, 3, 12, 8)),
    "resnet without blocks": (RESNET | {"blocks": 0}, (1, 3, 8, 12)),
    "resnet, one block": (RESNET | {"blocks": 1, "in_channels": 1}, (1, 1, 12, 8)),
    "resnet, channel": (RESNET | {"norm": "channel"}, (1, 3, 12, 16)),
    "resnet, none": (RESNET | {"norm": "none", "blocks": 1}, (1, 3, 12, 16)),
    "unet, channel": (
        {"name": "unet", "width": 4, "downs": 2, "detail": 3, "norm": "channel", "upsampling": "bilinear"},
        (2, 3, 16, 16),
    ),
    "patch, channel": ({"name": "patch", "in_channels": 3, "width": 4, "layers": 2, "norm": "channel"}, (1, 3, 28, 24)),
    "unet": ({"name": "unet", "width": 4, "downs": 2, "detail": 3}, (2, 3, 16, 16)),
    "shuffle": ({"name": "shuffle", "width": 8, "blocks": 1}, (1, 3, 16, 16)),
    "patch": ({"name": "patch", "in_channels": 6, "width": 4, "layers": 2}, (2, 6, 28, 24)),
}


def build(spec, device="cpu", dtype=torch.float64):
    return build_network(spec, torch.Generator().manual_seed(0)).to(device, dtype)


@on_each_device
@pytest.mark.parametrize(
    ("name", "gather"), [*((name, True) for name in NETWORKS), ("resnet", False), ("patch", False)]
)
def test_a_whole_network_gives_the_same_and_learns_the_same(name, gather, device):
    spec, shape = NETWORKS[name]
    plain = build(spec, device)
    fast = accelerate_cuda(copy.deepcopy(plain), gather_channels=gather)
    assert list(fast.state_dict()) == list(plain.state_dict())
    fast.load_state_dict(plain.state_dict())
    fast = copy.deepcopy(fast)
    outputs, slopes = [], []
    for network in (plain, fast):
        image = draw(shape, 1, device).requires_grad_()
        result = network.features(image) if name.startswith("patch") else [network(image)]
        sum((value**2).mean() for value in result).backward()
        outputs.append(result)
        slopes.append([image.grad, *(value.grad for value in network.parameters())])
    for ours, wanted in zip(outputs[1], outputs[0], strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-9, atol=1e-11)
    for ours, wanted in zip(slopes[1], slopes[0], strict=True):
        # A bias before a normalisation has no gradient but rounding.
        assert (ours - wanted).abs().max() <= 1e-9 * max(wanted.abs().max(), 1e-3)


@interpreted
def test_layers_of_the_papers_generator_are_fused():
    fast = accelerate_cuda(build(RESNET | {"width": 8}))
    kinds = [type(layer) for layer in fast.layers if not isinstance(layer, nn.Identity)]
    convolution, blocks = [FusedLayer, CudaConv2d], [FusedResidualBlock] * 2
    first, last = [GatheringConv2d], [FusedLayer, RowSumConv2d, nn.Tanh]
    assert kinds == [*first, *convolution * 2, FusedLayer, *blocks, CudaConv2d, *convolution, *last]
    assert not any(type(layer) in (nn.InstanceNorm2d, nn.ReLU, ResidualBlock) for layer in fast.modules())
    judge = accelerate_cuda(build(NETWORKS["patch"][0]))
    assert [type(layer) for layer in judge.layers if isinstance(layer, nn.LeakyReLU)] == [
        nn.LeakyReLU,
        FusedLeakyReLU,
        FusedLeakyReLU,
    ]


@interpreted
@pytest.mark.parametrize(
    "chain",
    [
        [nn.InstanceNorm2d(4, affine=True), nn.ReLU()],
        [nn.InstanceNorm2d(4, track_running_stats=True)],
        [nn.ReflectionPad2d((1, 0, 1, 1)), nn.Conv2d(8, 8, 3)],
        [nn.ZeroPad2d(1), nn.Conv2d(8, 8, 3, groups=2)],
        [nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(8, 8, 3)],
        [nn.ReLU(), nn.Dropout()],
    ],
)
def test_what_is_like_it_but_is_not_it_stays(chain):
    network = nn.Sequential(*chain)
    before = list(network)
    assert list(accelerate_cuda(network)) == before


@on_each_device
def test_fixed_norms_become_part_of_the_convolutions(device):
    plain = with_volume_norms(build(RESNET, device))
    for number, norm in enumerate(layer for layer in plain.modules() if isinstance(layer, VolumeNorm)):
        norm.mean = draw(norm.mean.shape, number, device) / 10
        norm.variance = draw(norm.mean.shape, 99 + number, device).exp()
    image = draw((1, 3, 16, 20), 1, device)
    with torch.no_grad():
        wanted = plain(image)
        unfrozen = accelerate_cuda(copy.deepcopy(plain))
        torch.testing.assert_close(unfrozen(image), wanted, rtol=1e-9, atol=1e-11)
        frozen = accelerate_cuda(copy.deepcopy(plain), frozen=True)
        assert not any(isinstance(layer, VolumeNorm) for layer in frozen.modules())
        torch.testing.assert_close(frozen(image), wanted, rtol=1e-9, atol=1e-11)


@pytest.mark.skipif(INTERPRETED, reason="the interpreter runs the programs on a CPU")
def test_on_a_cpu_a_network_stays_as_it_is():
    network = build(RESNET)
    before = [type(layer) for layer in network.modules()]
    assert accelerate_cuda(network) is network
    assert [type(layer) for layer in network.modules()] == before
    assert network.layers[1].weight.is_contiguous()


@pytest.mark.skipif(find_spec("triton") is None, reason="needs triton, which comes with torch for CUDA")
def test_where_triton_fails_a_warning_gives_the_reason_and_the_network_stays():
    launch._works_on.cache_clear()
    with pytest.warns(UserWarning, match=r"Triton does not work on cuda:\d+, so layers of torch are used"):
        assert not launch._works_on(torch.device("cuda", 99))
    launch._works_on.cache_clear()


@pytest.mark.skipif(INTERPRETED, reason="the interpreter runs the programs on a CPU")
@cases
def test_where_the_programs_cannot_run_torchs_layers_do(plan, joins):
    image = draw((2, 3, 5, 7), 0, "cpu")
    residual = draw((2, 3, 5, 7), 1, "cpu") if joins else None
    found = FusedLayer(plan)(image, residual)
    padded, plain = reference(image, plan, residual)
    torch.testing.assert_close(found, (padded, plain) if plan.plain else padded)
    with torch.no_grad():
        torch.testing.assert_close(layers.FusedLeakyReLU(Plan(slope=0.2))(image), functional.leaky_relu(image, 0.2))


def paper_generator(width=64):
    return build(RESNET | {"width": width, "blocks": 9}, "cuda", torch.float32)


def learn(network, image):
    """Return the result and the gradients of the weights under autocast, as in training with `bf16-mixed`."""
    with torch.autocast("cuda", torch.bfloat16):
        result = network(image)
    values = list(network.parameters())
    return [result.detach(), *torch.autograd.grad(result.float().square().mean(), values)]


@pytest.mark.gpu
def test_the_papers_generator_learns_the_same_under_autocast():
    plain = paper_generator()
    fast = accelerate_cuda(copy.deepcopy(plain))
    image = draw((2, 3, 128, 128), 0, "cuda", torch.float32)
    truth = [value.double() for value in _single(plain, image)]
    ours, torchs = learn(fast, image), learn(plain, image)
    for found, other, wanted in zip(ours, torchs, truth, strict=True):
        size = wanted.norm() + 1e-6
        # bfloat16 rounds to 8 bits. The rounding of torch's own layers is the measure.
        assert (found.double() - wanted).norm() <= 1.5 * (other.double() - wanted).norm() + 1e-2 * size


def _single(network, image):
    result = network(image)
    values = list(network.parameters())
    return [result.detach(), *torch.autograd.grad(result.square().mean(), values)]


@pytest.mark.gpu
def test_nothing_waits_for_the_gpu_and_a_graph_replays_the_same_bits():
    network = accelerate_cuda(paper_generator(16))
    image = draw((2, 3, 64, 64), 0, "cuda", torch.float32)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream), _deterministic():
        first = [value.clone() for value in learn(network, image)]
        torch.cuda.set_sync_debug_mode("error")
        try:
            second = learn(network, image)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph, stream=stream):
            captured = learn(network, image)
        graph.replay()
    torch.cuda.synchronize()
    for one, two, three in zip(first, second, captured, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


class _deterministic:
    """cuDNN kernels with a fixed order of summation."""

    def __enter__(self):
        self.before = torch.backends.cudnn.deterministic
        torch.backends.cudnn.deterministic = True

    def __exit__(self, *error):
        torch.backends.cudnn.deterministic = self.before


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_staining_in_half_precision_rounds_no_more_than_torch(dtype):
    plain = paper_generator().eval().requires_grad_(False)
    image = draw((1, 3, 128, 160), 0, "cuda", torch.float32)
    with torch.inference_mode():
        truth = plain(image)
        half = copy.deepcopy(plain).to(dtype)
        torchs = half(image.to(dtype)).float()
        ours = accelerate_cuda(half, frozen=True)(image.to(dtype)).float()
    assert (ours - truth).norm() <= 1.5 * (torchs - truth).norm()
