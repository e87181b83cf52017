"""Layers of the paper's ResNet-9/64 in torch and with `tomostain.networks.kernels.accelerate`: time."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measure import as_rows, paired
from tomostain.memory import keep_freed_memory
from tomostain.networks import count_multiply_adds
from tomostain.networks.build import build_network
from tomostain.networks.kernels import accelerate, put_channels_last

# Layers of the network, and the side of their input as a fraction of the patch side.
LAYERS: dict[str, tuple[Callable[[], nn.Sequential], int, int]] = {
    "3 × 3, 256 → 256": (lambda: nn.Sequential(nn.Conv2d(256, 256, 3)), 256, 4),
    "3 × 3, 128 → 128, torch's kernel in channels-last memory": (lambda: nn.Sequential(nn.Conv2d(128, 128, 3)), 128, 2),
    "up, 256 → 128": (lambda: _up(256, 128), 256, 4),
    "up, 128 → 64": (lambda: _up(128, 64), 128, 2),
    "7 × 7, 64 → 3": (lambda: nn.Sequential(nn.Conv2d(64, 3, 7)), 64, 1),
}


def _up(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Upsample(scale_factor=2), nn.ReflectionPad2d(1), nn.Conv2d(inputs, outputs, 3))


def step(network: nn.Module, image: Tensor, grad: Tensor) -> None:
    """Run the forward pass and the backward pass to the weights and the input."""
    image.grad = None
    network.zero_grad(set_to_none=True)
    network(image).backward(grad)


def compare(network: nn.Module, image: Tensor, rounds: int, *, inside: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Time a network, or layers of a larger network (`inside`), without and with fast convolutions."""
    fast, frozen = accelerate(copy.deepcopy(network)), accelerate(copy.deepcopy(network), frozen=True)
    image_fast = image
    if inside:  # a channels-last network: input and output are channels-last
        image_fast = image.contiguous(memory_format=torch.channels_last)
        for network_fast in (fast, frozen):
            put_channels_last(network_fast)._forward_hooks.clear()
    flop = 2 * count_multiply_adds(network, tuple(image.shape))

    def infer(network_fast: nn.Module, image: Tensor) -> Tensor:
        with torch.inference_mode():
            return network_fast(image)

    grad = torch.randn_like(infer(network, image))
    image_torch, image_fast_grad = image.clone().requires_grad_(), image_fast.clone().requires_grad_()
    grad_fast = grad.contiguous(memory_format=torch.channels_last) if inside else grad
    inference = paired(
        {"torch": lambda: infer(network, image), "fast": lambda: infer(frozen, image_fast)}, rounds, flop=flop
    )
    training = paired(
        {"torch": lambda: step(network, image_torch, grad), "fast": lambda: step(fast, image_fast_grad, grad_fast)},
        rounds,
        flop=3 * flop,
    )
    return {"inference": as_rows(inference), "training": as_rows(training)}


def measure(rounds: int, patches: tuple[int, ...] = (256, 128)) -> list[dict[str, Any]]:
    """Time every layer and the whole generator at each side of a patch."""
    torch.manual_seed(0)
    keep_freed_memory()
    results = []
    for patch in patches:
        for name, (build, channels, part) in LAYERS.items():
            pad = 0 if name.startswith("up") else 6 if name.startswith("7") else 2
            image = torch.randn(1, channels, patch // part + pad, patch // part + pad)
            results.append({"layer": name, "patch_px": patch, **compare(build(), image, rounds, inside=True)})
        network = build_network({"name": "resnet"}, torch.Generator().manual_seed(0))
        image = torch.rand(1, 3, patch, patch) * 2 - 1
        results.append(
            {"layer": "the whole generator", "patch_px": patch, **compare(network, image, max(3, rounds // 2))}
        )
    return results
