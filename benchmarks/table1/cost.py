"""Multiply-adds and weights of each row's generator, for one patch of its recipe.

    python -m benchmarks.table1.cost [RECIPE ...]

Convolutions alone are counted; what else there is costs little beside them.
"""

import argparse

import torch
from torch import nn

from benchmarks.table1.editions import ROWS
from tomostain.train import load_recipe
from tomostain.train.networks import build_network, count_parameters


def multiply_adds(network: nn.Module, image: torch.Tensor) -> int:
    """Return the multiply-adds of a network's convolutions for one input.

    Examples
    --------
    >>> multiply_adds(nn.Conv2d(2, 5, 3, padding=1), torch.zeros(1, 2, 4, 4))
    1440
    >>> multiply_adds(nn.ConvTranspose2d(2, 5, 4, 2, 1), torch.zeros(1, 2, 4, 4))
    2560
    """
    total = 0

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        # Each value that comes in (transposed: each that comes out of a plain one) meets each kernel once.
        places, features = (
            (output, layer.in_channels) if isinstance(layer, nn.Conv2d) else (inputs[0], layer.out_channels)
        )
        total += places.numel() * features * layer.kernel_size[0] * layer.kernel_size[1]

    handles = [
        layer.register_forward_hook(count)
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    ]
    with torch.no_grad():
        network.eval()(image)
    for handle in handles:
        handle.remove()
    return total


def main() -> None:
    """Print a line for each recipe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=[row + edition for edition in ("-cpu", "") for row in ROWS])
    print("| recipe | patch / px | multiply-adds / 10⁹ | weights / 10⁶ |\n|---|---|---|---|")
    for name in parser.parse_args().recipes:
        recipe = load_recipe(name)
        network = build_network(recipe.generator_spec())
        cost = multiply_adds(network, torch.zeros(1, recipe.in_channels, recipe.patch_px, recipe.patch_px))
        print(f"| {name} | {recipe.patch_px} | {cost / 1e9:.3f} | {count_parameters(network) / 1e6:.2f} |")


if __name__ == "__main__":
    main()
