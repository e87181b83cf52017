"""Measure the fused layers of a GPU against those of torch, alone and in the networks of `paired-cyclegan`.

    python -m benchmarks.gpu_layers [--tune]

--tune times other sizes of the blocks of the programs instead, about 40 s on a card.
Each is captured as a CUDA graph, so that the time is that of the card and not that of the host which launches it.
Without a GPU the same runs with small networks on the CPU, where both are layers of torch.
"""

import copy
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_items import Row
from benchmarks.gpu_size import Size, size_here
from tomostain.networks import build_network
from tomostain.networks.kernels import accelerate_cuda
from tomostain.networks.kernels.cuda import launch
from tomostain.networks.kernels.cuda.layers import FusedLayer
from tomostain.networks.kernels.cuda.plan import LayerPlan

Run = Callable[[], Sequence[Tensor]]

# Of `paired-cyclegan` at batch 4: (B, C, H, W) before the layer.
LAYERS = {
    "pad 3": (LayerPlan(pad=3), (4, 64, 256, 256)),
    "norm, ReLU, pad 1": (LayerPlan(eps=1e-5, slope=0.0, pad=1), (4, 64, 256, 256)),
    "norm, ReLU, pad 1 (128)": (LayerPlan(eps=1e-5, slope=0.0, pad=1), (4, 128, 128, 128)),
    "norm, ReLU, pad 1 (256)": (LayerPlan(eps=1e-5, slope=0.0, pad=1), (4, 256, 64, 64)),
    "norm, ReLU, enlarge, pad 1": (LayerPlan(eps=1e-5, slope=0.0, up=2, pad=1), (4, 128, 128, 128)),
    "norm, leaky ReLU": (LayerPlan(eps=1e-5, slope=0.2), (4, 128, 64, 64)),
}
REPEATS, TOP = 20, 14


def measure(size: Size) -> Iterator[Row]:
    """Yield the rows of all tables."""
    yield from networks(size)
    yield from layers(size)


def _milliseconds(run: Run, size: Size) -> tuple[float, list[Tensor], Callable[[], None]]:
    """Return the median time, the results, and a function that repeats the run, on a card as a CUDA graph."""
    if size.device != "cuda":
        results = list(run())
        times = []
        for _ in range(2):
            began = time.perf_counter()
            run()
            times.append(1000 * (time.perf_counter() - began))
        return statistics.median(times), results, lambda: None
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        results = list(run())
    return _replay_ms(graph), [value.clone() for value in results], graph.replay


def _replay_ms(graph: "torch.cuda.CUDAGraph") -> float:
    events = [torch.cuda.Event(enable_timing=True) for _ in range(REPEATS + 1)]
    for _ in range(3):
        graph.replay()
    events[0].record()
    for event in events[1:]:
        graph.replay()
        event.record()
    torch.cuda.synchronize()
    return statistics.median(one.elapsed_time(other) for one, other in pairwise(events))


def _torchs(plan: LayerPlan, image: Tensor) -> Tensor:
    if plan.eps is not None:
        image = functional.instance_norm(image, eps=plan.eps)
    if plan.slope != 1:
        image = functional.leaky_relu(image, plan.slope) if plan.slope else functional.relu(image)
    if plan.up != 1:
        image = functional.interpolate(image, scale_factor=plan.up)
    return functional.pad(image, (plan.pad,) * 4, mode="reflect") if plan.pad else image


