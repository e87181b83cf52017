"""The simulated GPU notices what a GPU would: tensors on two devices, and what the host waits for."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.simulated_gpu import GPU, is_possible, simulated_gpu

pytestmark = pytest.mark.skipif(not is_possible(), reason="this torch has GPUs, or another layout")


@pytest.fixture
def gpu(monkeypatch):
    with simulated_gpu(monkeypatch) as simulated:
        yield simulated


def test_tensors_on_two_devices_are_an_error(gpu):
    with pytest.raises(RuntimeError, match="at least two devices, cuda:0 and cpu"):
        torch.ones(3, device=GPU) + torch.ones(3)
    assert (torch.ones(3, device=GPU) + torch.tensor(1.0)).device == GPU  # a number is no tensor of another device


def test_operators_on_the_host_have_values(gpu):
    assert torch.ones(3).cumsum(0).tolist() == [1, 2, 3]
    assert torch.from_numpy(np.arange(3)).numpy().sum() == 3
    assert (gpu.operators, gpu.waits) == (0, [])


@pytest.mark.parametrize(
    "wait",
    [
        lambda values: values.sum().item(),
        lambda values: float(values[0]),
        lambda values: bool((values > 0).all()),
        lambda values: values.cpu(),
        lambda values: values.tolist(),
        lambda values: torch.empty(3).copy_(values),
        lambda values: torch.empty(3).copy_(values, non_blocking=True),
        lambda values: values + torch.ones(3).to(GPU),
        lambda values: values + torch.ones(3).to(GPU, non_blocking=True),
        lambda values: values + torch.tensor([1.0, 2.0, 3.0], device=GPU),
    ],
)
def test_numbers_and_copies_from_memory_that_is_not_pinned_make_the_host_wait(gpu, wait):
    wait(torch.ones(3, device=GPU))
    assert len(gpu.waits) == 1


def test_asynchronous_copies_of_pinned_memory_do_not(gpu):
    pinned = torch.empty(2, 3, pin_memory=True)
    values = pinned[1:].to(GPU, non_blocking=True)
    pinned[:1].copy_(values, non_blocking=True)
    assert (gpu.uploads, gpu.downloads, gpu.waits) == ([(1, 3)], [(1, 3)], [])
    gpu.forget()
    assert (gpu.uploads, gpu.downloads) == ([], [])


def test_operators_whose_shape_depends_on_values_are_an_error(gpu):
    with pytest.raises(RuntimeError, match="nonzero"):
        torch.ones(3, device=GPU).nonzero()


def test_a_network_runs_there(gpu):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.InstanceNorm2d(2)).to(GPU).half().eval()
    assert network(torch.zeros(4, 1, 9, 9, device=GPU, dtype=torch.float16)).shape == (4, 2, 7, 7)


def test_torch_is_as_before_afterwards():
    with pytest.MonkeyPatch.context() as patch, simulated_gpu(patch):
        assert torch.cuda.is_available()
    assert not torch.cuda.is_available()
    with pytest.raises((RuntimeError, AssertionError)):
        torch.ones(3).to(GPU)
    assert torch.ones(3).sum().item() == 3
