"""Optimiser steps that do not wait for the device, against torch's own Adam and its definition of `lerp`."""

import copy
import math

import pytest
import torch
from torch import nn

from tests.support.operators import count_operators
from tomostain.train.optimisers import adam, step_if_finite, update_average

LEARNING_RATE, BETAS = 0.01, (0.5, 0.999)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def backward(net, scale=1.0):
    net.zero_grad()
    (net(torch.linspace(-1, 1, 20).view(4, 5)).square().mean() * scale).backward()


@pytest.mark.parametrize("max_norm", [0.01, math.inf])
def test_steps_are_those_of_torch_with_clipped_gradients(max_norm):
    ours, reference = network(), network()
    optimiser = adam(list(ours.parameters()), LEARNING_RATE, BETAS)
    slow = torch.optim.Adam(reference.parameters(), lr=LEARNING_RATE, betas=BETAS, foreach=False)
    for _ in range(5):
        backward(ours)
        step_if_finite(optimiser, max_norm)
        backward(reference)
        nn.utils.clip_grad_norm_(reference.parameters(), max_norm)
        slow.step()
    for mine, right in zip(ours.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_gradients_that_are_not_finite_change_nothing(bad):
    net = network()
    optimiser = adam(list(net.parameters()), LEARNING_RATE, BETAS)
    backward(net)
    assert step_if_finite(optimiser, 10.0) == 0
    weights, state = copy.deepcopy(net.state_dict()), copy.deepcopy(optimiser.state_dict()["state"])
    backward(net)
    net[0].bias.grad[2] = bad
    assert step_if_finite(optimiser, 10.0) == 1
    torch.testing.assert_close(net.state_dict(), weights, rtol=0, atol=0)
    torch.testing.assert_close(optimiser.state_dict()["state"], state, rtol=0, atol=0)
    # And the next good step is taken.
    backward(net)
    step_if_finite(optimiser, 10.0)
    assert not torch.equal(net[0].weight, weights["0.weight"])


def test_a_step_does_not_wait_and_is_one_operator_for_all_weights():
    net = network()
    optimiser = adam(list(net.parameters()), LEARNING_RATE, BETAS)
    backward(net)
    step_if_finite(optimiser, 10.0)
    backward(net)
    counted = count_operators(lambda: step_if_finite(optimiser, 10.0))
    assert counted.synchronisations == 0
    assert counted.operators["aten._fused_adam_.default"] == 1


def test_the_average_moves_by_the_share_of_the_difference():
    means, values = [torch.zeros(3), torch.ones(2, 2)], [torch.full((3,), 4.0), torch.zeros(2, 2)]
    counted = count_operators(lambda: update_average(means, values, 0.25))
    torch.testing.assert_close(means, [torch.ones(3), torch.full((2, 2), 0.75)])
    assert counted.total == 1


def test_a_weight_on_the_device_moves_the_average_equally():
    means, values = [torch.zeros(3), torch.ones(2, 2)], [torch.full((3,), 4.0), torch.zeros(2, 2)]
    weight = torch.tensor(0.25)
    counted = count_operators(lambda: update_average(means, values, weight))
    torch.testing.assert_close(means, [torch.ones(3), torch.full((2, 2), 0.75)])
    assert counted.synchronisations == 0
    assert counted.total == 3
