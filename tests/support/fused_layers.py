"""Fused layers of a GPU next to those of torch, for tests."""

import torch
from torch.nn import functional

from tomostain.networks.build import build_network
from tomostain.networks.kernels.cuda.functions import fused
from tomostain.networks.kernels.cuda.plan import LayerPlan

NORM = LayerPlan(eps=1e-5)
RESNET = {"name": "resnet", "in_channels": 3, "width": 6, "blocks": 2}


def reference(image, plan, residual=None):
    """Return what torch's layers compute, one after the other."""
    value = image if plan.eps is None else functional.instance_norm(image, eps=plan.eps)
    value = value if residual is None else value + residual
    if plan.slope != 1:
        value = functional.leaky_relu(value, plan.slope) if plan.slope else functional.relu(value)
    padded = functional.interpolate(value, scale_factor=plan.up) if plan.up != 1 else value
    padded = functional.pad(padded, (plan.pad,) * 4, mode="reflect") if plan.pad else padded
    return padded, value if plan.plain else None


def draw(shape, seed, device="cpu", dtype=torch.float64):
    """Return random numbers that are the same on each device."""
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
    """Return what the programs compute."""
    return fused(image, plan, residual=residual)


def compare(plan, joins, shape, device, dtype, tolerance):
    """Compare with float64, relative to the largest value."""
    image = (draw(shape, 0, device) + 3 * draw((shape[1], 1, 1), 1, device)).to(dtype)
    image = image.contiguous(memory_format=torch.channels_last)
    residual = draw(shape, 2, device).to(dtype) if joins else None
    precise = None if residual is None else residual.double()
    truth = run(reference, image.double(), plan, precise, torch.float64)
    actual = run(by_programs, image, plan, residual, dtype)
    assert len(actual) == len(truth)
    for ours, expected in zip(actual, truth, strict=True):
        assert ours.shape == expected.shape
        assert ours.dtype == dtype
        assert (ours.double() - expected).abs().max() <= tolerance * expected.abs().max()


def build(spec, device="cpu", dtype=torch.float64):
    """Return a network with the same random weights each time."""
    return build_network(spec, torch.Generator().manual_seed(0)).to(device, dtype)
