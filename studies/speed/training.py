"""A training step of the paper's networks: ours with fast and with plain kernels, and its peers', on one sample.

All compute the objective of eq. (4): adversarial, cycle and identity terms, two generators, two discriminators. Ours
cut their patches in the time that is measured; the peers are handed their images, and keep no buffer of fakes.
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
    """Run a peer's file of networks, which the user has named, and return what it defines."""
    spec = importlib.util.spec_from_file_location("peer_" + source.stem, source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pytorch_gan_step(models: Any, patch: int) -> Callable[[], None]:
    """Return one step as PyTorch-GAN's `cyclegan.py` takes it, with the networks of its `models.py`."""
    shape = (3, patch, patch)
    forth, back = (models.GeneratorResNet(shape, 9).apply(models.weights_init_normal) for _ in range(2))
    of_a, of_b = (models.Discriminator(shape).apply(models.weights_init_normal) for _ in range(2))
    generators = _adam(forth, back)
    optimisers = [_adam(of_a), _adam(of_b)]
    a, b = (torch.rand(1, *shape) * 2 - 1 for _ in range(2))

    def step() -> None:
        generators.zero_grad()
        identity = (_absolute(back(a), a) + _absolute(forth(b), b)) / 2
        fake_b, fake_a = forth(a), back(b)
        adversarial = (_towards(of_b(fake_b), 1) + _towards(of_a(fake_a), 1)) / 2
        cycle = (_absolute(back(fake_b), a) + _absolute(forth(fake_a), b)) / 2
        (adversarial + 10 * cycle + 5 * identity).backward()
        generators.step()
        for judge, optimiser, real, made in zip((of_a, of_b), optimisers, (a, b), (fake_a, fake_b), strict=True):
            optimiser.zero_grad()
            _judge(judge, real, made)
            optimiser.step()

    return step


def junyanz_step(models: Any, patch: int) -> Callable[[], None]:
    """Return one step as `cycle_gan_model.py` of pytorch-CycleGAN-and-pix2pix takes it, with its `networks.py`.

    Its defaults: λ 10 and 0.5 for identity, one optimiser for both discriminators, whose weights want no gradient while
    the generators learn.
    """
    norm = functools.partial(nn.InstanceNorm2d, affine=False, track_running_stats=False)
    forth, back = (models.ResnetGenerator(3, 3, 64, norm_layer=norm, n_blocks=9) for _ in range(2))
    of_a, of_b = (models.NLayerDiscriminator(3, 64, n_layers=3, norm_layer=norm) for _ in range(2))
    generators, judges = _adam(forth, back), _adam(of_a, of_b)
    a, b = (torch.rand(1, 3, patch, patch) * 2 - 1 for _ in range(2))

    def step() -> None:
        fake_b, fake_a = forth(a), back(b)
        again_a, again_b = back(fake_b), forth(fake_a)
        for judge in (of_a, of_b):
            judge.requires_grad_(False)
        generators.zero_grad()
        identity = 5 * (_absolute(forth(b), b) + _absolute(back(a), a))
        adversarial = _towards(of_b(fake_b), 1) + _towards(of_a(fake_a), 1)
        (adversarial + 10 * (_absolute(again_a, a) + _absolute(again_b, b)) + identity).backward()
        generators.step()
        for judge in (of_a, of_b):
            judge.requires_grad_(True)
        judges.zero_grad()
        _judge(of_a, a, fake_a)
        _judge(of_b, b, fake_b)
        judges.step()

    return step


STEPS = {"PyTorch-GAN": pytorch_gan_step, "junyanz's CycleGAN": junyanz_step}
_absolute = nn.L1Loss()


def _adam(*networks: nn.Module) -> torch.optim.Optimizer:
    values = itertools.chain.from_iterable(network.parameters() for network in networks)
    return torch.optim.Adam(values, lr=2e-4, betas=(0.5, 0.999))


def _towards(scores: Tensor, wanted: float) -> Tensor:
    """Return the least-squares loss of scores that should be all the same."""
    return functional.mse_loss(scores, torch.full_like(scores, wanted))


def _judge(judge: nn.Module, real: Tensor, made: Tensor) -> None:
    """Run the backward pass of a discriminator's loss."""
    ((_towards(judge(real), 1) + _towards(judge(made.detach()), 0)) / 2).backward()


def measure(rounds: int, patch: int, peers: Mapping[str, Path | None]) -> dict[str, Any]:
    """Time steps in turn. The operations are counted once, by the plain definition, in torch's own kernels."""
    keep_freed_memory()  # as the command line does; this also benefits the peers
    candidates: dict[str, Callable[[], Any]] = {}
    for name, file in PEERS.items():
        folder = peers.get(name)
        if folder is not None and (folder / file).is_file():
            candidates[name] = STEPS[name](module_at(folder / file), patch)
        else:
            why = f"no {file} in {folder}" if folder else "no path given"
            print(f"training: {name} skipped, {why}; give the path of a checkout", file=sys.stderr)
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
