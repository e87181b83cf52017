"""The cost of a network, compared with the definition of a convolution."""

import pytest
import torch

from tomostain.networks import count_multiply_adds


@pytest.mark.parametrize("stride", [1, 2])
def test_multiply_adds_are_those_of_the_definition(stride):
    """Plain: each output value meets in × k². Transposed: each input value meets out × k²."""
    shape = (2, 3, 8, 10)
    plain, image = torch.nn.Conv2d(3, 5, 3, stride, 1), torch.zeros(shape)
    assert count_multiply_adds(torch.nn.Sequential(plain, torch.nn.ReLU()), shape) == plain(image).numel() * 3 * 9
    assert count_multiply_adds(torch.nn.ConvTranspose2d(3, 5, 4, stride, 1), shape) == image.numel() * 5 * 16
