"""A training step of the paper's networks: ours with fast and with plain kernels, and PyTorch-GAN's, on one sample.

All compute the objective of eq. (4): adversarial, cycle and identity terms, two generators, two discriminators. Ours
cut their patches in the time that is measured; the peer is handed its images.
"""

import importlib.util
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.measure import as_rows, paired
from benchmarks.speed.sampling import random_pair
from tomostain.memory import keep_freed_memory
from tomostain.prepare import load_dataset, save_dataset
from tomostain.train import Recipe, Trainer, load_recipe


def peer_step(folder: Path, patch: int) -> Callable[[], None]:
    """Return one step as PyTorch-GAN's `cyclegan.py` takes it, with the networks of its `models.py`."""
    source = folder / "implementations" / "cyclegan" / "models.py"
    spec = importlib.util.spec_from_file_location("peer_models", source)
    assert spec is not None
    assert spec.loader is not None
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    shape = (3, patch, patch)
    forth, back = (models.GeneratorResNet(shape, 9).apply(models.weights_init_normal) for _ in range(2))
    of_a, of_b = (models.Discriminator(shape).apply(models.weights_init_normal) for _ in range(2))

    def adam(values: Any) -> torch.optim.Optimizer:
        return torch.optim.Adam(values, lr=2e-4, betas=(0.5, 0.999))

    generators = adam(itertools.chain(forth.parameters(), back.parameters()))
    judges = {judge: adam(judge.parameters()) for judge in (of_a, of_b)}
    square, absolute = nn.MSELoss(), nn.L1Loss()
    a, b = (torch.rand(1, *shape) * 2 - 1 for _ in range(2))
    valid, fake = torch.ones(1, *of_a.output_shape), torch.zeros(1, *of_a.output_shape)

    def step() -> None:
        generators.zero_grad()
        identity = (absolute(back(a), a) + absolute(forth(b), b)) / 2
        fake_b, fake_a = forth(a), back(b)
        adversarial = (square(of_b(fake_b), valid) + square(of_a(fake_a), valid)) / 2
        cycle = (absolute(back(fake_b), a) + absolute(forth(fake_a), b)) / 2
        (adversarial + 10 * cycle + 5 * identity).backward()
        generators.step()
        for (judge, optimiser), real, made in zip(judges.items(), (a, b), (fake_a, fake_b), strict=True):
            optimiser.zero_grad()
            ((square(judge(real), valid) + square(judge(made.detach()), fake)) / 2).backward()
            optimiser.step()

    return step


def our_step(patch: int, **changes: str) -> Callable[[], Any]:
    """Return `Trainer.take_step` with the paper's networks and eq. (4), one patch a batch."""
    values = load_recipe("cyclegan").model_dump() | {"patch_px": patch, "batch": 1} | changes
    with TemporaryDirectory() as folder:
        data = save_dataset(Path(folder) / "dataset", [random_pair(n, 512) for n in range(2)], test=[], folds=[])
        return Trainer(Recipe.from_dict(values), load_dataset(data.path), None, 0, "cpu").take_step


def measure(rounds: int, patch: int, peer: Path | None) -> dict[str, Any]:
    """Time steps in turn. The operations are counted once, by the plain definition, in torch's own kernels."""
    keep_freed_memory()  # as the command line does; the peer gains by it too
    candidates: dict[str, Callable[[], Any]] = {}
    if peer is not None and (peer / "implementations" / "cyclegan" / "models.py").is_file():
        candidates["PyTorch-GAN"] = peer_step(peer, patch)
    else:
        print(f"training: PyTorch-GAN skipped ({peer or 'no path given'}); give --pytorch-gan PATH", file=sys.stderr)
    candidates["tomostain, plain kernels"] = our_step(patch, kernels="plain")
    candidates["tomostain"] = our_step(patch)
    if torch.cpu.get_capabilities().get("amx_bf16"):
        candidates["tomostain, precision: bf16-mixed"] = our_step(patch, precision="bf16-mixed")
    flop = {}
    for name, step in candidates.items():
        counter = FlopCounterMode(display=False)
        with counter:
            step()
        flop[name] = counter.get_total_flops()
    # What is counted in the fast kernels are their own operations; the definition's are those of the plain ones.
    flop |= {name: flop["tomostain, plain kernels"] for name in flop if name.startswith("tomostain")}
    return {"patch_px": patch, "timings": as_rows(paired(candidates, rounds, warm=False, flop=flop))}