def layers(size: Size) -> Iterator[Row]:
    """Yield the times of each layer: torch's with channels first and last, and the fused one, all in bf16."""
    dtype = torch.bfloat16 if size.device == "cuda" else torch.float32
    for name, (plan, shape) in LAYERS.items():
        if size.toy:
            shape = (1, 4, 16, 16)
        image = torch.randn(shape, device=size.device, dtype=dtype)
        last = image.contiguous(memory_format=torch.channels_last)
        layer = FusedLayer(plan)
        ways: dict[str, tuple[Callable[[Tensor], Any], Tensor]] = {
            "torch": (_of(plan), image),
            "torch_last": (_of(plan), last),
            "fused": (layer, last),
        }
        row: Row = {"layer": name, "shape": " x ".join(map(str, shape))}
        grads: dict[str, list[Tensor]] = {}
        for way, (function, source) in ways.items():
            row[f"{way}_forward_us"] = 1000 * _milliseconds(_forward(function, source), size)[0]
            both, grads[way], _ = _milliseconds(_both(function, source), size)
            row[f"{way}_both_us"] = 1000 * both
        bytes_read = 2 * image.numel() * image.element_size()
        row["copy_us"] = 1000 * _milliseconds(lambda source=last: [source.clone()], size)[0]  # type: ignore[misc]
        row["copied_mb"] = bytes_read / 1e6
        row["deviation"], row["gradient_deviation"] = (
            _deviation(ours, theirs) for ours, theirs in zip(grads["fused"], grads["torch"], strict=True)
        )
        yield row


def _of(plan: LayerPlan) -> Callable[[Tensor], Tensor]:
    return lambda image: _torchs(plan, image)


def _forward(function: Callable[[Tensor], Any], image: Tensor) -> Run:
    def run() -> list[Tensor]:
        with torch.no_grad():
            return [function(image)]

    return run


def _both(function: Callable[[Tensor], Any], image: Tensor) -> Run:
    leaf = image.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    with torch.no_grad():
        result = function(image)
    draws = torch.Generator(image.device).manual_seed(0)
    grad = torch.randn(result.shape, generator=draws, device=image.device)
    grad = torch.empty_like(result).copy_(grad)

    def run() -> list[Tensor]:
        result = function(leaf)
        return [result.detach(), *torch.autograd.grad(result, leaf, grad)]

    return run


def _deviation(ours: Tensor, theirs: Tensor) -> float:
    """Return the norm of the difference relative to that of the reference."""
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm().clamp(min=1e-30))


@contextmanager
def _cudnn(*, deterministic: bool, benchmark: bool) -> Iterator[None]:
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = deterministic, benchmark
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before


def networks(size: Size) -> Iterator[Row]:
    """Yield the time of a forward and a backward pass of generator and discriminator, as torch has them and fused."""
    side, width, blocks = (size.patch_px, 8, 1) if size.toy else (size.patch_px, 64, 9)
    specs = {
        "generator": {"name": "resnet", "in_channels": 3, "width": width, "blocks": blocks},
        "discriminator": {"name": "patch", "in_channels": 3, "width": width},
    }
    for name, spec in specs.items():
        plain = build_network(spec, torch.Generator().manual_seed(0)).to(size.device)
        image = torch.randn(size.batches[0], 3, side, side, device=size.device)
        reference: list[Tensor] = []
        for way, network, options in _ways(plain):
            with _cudnn(**options):
                took, values, repeat = _milliseconds(_learning(network, image), size)
            reference = reference or values
            yield {
                "network": name,
                "layers": way,
                "ms": took,
                "deviation": _deviation(values[0], reference[0]),
                "gradient_deviation": max(map(_deviation, *_weights(plain, values, reference))),
            }
            if way == "fused" and size.device == "cuda":
                yield from _kernels(name, repeat)


def _ways(plain: nn.Module) -> Iterator[tuple[str, nn.Module, dict[str, bool]]]:
    ordered = {"deterministic": True, "benchmark": False}
    fastest = {"deterministic": False, "benchmark": True}
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    yield "torch", plain, ordered
    yield "torch, channels last", last, ordered
    yield "fused", accelerate_cuda(copy.deepcopy(plain)), ordered
    yield "fused, narrow convolutions of cuDNN", accelerate_cuda(copy.deepcopy(plain), gather_channels=False), ordered
    yield "fused, cuDNN searches", accelerate_cuda(copy.deepcopy(plain)), fastest


def _weights(plain: nn.Module, *gradients: Sequence[Tensor]) -> list[list[Tensor]]:
    """Return the gradients of kernels: those of biases before a normalisation are rounding."""
    numbers = [number for number, value in enumerate(plain.parameters(), start=1) if value.dim() == 4]
    return [[values[number] for number in numbers] for values in gradients]


