"""Operations with a fixed order of summation: the same values and gradients as torch's own, and the same bits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from tests.support.training import DROPOUT, REGISTERED, toy_pair, toy_recipe
from tomostain.networks.layers import ReflectionPad2d, reflect_by_slices
from tomostain.train import LoadedDataset, Trainer
from tomostain.train.determinism import RandomState, fixed_order
from tomostain.train.warp import sample_bilinear


def gradients(compute, *inputs):
    """Return a result and the gradients of its weighted sum."""
    inputs = [value.detach().clone().requires_grad_() for value in inputs]
    result = compute(*inputs)
    weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(1), dtype=result.dtype)
    return result, *torch.autograd.grad((weights * result).sum(), inputs)


@settings(max_examples=20, deadline=None)
@given(st.tuples(*[st.integers(0, 3)] * 4))
def test_slices_reflect_as_torch_does(padding):
    image = torch.randn(2, 3, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mine = gradients(lambda value: reflect_by_slices(value, padding), image)
    torchs = gradients(lambda value: functional.pad(value, padding, mode="reflect"), image)
    assert torch.equal(mine[0], torchs[0])
    torch.testing.assert_close(mine[1], torchs[1])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 8.0))
def test_bilinear_sampling_is_that_of_grid_sample(seed, size):
    draws = torch.Generator().manual_seed(seed)
    image, positions = (
        torch.randn(2, 3, 5, 6, dtype=torch.float64, generator=draws),
        torch.randn(2, 2, 4, 7, dtype=torch.float64, generator=draws) * size + 2,
    )

    def torchs(image, positions):
        grid = torch.stack([2 * positions[:, 1] / 5 - 1, 2 * positions[:, 0] / 4 - 1], dim=-1)
        return functional.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)

    for mine, other in zip(
        gradients(lambda image, positions: sample_bilinear(image, positions[:, 0], positions[:, 1]), image, positions),
        gradients(torchs, image, positions),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)


def test_the_setting_of_the_process_comes_back():
    assert not torch.are_deterministic_algorithms_enabled()
    with fixed_order():
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    # A CPU has a fixed order anyway.
    with RandomState(0, "cpu", ordered=True).activate():
        assert not torch.are_deterministic_algorithms_enabled()


def test_padding_has_no_weights_and_torchs_bits_on_a_cpu():
    image = torch.randn(1, 2, 8, 8)
    assert torch.equal(ReflectionPad2d(3)(image), nn.ReflectionPad2d(3)(image))
    assert ReflectionPad2d(3).state_dict() == {}


@pytest.mark.gpu
@pytest.mark.parametrize("changes", [{}, DROPOUT, REGISTERED], ids=["cycles", "dropout", "registered"])
def test_a_gpu_gives_the_same_bits_on_request(changes):
    data = LoadedDataset.from_pairs([toy_pair("a", 0), toy_pair("b", 1)])
    weights = []
    for _ in range(2):
        trainer = Trainer(toy_recipe(**changes, deterministic=True), data, None, 0, "cuda")
        for _ in range(5):
            trainer.take_step()
        weights.append([value.detach().cpu() for value in trainer.state.networks.g_xy.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
