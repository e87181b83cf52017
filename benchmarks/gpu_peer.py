"""The CycleGAN step of PyTorch-GAN, for comparison: its networks, and its losses, optimisers and replay buffers.

The networks come from a checkout (https://github.com/eriklindernoren/PyTorch-GAN, MIT licence). The step below computes
what `implementations/cyclegan/cyclegan.py` computes, on patches that already lie on the device.
"""

import importlib.util
import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.gpu_items import Item, Options, Row
from benchmarks.gpu_size import Size
from benchmarks.gpu_training import peak_gb, time_steps

SOURCE = "https://github.com/eriklindernoren/PyTorch-GAN"
_NETWORKS = Path("implementations", "cyclegan", "models.py")
_CYCLE, _IDENTITY = 10.0, 5.0
_POOL = 50


def load_networks(checkout: Path) -> ModuleType:
    """Import the networks of a checkout."""
    path = checkout / _NETWORKS
    spec = importlib.util.spec_from_file_location("pytorch_gan_cyclegan", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise FileNotFoundError(f"{path}: not found; `git clone {SOURCE}` and give its folder as --peer")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class ReplayPool:
    """Generated images of earlier steps: half of the images of a full pool are exchanged for older ones."""

    def __init__(self) -> None:
        self.images: list[Tensor] = []

    def exchange(self, batch: Tensor) -> Tensor:
        """Return a batch, partly of older images."""
        returned = []
        for image in batch.detach():
            if len(self.images) < _POOL:
                self.images.append(image)
            elif random.random() > 0.5:
                place = random.randrange(_POOL)
                self.images[place], image = image, self.images[place].clone()
            returned.append(image)
        return torch.stack(returned)


class PeerStep:
    """One step of both generators and both discriminators.

    Parameters
    ----------
    networks : module
        With `GeneratorResNet` and `Discriminator`.
    size : Size
    batch : int
    autocast : bool
        Run the forward passes under bf16 autocast.
    """

    def __init__(self, networks: ModuleType, size: Size, batch: int, *, autocast: bool) -> None:
        shape, blocks = (3, size.patch_px, size.patch_px), 1 if size.toy else 9
        draws = torch.Generator().manual_seed(0)
        self.real = [(torch.rand(batch, *shape, generator=draws) * 2 - 1).to(size.device) for _ in range(2)]
        self.generators = nn.ModuleList([networks.GeneratorResNet(shape, blocks) for _ in range(2)]).to(size.device)
        self.judges = nn.ModuleList([networks.Discriminator(shape) for _ in range(2)]).to(size.device)
        for network in (self.generators, self.judges):
            network.apply(networks.weights_init_normal)
        adam = partial(torch.optim.Adam, lr=2e-4, betas=(0.5, 0.999))
        self.optimiser = adam(self.generators.parameters())
        self.judge_optimisers = [adam(judge.parameters()) for judge in self.judges]
        self.pools = [ReplayPool(), ReplayPool()]
        self.autocast = partial(torch.autocast, size.device, torch.bfloat16, enabled=autocast)

    def __call__(self) -> list[float]:
        """Take the step and read its losses, as the script does for its progress line."""
        total, fakes = self._improve_generators()
        judged = [self._improve_judge(domain, fakes[domain]) for domain in range(2)]
        return [loss.item() for loss in (total, *judged)]

    def _improve_generators(self) -> tuple[Tensor, list[Tensor]]:
        """Descend adversarial, cycle and identity losses; return their sum and the fakes of both domains."""
        self.optimiser.zero_grad()
        losses, fakes = [], []
        with self.autocast():
            for domain, (real, source) in enumerate(zip(self.real, reversed(self.real), strict=True)):
                to_domain, back = self.generators[domain], self.generators[1 - domain]
                fake = to_domain(source)
                adversarial = _squares(self.judges[domain](fake), 1.0)
                cycle = functional.l1_loss(back(fake), source)
                identity = functional.l1_loss(to_domain(real), real)
                losses.append(adversarial + _CYCLE * cycle + _IDENTITY * identity)
                fakes.append(fake)
            total = (losses[0] + losses[1]) / 2
        total.backward()
        self.optimiser.step()
        return total, fakes

    def _improve_judge(self, domain: int, fake: Tensor) -> Tensor:
        """Train a discriminator on real and pooled images."""
        judge, optimiser = self.judges[domain], self.judge_optimisers[domain]
        optimiser.zero_grad()
        with self.autocast():
            pooled = self.pools[domain].exchange(fake)
            loss = (_squares(judge(self.real[domain]), 1.0) + _squares(judge(pooled), 0.0)) / 2
        loss.backward()
        optimiser.step()
        return loss


def _squares(scores: Tensor, target: float) -> Tensor:
    return functional.mse_loss(scores, torch.full_like(scores, target))


def peer(size: Size, options: Options) -> Sequence[Item]:
    """Return the steps of the checkout `options.peer`."""
    if options.peer is None:
        return [Item("checkout", _no_checkout)]
    measured: Callable[..., Row] = partial(_measure, options.peer, size)
    return [
        Item(
            f"PyTorch-GAN, batch {batch}, {'bf16 autocast' if autocast else 'fp32'}", partial(measured, batch, autocast)
        )
        for batch in size.batches
        for autocast in (False, True)
    ]


def _no_checkout() -> Row:
    raise FileNotFoundError(f"no checkout of PyTorch-GAN: `git clone {SOURCE}` and give its folder as --peer")


def _measure(checkout: Path, size: Size, batch: int, autocast: bool) -> Row:
    step = PeerStep(load_networks(checkout), size, batch, autocast=autocast)
    timed = time_steps(step, size)
    about = {"name": "PyTorch-GAN cyclegan", "batch": batch, "precision": "bf16 autocast" if autocast else "fp32"}
    return about | timed | {"samples_s": 1000 * batch / timed["ms"], "peak_gb": peak_gb(size)}
