"""Fused layers for GPUs equal torch's own, forward and backward. Triton's interpreter runs the programs on the CPU.

The first test runs this file with ``TRITON_INTERPRET=1``, which must be set before Triton is imported. Tests that need
a GPU are in `test_networks_cuda_gpu`.
"""

import copy
import os
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.support.fused_layers import NORM, RESNET, build, by_programs, compare, draw, reference
from tomostain.networks.generators import ResidualBlock
from tomostain.networks.kernels import accelerate_cuda
from tomostain.networks.kernels.cuda import channel_norm, functions, launch, layers
from tomostain.networks.kernels.cuda.channel_norm import CudaChannelNorm
from tomostain.networks.kernels.cuda.functions import fused
from tomostain.networks.kernels.cuda.layers import CudaConv2d, FusedLayer, FusedLeakyReLU, FusedResidualBlock
from tomostain.networks.kernels.cuda.narrow import GatheringConv2d, RowSumConv2d
from tomostain.networks.kernels.cuda.plan import LayerPlan
from tomostain.networks.layers import ChannelNorm
from tomostain.stain.volume_statistics import VolumeNorm, with_volume_norms

EARLY = find_spec("triton") is not None and version("triton").startswith("3.2")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not INTERPRETED, reason="run by the first test of this file, with TRITON_INTERPRET=1")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("triton") is None, reason="needs triton, which comes with torch for CUDA")
@pytest.mark.skipif(INTERPRETED, reason="this is the run that it starts")
@pytest.mark.skipif(EARLY, reason="the interpreter of Triton 3.2 lacks a type of one bit")
def test_the_tests_of_this_file_pass_in_tritons_interpreter():
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    root = Path(__file__).parents[2]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=root, check=False)
    assert run.returncode == 0, run.stdout[-4000:]
    assert "passed" in run.stdout


PLANS = {
    "pad 1": LayerPlan(pad=1),
    "pad 3": LayerPlan(pad=3),
    "enlarge, pad 1": LayerPlan(up=2, pad=1),
    "relu, pad 2": LayerPlan(slope=0.0, pad=2),
    "norm": NORM,
    "norm, leaky": replace(NORM, slope=0.2),
    "norm, relu, pad 3": replace(NORM, slope=0.0, pad=3),
    "norm, relu, pad 1, plain": replace(NORM, slope=0.0, pad=1, plain=True),
    "norm, relu, enlarge, pad 1": replace(NORM, slope=0.0, up=2, pad=1),
}
JOINS = {
    "pad 1, plain": LayerPlan(pad=1, plain=True),
    "norm, pad 1, plain": replace(NORM, pad=1, plain=True),
    "norm, enlarge, pad 1": replace(NORM, up=2, pad=1),
    "norm": NORM,
}
CASES = [*((name, plan, False) for name, plan in PLANS.items()), *((n, plan, True) for n, plan in JOINS.items())]
cases = pytest.mark.parametrize(("plan", "joins"), [case[1:] for case in CASES], ids=[f"{n} {j}" for n, _, j in CASES])

# The last is wider than a block of pixels, so that blocks in the middle of a row have no copies beyond the border.
SHAPES = [(4, 3, 7, 4), (1, 70, 4, 5), (1, 5, 4, 45)]


@interpreted
@cases
@pytest.mark.parametrize("shape", SHAPES)
def test_any_plan_gives_what_torch_gives_in_float64(plan, joins, shape, monkeypatch):
    monkeypatch.setattr(launch, "BLOCK", 256)
    monkeypatch.setattr(launch, "BLOCK_BACKWARD", 128)
    compare(plan, joins, shape, "cpu", torch.float64, 1e-11)


@interpreted
@cases
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-6), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
def test_other_precisions_only_round(plan, joins, dtype, tolerance):
    compare(plan, joins, (2, 5, 6, 9), "cpu", dtype, tolerance)


@interpreted
@pytest.mark.parametrize("slope", [1.0, 0.0, 0.2])
@pytest.mark.parametrize("shape", [(2, 5, 7, 4), (1, 70, 3, 9)])
def test_channel_norm_gives_what_torch_gives(shape, slope, monkeypatch):
    monkeypatch.setattr(channel_norm, "_PIECES", 2)
    plain = ChannelNorm(shape[1]).double()
    with torch.no_grad():
        for number, value in enumerate(plain.parameters()):
            value += draw(value.shape, number)
    fast = CudaChannelNorm(copy.deepcopy(plain), slope)
    assert list(fast.state_dict()) == list(plain.state_dict())
    runs = []
    for layer in (plain, fast):
        image = (3 + draw(shape, 2)).contiguous(memory_format=torch.channels_last).requires_grad_()
        result = layer(image)
        if layer is plain and slope != 1:
            result = functional.leaky_relu(result, slope)
        values = [image, *layer.parameters()]
        runs.append([result, *torch.autograd.grad(result, values, draw(shape, 3))])
    for expected, ours in zip(*runs, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-11)


@interpreted
def test_a_mean_far_from_zero_does_not_cost_precision():
    image = 1000 + draw((1, 3, 40, 30), 0)
    single = image.float()
    expected = functional.instance_norm(single.double())
    actual = fused(single, NORM)[0]
    assert (actual - expected).abs().max() < 1e-4  # a mean of squares would lose all digits but one
    mean, scale = functions.statistics(launch.dense_channels_last(single), 0.0)
    torch.testing.assert_close(mean.double(), single.double().mean((2, 3)), rtol=1e-6, atol=0)
    torch.testing.assert_close(scale.double(), single.double().var((2, 3), correction=0).rsqrt(), rtol=1e-5, atol=0)


