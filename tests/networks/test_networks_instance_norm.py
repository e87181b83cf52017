"""Instance normalisation with channels last equals torch's own in float64, forward and backward."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tomostain.networks.kernels import instance_norm as instance
from tomostain.networks.kernels.instance_norm import PixelwiseInstanceNorm2d


def images(seed, batch, features, height, width, dtype):
    draws = torch.Generator().manual_seed(seed)
    values = torch.randn(2, batch, features, height, width, generator=draws, dtype=torch.float64)
    values[0] += 3 * torch.randn(features, 1, 1, generator=draws, dtype=torch.float64)  # means far from zero
    return values.to(dtype)


def run(norm, image, grad, layout):
    leaf = image.contiguous(memory_format=layout).requires_grad_()
    result = norm(leaf)
    (slope,) = torch.autograd.grad(result, leaf, grad.contiguous(memory_format=layout))
    return result.detach(), slope


SHAPES = (st.integers(1, 3), st.integers(2, 7), st.integers(2, 15), st.integers(2, 15))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 2e-5)])
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 99), shape=st.tuples(*SHAPES), piece=st.sampled_from([1, 20, 1 << 18]))
def test_it_is_torchs_own_forward_and_backward(dtype, tolerance, seed, shape, piece):
    image, grad = images(seed, *shape, dtype)
    truth = run(nn.InstanceNorm2d(shape[1]), image.double(), grad.double(), torch.contiguous_format)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instance, "_PIECE", piece)
        actual = run(PixelwiseInstanceNorm2d(shape[1]), image, grad, torch.channels_last)
    for value, expected in zip(actual, truth, strict=True):
        assert (value.double() - expected).norm() <= tolerance * expected.norm().clamp_min(1)


def test_derivatives_are_those_of_finite_differences():
    image = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    leaf = image.contiguous(memory_format=torch.channels_last).requires_grad_()
    assert torch.autograd.gradcheck(PixelwiseInstanceNorm2d(3), [leaf])


def test_the_result_has_the_memory_format_of_the_image():
    image = torch.randn(2, 3, 4, 5)
    norm = PixelwiseInstanceNorm2d(3)
    assert norm(image).is_contiguous()
    last = image.contiguous(memory_format=torch.channels_last)
    assert norm(last).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(norm(last), norm(image), rtol=1e-5, atol=1e-6)


def test_a_constant_image_becomes_zero():
    image = torch.full((1, 3, 8, 8), 7.0).contiguous(memory_format=torch.channels_last)
    assert PixelwiseInstanceNorm2d(3)(image).abs().max() < 1e-3


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
def test_half_precision_rounds_stored_values_and_computes_in_single(dtype, rounding):
    image, grad = images(0, 2, 5, 40, 30, dtype)
    truth = run(nn.InstanceNorm2d(5), image.double(), grad.double(), torch.contiguous_format)
    actual = run(PixelwiseInstanceNorm2d(5), image, grad, torch.channels_last)
    for value, expected in zip(actual, truth, strict=True):
        assert value.dtype == dtype
        # Backward uses the rounded normalised image.
        assert (
            (value.double() - expected).abs() <= 2 * rounding * expected.abs().clamp_min(expected.abs().mean())
        ).all()