def _learning(network: nn.Module, image: Tensor) -> Run:
    values = list(network.parameters())
    enabled = image.is_cuda

    def run() -> list[Tensor]:
        # Within a graph, the cache of converted weights would hold memory of another one.
        with torch.autocast(image.device.type, torch.bfloat16, enabled=enabled, cache_enabled=False):
            result = network(image)
        return [result.detach(), *torch.autograd.grad(result.float().square().mean(), values)]

    return run


def _kernels(name: str, repeat: Callable[[], None]) -> Iterator[Row]:
    """Yield the kernels that take the longest."""
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiled:
        repeat()
        torch.cuda.synchronize()
    events = [event for event in profiled.key_averages() if event.self_device_time_total > 0]
    for event in sorted(events, key=lambda event: -event.self_device_time_total)[:TOP]:
        yield {
            "network": name,
            "kernel": event.key[:90],
            "kernel_ms": event.self_device_time_total / 1000,
            "launches": event.count,
        }


# Values of a block, warps and program instances; forward and backward. The first of each is the default.
_SIZES = {
    "forward": [(4096, 4, 1024), (4096, 8, 1024), (2048, 4, 1024), (2048, 4, 2048), (4096, 4, 528)],
    "both": [(2048, 4, 1024), (2048, 8, 1024), (1024, 4, 1024), (1024, 4, 2048), (2048, 4, 528), (4096, 8, 1024)],
}
_TUNED = ("norm, ReLU, pad 1", "norm, ReLU, pad 1 (256)", "norm, ReLU, enlarge, pad 1")


def tune(size: Size) -> Iterator[Row]:
    """Yield the times of some layers with other sizes of the blocks; a join has a residual and two results."""
    dtype = torch.bfloat16 if size.device == "cuda" else torch.float32
    plans = {name: LAYERS[name] for name in _TUNED} | {
        "join": (LayerPlan(eps=1e-5, pad=1, plain=True), (4, 256, 64, 64))
    }
    defaults = launch.BLOCK, launch.BLOCK_BACKWARD, launch.WARPS, launch.PROGRAMS
    for name, (plan, shape) in plans.items():
        image = torch.randn((1, 4, 16, 16) if size.toy else shape, device=size.device, dtype=dtype)
        layer, last = FusedLayer(plan), image.contiguous(memory_format=torch.channels_last)
        values = [last.clone().requires_grad_() for _ in range(2 if name == "join" else 1)]
        grads = [torch.randn_like(result) for result in _flat(layer(*values))]
        for way, sizes in _SIZES.items():
            for block, launch.WARPS, launch.PROGRAMS in sizes:
                launch.BLOCK, launch.BLOCK_BACKWARD = (block, 2048) if way == "forward" else (4096, block)
                run = partial(_forward_of if way == "forward" else _both_of, layer, values, grads)
                yield {
                    "layer": name, "pass": way, "block": block, "warps": launch.WARPS, "programs": launch.PROGRAMS,
                    "us": 1000 * _milliseconds(run, size)[0],
                }  # fmt: skip
        launch.BLOCK, launch.BLOCK_BACKWARD, launch.WARPS, launch.PROGRAMS = defaults


def _flat(results: Tensor | tuple[Tensor, Tensor]) -> list[Tensor]:
    return list(results) if isinstance(results, tuple) else [results]


def _forward_of(layer: FusedLayer, values: list[Tensor], grads: list[Tensor]) -> list[Tensor]:
    with torch.no_grad():
        return _flat(layer(*values))


def _both_of(layer: FusedLayer, values: list[Tensor], grads: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(_flat(layer(*values)), values, grads)


def main() -> int:
    """Print all rows."""
    size = size_here()
    if size.device != "cuda":
        print("no GPU: small networks on the CPU, where both are layers of torch")
    for row in (tune if "--tune" in sys.argv[1:] else measure)(size):
        cells = {key: f"{value:.4g}" if isinstance(value, float) else str(value) for key, value in row.items()}
        print(", ".join(f"{key} {value}" for key, value in cells.items()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
