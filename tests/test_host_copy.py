"""Copies of several arrays in one buffer."""

import numpy as np
import pytest
import torch

from tomostain.host_copy import copy_together, pack, unpack

ARRAYS = [
    np.arange(6, dtype=np.int64).reshape(2, 3),
    np.linspace(0, 1, 5, dtype=np.float32),
    np.array([[True], [False], [True]]),
    np.float64([[[2.5]]]),
]


def test_on_a_cpu_the_memory_is_shared():
    (tensor,) = copy_together(torch.device("cpu"), values := np.zeros(3))
    values[1] = 4
    assert tensor.tolist() == [0, 4, 0]


def test_another_device_gets_shapes_and_types():
    # "meta" stands for a GPU: tensors there have no values.
    copies = copy_together(torch.device("meta"), *ARRAYS)
    assert [copy.device.type for copy in copies] == ["meta"] * 4
    assert [tuple(copy.shape) for copy in copies] == [array.shape for array in ARRAYS]
    assert [copy.dtype for copy in copies] == [torch.int64, torch.float32, torch.bool, torch.float64]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 1, 3, 0]])
def test_packed_arrays_come_back(order):
    arrays = [ARRAYS[number] for number in order]
    buffer = torch.zeros(88, dtype=torch.uint8)
    pack(arrays, buffer.numpy())
    for tensor, array in zip(unpack(buffer, arrays), arrays, strict=True):
        assert tensor.numpy().dtype == array.dtype
        np.testing.assert_array_equal(tensor.numpy(), array)
