"""The processes of test_train_distributed.py: ``distributed_worker.py FOLDER`` trains on FOLDER/set, in FOLDER/<job>.

Everything in double precision: Adam turns the rounding of a gradient that should be zero into a step, so that after a
few steps in single precision two orders of summation are two trajectories. In double they stay together, unless the
processes do something else than one.
"""

import dataclasses
import io
import json
import os
import signal
import sys
import time
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from unittest import mock

import torch
from torch import distributed

from tests.support.training import DROPOUT, REGISTERED, toy_recipe
from tomostain.cli.main import run
from tomostain.errors import InputError, InterruptedRunError, PeerProcessError
from tomostain.interrupts import listen_for_interrupt
from tomostain.train import PatchSampler, Trainer, pair_registration, train
from tomostain.train.distributed import DistributedContext

STEPS, SEED = 10, 5
RECIPES = {
    "paired-cyclegan": toy_recipe(clip_norm=5),
    "pix2pix": toy_recipe(**DROPOUT),
    "tomostain": toy_recipe(
        terms={"adversarial_y": 1, "feature_matching": 10, "l1": 20},
        in_channels=1,
        average=0.9,
        residual_registration=4,
        buffer=0,
    ),
    "registered": toy_recipe(**REGISTERED),
    "in-parts": toy_recipe(batch=4, accumulate=2, patches_per_pair=6),
}


def aside(drawn, real, mask, start):
    """Replace `align`, which moves nothing before the network has learned: move a pixel."""
    place = start.double().clone()
    place[:, 2] += torch.stack([1 + drawn.double().mean(), real.double().mean() - 1])
    return place


@contextmanager
def double():
    """Train in double precision; yield the list that gets each step's losses, which are not read."""
    losses, fabric, take_step = [], DistributedContext.fabric, Trainer.take_step
    apply, set_alignment = PatchSampler.apply, PatchSampler.set_alignment

    def cut(self, transforms):
        batch = apply(self, transforms)
        return dataclasses.replace(batch, x=batch.x.double(), y=batch.y.double(), mask=batch.mask.double())

    def step(self):
        values = take_step(self)
        losses.append(values)
        return values

    torch.set_default_dtype(torch.float64)
    try:
        with (
            mock.patch.object(DistributedContext, "fabric", lambda self, precision: fabric(self, "64-true")),
            mock.patch.object(PatchSampler, "apply", cut),
            mock.patch.object(
                PatchSampler, "set_alignment", lambda self, n, affine: set_alignment(self, n, affine.float())
            ),
            mock.patch.object(pair_registration, "align", aside),
            mock.patch.object(Trainer, "take_step", step),
        ):
            yield losses
    finally:
        torch.set_default_dtype(torch.float32)


def train_noting(folder, job, **options):
    """Train in double precision in `folder`/`job`; return each step's losses."""
    options = {"recipe": RECIPES[job], "seed": SEED, "max_steps": STEPS, "device": "cpu"} | options
    with double() as losses, listen_for_interrupt() as requested:
        train(folder / "set", folder / options.pop("into", job), **{"should_stop": requested.is_set} | options)
    return [dict(each) for each in losses]


@contextmanager
def exchanging_every(steps):
    """Exchange every so many steps, as with GPUs; yield the list that gets the steps of the exchanges."""
    exchanges, read_losses = [], Trainer.read_losses

    def read(self):
        if self._unread:
            exchanges.append(self.state.step)
        read_losses(self)

    with (
        mock.patch.object(DistributedContext, "exchange_every_steps", steps),
        mock.patch.object(Trainer, "read_losses", read),
    ):
        yield exchanges


def stop_second_after(calls):
    """Return a clock that is read before the first step and after each, and stops only the second process."""
    read = iter(range(10**6))

    def clock():
        if next(read) == calls and os.environ["RANK"] == "1":
            signal.raise_signal(signal.SIGTERM)
        return 0.0

    return clock


def fail_at(step):
    """Return a listener that fails as a full disk would; only the first process has a listener."""

    def progress(label, done, total):
        if done == step:
            raise OSError(28, "No space left on device")

    return progress


def error_of(folder, job, **options):
    """Return the type of the error that ends the training."""
    try:
        train_noting(folder, job, **options)
    except (InputError, InterruptedRunError, PeerProcessError) as error:
        return type(error).__name__
    return None


def told_by_command_line(folder):
    """Return exit code and stderr of a recipe whose batch two processes cannot divide."""
    recipe = folder / "odd.yaml"
    command = ["train", folder / "set", folder / "refused", "--recipe", recipe, "--device", "cpu"]
    with redirect_stderr(io.StringIO()) as stderr:
        code = run(list(map(str, command)))
    return code, stderr.getvalue()


def main(folder):
    """Do every job; each process writes its results."""
    rank = int(os.environ["RANK"])
    record = {"losses": {name: train_noting(folder, name) for name in RECIPES}, "errors": {}}
    record["goes-on"] = train_noting(folder, "paired-cyclegan", into="started-alone", resume=True)
    stop = {"clock": stop_second_after(4), "into": "started-together"}
    record["errors"]["stopped"] = error_of(folder, "paired-cyclegan", **stop)
    record["errors"]["full"] = error_of(folder, "registered", into="full", progress=fail_at(2))
    with exchanging_every(4) as record["exchanges"]:
        record["rarely"] = train_noting(folder, "registered", into="rarely")
    with exchanging_every(4):
        stop = {"clock": stop_second_after(2), "into": "stopped-rarely"}
        record["errors"]["stopped-rarely"] = error_of(folder, "registered", **stop)
        record["errors"]["full-rarely"] = error_of(folder, "registered", into="full-rarely", progress=fail_at(4))
    # The clocks do not agree; the first one's counts.
    ticks = iter(range(100)) if rank == 0 else iter(range(0, 10**6, 1000))
    train_noting(folder, "registered", into="timed", max_seconds=3, max_steps=None, clock=lambda: float(next(ticks)))
    train(folder / "set", folder / "single", recipe=RECIPES["paired-cyclegan"], seed=SEED, device="cpu", max_steps=3)
    record["refused"] = told_by_command_line(folder)
    (folder / f"record-{rank}.json").write_text(json.dumps(record))
    exchange_released_late(rank)


def exchange_released_late(rank):
    """Exchange a tensor that a thread of gloo releases only when the code of this process has ended."""

    class Late:
        def __del__(self):
            time.sleep(0.05)  # afterwards the thread needs the global lock again

    if rank == 1:
        time.sleep(0.5)  # rank 0 has dropped its reference when the exchange begins
    value = torch.ones(10)
    value.late = Late()
    distributed.all_reduce(value, async_op=True)
    del value
    if rank == 0:
        time.sleep(0.5)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