@interpreted
def test_a_first_pixel_far_from_the_others_costs_little_precision():
    image = draw((1, 3, 40, 30), 0)
    image[:, :, 0, 0] = 1e4
    actual, expected = fused(image.float(), NORM)[0], functional.instance_norm(image.float().double())
    assert (actual - expected).norm() <= 1e-6 * expected.norm()


@interpreted
def test_results_have_channels_last_for_any_input():
    for image in (draw((2, 4, 6, 5), 0), draw((2, 4, 5, 6), 0).transpose(2, 3)):
        for plan in (LayerPlan(pad=1), replace(NORM, pad=1)):
            padded = fused(image, plan)[0]
            assert padded.is_contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(padded, reference(image, plan)[0])


@interpreted
def test_not_finite_values_stay_visible():
    image = draw((1, 2, 4, 4), 0)
    image[0, 0, 1, 1], image[0, 1, 2, 2] = torch.nan, -torch.inf
    actual, expected = fused(image, LayerPlan(slope=0.0, pad=1))[0], reference(image, LayerPlan(slope=0.0, pad=1))[0]
    torch.testing.assert_close(actual, expected, equal_nan=True)
    assert fused(image, replace(NORM, slope=0.0))[0].isnan().all()


@interpreted
@pytest.mark.parametrize(("plan", "side"), [(LayerPlan(pad=3), 3), (LayerPlan(up=2, pad=3), 1), (NORM, 1)])
def test_too_small_images_are_refused_as_by_torch(plan, side):
    image = draw((1, 2, side, side), 0)
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


@interpreted
@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("frozen", [False, True])
def test_convolutions_of_few_channels_give_what_torch_gives(name, frozen):
    layer, pad = NARROW[name]
    chain = [nn.ReflectionPad2d(pad), layer] if pad else [layer]
    plain = nn.Sequential(*copy.deepcopy(chain)).double()
    fast = accelerate_cuda(copy.deepcopy(plain), frozen=frozen)
    assert any(isinstance(each, GatheringConv2d | RowSumConv2d) for each in fast)
    runs = []
    for network in (plain, fast):
        image = draw((2, layer.in_channels, 9, 12), 0).requires_grad_()
        values = [image] if frozen else [image, *network.parameters()]
        result = network(image)
        runs.append([result, *torch.autograd.grad(result, values, draw(result.shape, 1))])
    for expected, ours in zip(*runs, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-11)


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


@interpreted
@pytest.mark.parametrize(
    ("name", "gather"), [*((name, True) for name in NETWORKS), ("resnet", False), ("patch", False)]
)
def test_a_whole_network_gives_the_same_and_learns_the_same(name, gather):
    spec, shape = NETWORKS[name]
    plain = build(spec)
    fast = accelerate_cuda(copy.deepcopy(plain), gather_channels=gather)
    assert list(fast.state_dict()) == list(plain.state_dict())
    fast.load_state_dict(plain.state_dict())
    fast = copy.deepcopy(fast)
    outputs, slopes = [], []
    for network in (plain, fast):
        image = draw(shape, 1).requires_grad_()
        result = network.features(image) if name.startswith("patch") else [network(image)]
        sum((value**2).mean() for value in result).backward()
        outputs.append(result)
        slopes.append([image.grad, *(value.grad for value in network.parameters())])
    for ours, expected in zip(outputs[1], outputs[0], strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-11)
    for ours, expected in zip(slopes[1], slopes[0], strict=True):
        # A bias before a normalisation has no gradient but rounding.
        assert (ours - expected).abs().max() <= 1e-9 * max(expected.abs().max(), 1e-3)


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
def test_similar_but_different_layers_stay(chain):
    network = nn.Sequential(*chain)
    before = list(network)
    assert list(accelerate_cuda(network)) == before


@interpreted
def test_fixed_norms_become_part_of_the_convolutions():
    plain = with_volume_norms(build(RESNET))
    for number, norm in enumerate(layer for layer in plain.modules() if isinstance(layer, VolumeNorm)):
        norm.mean = draw(norm.mean.shape, number) / 10
        norm.variance = draw(norm.mean.shape, 99 + number).exp()
    image = draw((1, 3, 16, 20), 1)
    with torch.no_grad():
        expected = plain(image)
        unfrozen = accelerate_cuda(copy.deepcopy(plain))
        torch.testing.assert_close(unfrozen(image), expected, rtol=1e-9, atol=1e-11)
        frozen = accelerate_cuda(copy.deepcopy(plain), frozen=True)
        assert not any(isinstance(layer, VolumeNorm) for layer in frozen.modules())
        torch.testing.assert_close(frozen(image), expected, rtol=1e-9, atol=1e-11)


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
    actual = FusedLayer(plan)(image, residual)
    padded, plain = reference(image, plan, residual)
    torch.testing.assert_close(actual, (padded, plain) if plan.plain else padded)
    with torch.no_grad():
        torch.testing.assert_close(
            layers.FusedLeakyReLU(LayerPlan(slope=0.2))(image), functional.leaky_relu(image, 0.2)
        )
