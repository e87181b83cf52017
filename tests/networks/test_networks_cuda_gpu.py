"""Fused layers on a GPU: the programs as compiled there, cuDNN's convolutions, autocast and CUDA graphs."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.support.fused_layers import NORM, RESNET, build, compare, draw
from tomostain.networks.kernels import accelerate_cuda
from tomostain.networks.kernels.cuda.launch import can_run
from tomostain.networks.kernels.cuda.narrow import GatheringConv2d, RowSumConv2d
from tomostain.networks.kernels.cuda.plan import LayerPlan
from tomostain.stain.volume_statistics import VolumeNorm, with_volume_norms

pytestmark = pytest.mark.gpu

PLANS = {
    "pad 3": (LayerPlan(pad=3), False),
    "norm, relu, enlarge, pad 1": (replace(NORM, slope=0.0, up=2, pad=1), False),
    "norm, residual, pad 1, plain": (replace(NORM, pad=1, plain=True), True),
}


def test_triton_works_here():
    assert can_run(torch.empty(0, device="cuda"))


# Few: each plan and precision takes seconds to compile.
@pytest.mark.parametrize("name", PLANS)
def test_a_plan_gives_what_torch_gives_in_float64(name):
    compare(*PLANS[name], (2, 64, 33, 70), "cuda", torch.float32, 1e-5)


@pytest.mark.parametrize(
    ("layer", "pad"), [(nn.Conv2d(3, 5, 7), 3), (nn.Conv2d(3, 5, 4, 2, 1), 0), (nn.Conv2d(9, 3, 7), 3)]
)
def test_convolutions_of_few_channels_give_what_torch_gives(layer, pad):
    chain = [nn.ReflectionPad2d(pad), layer] if pad else [layer]
    plain = nn.Sequential(*copy.deepcopy(chain)).to("cuda", torch.float64)
    fast = accelerate_cuda(copy.deepcopy(plain))
    assert any(isinstance(each, GatheringConv2d | RowSumConv2d) for each in fast)
    runs = []
    for network in (plain, fast):
        image = draw((2, layer.in_channels, 33, 70), 0, "cuda").requires_grad_()
        result = network(image)
        weights = draw(result.shape, 1, "cuda")
        runs.append([result, *torch.autograd.grad(result, [image, *network.parameters()], weights)])
    for expected, ours in zip(*runs, strict=True):
        assert (ours - expected).norm() <= 1e-10 * expected.norm()


def paper_generator(width=64):
    return build(RESNET | {"width": width, "blocks": 9}, "cuda", torch.float32)


def learn(network, image):
    """Return the result and the gradients of the weights under autocast, as in training with `bf16-mixed`."""
    with torch.autocast("cuda", torch.bfloat16):
        result = network(image)
    values = list(network.parameters())
    return [result.detach(), *torch.autograd.grad(result.float().square().mean(), values)]


def test_the_papers_generator_learns_the_same_under_autocast():
    plain = paper_generator()
    fast = accelerate_cuda(copy.deepcopy(plain))
    image = draw((2, 3, 128, 128), 0, "cuda", torch.float32)
    _check_rounding(plain, fast, image)


def _check_rounding(plain, fast, image):
    truth = [value.double() for value in _single(plain, image)]
    ours, torchs = learn(fast, image), learn(plain, image)
    for actual, other, expected in zip(ours, torchs, truth, strict=True):
        size = expected.norm() + 1e-6
        # bfloat16 rounds to 8 bits. The rounding of torch's own layers is the measure.
        assert (actual.double() - expected).norm() <= 2 * (other.double() - expected).norm() + 2e-2 * size


def _single(network, image):
    result = network(image)
    values = list(network.parameters())
    return [result.detach(), *torch.autograd.grad(result.square().mean(), values)]


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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_staining_in_half_precision_rounds_no_more_than_torch(dtype):
    plain = paper_generator().eval().requires_grad_(False)
    image = draw((1, 3, 128, 160), 0, "cuda", torch.float32)
    with torch.inference_mode():
        truth = plain(image)
        half = copy.deepcopy(plain).to(dtype)
        torchs = half(image.to(dtype)).float()
        ours = accelerate_cuda(half, frozen=True)(image.to(dtype)).float()
    assert (ours - truth).norm() <= 2 * (torchs - truth).norm()


@pytest.mark.parametrize("name", ["patch", "unet"])
def test_other_networks_learn_the_same_under_autocast(name):
    specs = {
        "patch": {"name": "patch", "in_channels": 3, "width": 16},
        "unet": {"name": "unet", "width": 16, "downs": 3, "detail": 8, "norm": "channel", "upsampling": "bilinear"},
    }
    plain = build(specs[name], "cuda", torch.float32)
    fast = accelerate_cuda(copy.deepcopy(plain))
    image = draw((2, 3, 64, 64), 0, "cuda", torch.float32)
    _check_rounding(plain, fast, image)


def test_fixed_statistics_become_part_of_the_weights():
    plain = with_volume_norms(build(RESNET | {"width": 16}, "cuda", torch.float32)).requires_grad_(False)
    norms = [layer for layer in plain.modules() if isinstance(layer, VolumeNorm)]
    for number, norm in enumerate(norms):
        norm.mean, norm.variance = (
            draw(norm.mean.shape, seed, "cuda", torch.float32) for seed in (number, 99 + number)
        )
        norm.variance = norm.variance.exp()
    fast = accelerate_cuda(copy.deepcopy(plain), frozen=True)
    assert norms
    assert not any(isinstance(layer, VolumeNorm) for layer in fast.modules())
    image = draw((1, 3, 64, 48), 0, "cuda", torch.float32)
    with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
        expected = plain(image)
        assert (fast(image) - expected).norm() <= 1e-4 * expected.norm()
