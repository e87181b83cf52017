"""The cost of a network: parameters and multiply-adds."""

import torch
from torch import Tensor, nn


def count_parameters(network: nn.Module) -> int:
    """Return the number of trained values.

    Examples
    --------
    >>> count_parameters(nn.Conv2d(2, 5, 3))
    95
    """
    return sum(parameter.numel() for parameter in network.parameters())


def count_multiply_adds(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Return the multiply-adds of the convolutions of a network for one input.

    Only convolutions are counted; the cost of all other layers is small. The network runs once, on zeros, and stays in
    the mode (training or evaluation) that it had.

    Parameters
    ----------
    network : nn.Module
        Takes one image.
    shape : tuple of int
        (B, C, H, W) of the input.

    Examples
    --------
    >>> count_multiply_adds(nn.Conv2d(2, 5, 3, padding=1), (1, 2, 4, 4))
    1440
    >>> count_multiply_adds(nn.ConvTranspose2d(2, 5, 4, 2, 1), (1, 2, 4, 4))
    2560
    >>> count_multiply_adds(nn.Conv2d(4, 4, 3, padding=1, groups=4), (1, 4, 4, 4))
    576
    """
    total = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        # Each output value (of a transposed convolution: each input value) meets each kernel once.
        values, features = (
            (output, layer.in_channels) if isinstance(layer, nn.Conv2d) else (inputs[0], layer.out_channels)
        )
        total += values.numel() * features // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    parameter = next(network.parameters(), None)
    was_training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(shape) if parameter is None else parameter.new_zeros(shape))
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    return total
