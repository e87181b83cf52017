"""Measure all figures of docs/explanation/speed.md and studies/speed/RECORD.md.

    python -m studies.speed.run OUT.json [--only layers …] [--pytorch-gan PATH] [--junyanz PATH] [--rounds 3]

Like `benchmarks.run`, with more parts. `python -m studies.speed.report OUT.json` prints tables.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks import networks
from benchmarks.run import PARTS as QUICK
from benchmarks.run import Part, parser_of, run
from studies.speed import engines, growth, layers, memory, registration, staining, training, volume


def _training(options: argparse.Namespace, side: int) -> Any:
    peers = {"PyTorch-GAN": options.pytorch_gan, "junyanz's CycleGAN": options.junyanz}
    return training.measure(options.rounds, side, peers)


PARTS: dict[str, Part] = {
    "startup": QUICK["startup"],
    "sampling": QUICK["sampling"],
    "layers": lambda options: layers.measure(options.rounds),
    "networks": lambda options: networks.measure(options.rounds),
    "memory": lambda options: memory.measure(options.rounds, memory.SMALL),
    "memory-256": lambda options: memory.measure(options.rounds, memory.LARGE),
    "engines": lambda options: engines.measure(2 * options.rounds),
    "training-128": lambda options: _training(options, 128),
    "training-256": lambda options: _training(options, 256),
    "staining-512": lambda options: staining.measure(options.rounds, 512),
    "staining-1024": lambda options: staining.measure(options.rounds, 1024),
    "volume": lambda options: volume.measure(),
    "growth": lambda options: growth.measure(),
    "registration": lambda options: registration.measure(),
}


def main() -> None:
    """Run the selected parts."""
    parser = parser_of(PARTS, __doc__)
    parser.add_argument("--pytorch-gan", type=Path, help="a checkout of eriklindernoren/PyTorch-GAN to compare with")
    parser.add_argument(
        "--junyanz", type=Path, help="a checkout of junyanz/pytorch-CycleGAN-and-pix2pix to compare with"
    )
    run(PARTS, parser, "studies.speed.run", sys.argv[1:])


if __name__ == "__main__":
    main()
