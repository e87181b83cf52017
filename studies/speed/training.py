"""A training step of the paper's networks: this package with fast and plain kernels, and two other projects.

All compute the objective of eq. (4): adversarial, cycle and identity terms, two generators, two discriminators. The
time of this package includes the sampling of patches. The other projects receive images, and have no buffer of fake
images.
"""

import functools
import importlib.util
import itertools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import as_rows, paired
from benchmarks.training import our_steps
from tomostain.memory import keep_freed_memory

PEERS = {
    "PyTorch-GAN": Path("implementations") / "cyclegan" / "models.py",
    "junyanz's CycleGAN": Path("models") / "networks.py",
}


def module_at(source: Path) -> Any:
    """Import a file with networks of another project, which the user has named."""
    spec = importlib.util.spec_from_file_location("peer_" + source.stem, source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pytorch_gan_step(models: Any, patch: int) -> Callable[[], None]:
    """Return a training step of PyTorch-GAN's `cyclegan.py`, with the networks of its `models.py`."""
    shape = (3, patch, patch)
    forth, back = (models.GeneratorResNet(shape, 9).apply(models.weights_init_normal) for _ in range(2))
    of_a, of_b = (models.Discriminator(shape).apply(models.weights_init_normal) for _ in range(2))
    generators = _adam(forth, back)
    optimisers = [_adam(of_a), _adam(of_b)]
    a, b = (torch.rand(1, *shape) * 2 - 1 for _ in range(2))

    def step() -> None:
        generators.zero_grad()
        identity = (_l1(back(a), a) + _l1(forth(b), b)) / 2
        fake_b, fake_a = forth(a), back(b)
        adversarial = (_least_squares(of_b(fake_b), 1) + _least_squares(of_a(fake_a), 1)) / 2
        cycle = (_l1(back(fake_b), a) + _l1(forth(fake_a), b)) / 2
        (adversarial + 10 * cycle + 5 * identity).backward()
        generators.step()
        for discriminator, optimiser, real, fake in zip(
            (of_a, of_b), optimisers, (a, b), (fake_a, fake_b), strict=True
        ):
            optimiser.zero_grad()
            _backward_discriminator(discriminator, real, fake)
            optimiser.step()

    return step


def junyanz_step(models: Any, patch: int) -> Callable[[], None]:
    """Return a training step of `cycle_gan_model.py` of pytorch-CycleGAN-and-pix2pix, with its `networks.py`.

    With its defaults: λ 10 and 0.5 for identity, one optimiser for both discriminators, whose weights need no gradient
    in the step of the generators.
    """
    norm = functools.partial(nn.InstanceNorm2d, affine=False, track_running_stats=False)
    forth, back = (models.ResnetGenerator(3, 3, 64, norm_layer=norm, n_blocks=9) for _ in range(2))
    of_a, of_b = (models.NLayerDiscriminator(3, 64, n_layers=3, norm_layer=norm) for _ in range(2))
    generators, optimiser = _adam(forth, back), _adam(of_a, of_b)
    a, b = (torch.rand(1, 3, patch, patch) * 2 - 1 for _ in range(2))

    def step() -> None:
        fake_b, fake_a = forth(a), back(b)
        again_a, again_b = back(fake_b), forth(fake_a)
        for discriminator in (of_a, of_b):
            discriminator.requires_grad_(False)
        generators.zero_grad()
        identity = 5 * (_l1(forth(b), b) + _l1(back(a), a))
        adversarial = _least_squares(of_b(fake_b), 1) + _least_squares(of_a(fake_a), 1)
        (adversarial + 10 * (_l1(again_a, a) + _l1(again_b, b)) + identity).backward()
        generators.step()
        for discriminator in (of_a, of_b):
            discriminator.requires_grad_(True)
        optimiser.zero_grad()
        _backward_discriminator(of_a, a, fake_a)
        _backward_discriminator(of_b, b, fake_b)
        optimiser.step()

    return step


STEPS = {"PyTorch-GAN": pytorch_gan_step, "junyanz's CycleGAN": junyanz_step}
_l1 = nn.L1Loss()


def _adam(*networks: nn.Module) -> torch.optim.Optimizer:
    values = itertools.chain.from_iterable(network.parameters() for network in networks)
    return torch.optim.Adam(values, lr=2e-4, betas=(0.5, 0.999))


def _least_squares(scores: Tensor, target: float) -> Tensor:
    """Return the least-squares loss of scores with one target value."""
    return functional.mse_loss(scores, torch.full_like(scores, target))


def _backward_discriminator(discriminator: nn.Module, real: Tensor, fake: Tensor) -> None:
    """Run the backward pass of the loss of a discriminator."""
    ((_least_squares(discriminator(real), 1) + _least_squares(discriminator(fake.detach()), 0)) / 2).backward()


def measure(rounds: int, patch: int, peers: Mapping[str, Path | None]) -> dict[str, Any]:
    """Time steps in turn. The operations are counted once, in torch's kernels."""
    keep_freed_memory()  # like the command line; the other projects benefit too
    candidates: dict[str, Callable[[], Any]] = {}
    for name, file in PEERS.items():
        folder = peers.get(name)
        if folder is not None and (folder / file).is_file():
            candidates[name] = STEPS[name](module_at(folder / file), patch)
        else:
            reason = f"no {file} in {folder}" if folder else "no path given"
            print(f"training: {name} skipped, {reason}; give the path of a checkout", file=sys.stderr)
    candidates |= our_steps(patch)
    flop = {}
    for name, step in candidates.items():
        counter = FlopCounterMode(display=False)
        with counter:
            step()
        flop[name] = counter.get_total_flops()
    # The fast kernels would count their own operations. The definition uses those of the plain kernels.
    flop |= {name: flop["tomostain, plain kernels"] for name in flop if name.startswith("tomostain")}
    return {"patch_px": patch, "timings": as_rows(paired(candidates, rounds, warm=False, flop=flop))}
