"""Everything about speed in one command.

    python -m benchmarks.speed.run OUT.json [--only layers …] [--pytorch-gan PATH] [--junyanz PATH] [--rounds 3]

Every part is run by a process of its own, so that its peak memory is its own, and is written to OUT.json as soon as it
is done; parts that OUT.json already holds are kept unless they are named by --only. Tables: `benchmarks.speed.report`.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed import (
    engines,
    growth,
    layers,
    memory,
    networks,
    registration,
    sampling,
    staining,
    startup,
    training,
    volume,
)
from benchmarks.speed.measure import about, gemm_peak, peak_mb

PARTS = (
    "startup",
    "sampling",
    "layers",
    "networks",
    "memory",
    "memory-256",
    "engines",
    "training-128",
    "training-256",
    "staining-512",
    "staining-1024",
    "volume",
    "growth",
    "registration",
)


def measure(part: str, rounds: int, peers: Mapping[str, Path | None]) -> dict[str, Any]:
    """Measure one part in this process."""
    torch.set_num_threads(1)
    before = gemm_peak()
    kind, _, size = part.partition("-")
    found: Any
    if kind == "startup":
        found = startup.measure(3 * rounds)
    elif kind == "sampling":
        found = sampling.measure(3 * rounds)
    elif kind == "layers":
        found = layers.measure(rounds)
    elif kind == "networks":
        found = networks.measure(rounds)
    elif kind == "memory":
        found = memory.measure(rounds, memory.LARGE if size else memory.SMALL)
    elif kind == "engines":
        found = engines.measure(2 * rounds)
    elif kind == "training":
        found = training.measure(rounds, int(size), peers)
    elif kind == "volume":
        found = volume.measure()
    elif kind == "growth":
        found = growth.measure()
    elif kind == "registration":
        found = registration.measure()
    else:
        found = staining.measure(rounds, int(size))
    # Before and after: the machine is shared, and the better of the two is nearer to the truth.
    peak = max(before, gemm_peak())
    return {"about": about(), "gemm_peak_flop_s": peak, "peak_memory_mb": peak_mb(), "rounds": rounds, "results": found}


def main() -> None:
    """Run the parts that are wanted, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pytorch-gan", type=Path, help="a checkout of eriklindernoren/PyTorch-GAN to run beside ours")
    parser.add_argument(
        "--junyanz", type=Path, help="a checkout of junyanz/pytorch-CycleGAN-and-pix2pix to run beside ours"
    )
    parser.add_argument("--here", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    peers = {"PyTorch-GAN": options.pytorch_gan, "junyanz's CycleGAN": options.junyanz}
    if options.here:
        print(json.dumps(measure(options.here, options.rounds, peers)))
        return
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    for part in options.only or [part for part in PARTS if part not in found]:
        command = [sys.executable, "-m", "benchmarks.speed.run", str(options.out), "--here", part]
        command += ["--rounds", str(options.rounds)]
        for option, path in {"--pytorch-gan": options.pytorch_gan, "--junyanz": options.junyanz}.items():
            command += [option, str(path)] if path else []
        told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[part] = json.loads(told.stdout.splitlines()[-1])
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(part, "done", flush=True)


if __name__ == "__main__":
    main()
