"""Measure the speed of tomostain on this machine.

    python -m benchmarks.run OUT.json [--only startup sampling …] [--rounds 3]

Each part runs in a separate process, which gives it its own peak memory. The results are written to OUT.json after
each part. Parts that OUT.json already holds are skipped unless --only names them. `benchmarks.report` prints tables.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import networks, sampling, staining, startup, training
from benchmarks.measure import about, gemm_peak, peak_mb

Part = Callable[[argparse.Namespace], Any]

PARTS: dict[str, Part] = {
    "startup": lambda options: startup.measure(3 * options.rounds),
    "sampling": lambda options: sampling.measure(3 * options.rounds),
    "networks": lambda options: networks.measure(options.rounds),
    "training": lambda options: training.measure(options.rounds),
    "staining": lambda options: staining.measure(options.rounds),
}


def measure(part: Part, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one part in this process."""
    torch.set_num_threads(1)
    before = gemm_peak()
    results = part(options)
    # Measured before and after, because the machine may be shared. The higher value is closer to its peak.
    peak = max(before, gemm_peak())
    return {
        "about": about(),
        "gemm_peak_flop_s": peak,
        "peak_memory_mb": peak_mb(),
        "rounds": options.rounds,
        "results": results,
    }


def parser_of(parts: Mapping[str, Part], description: str | None) -> argparse.ArgumentParser:
    """Return the command line that every set of parts has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", choices=parts, default=None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--here", choices=parts, help=argparse.SUPPRESS)
    return parser


def run(parts: Mapping[str, Part], parser: argparse.ArgumentParser, module: str, arguments: Sequence[str]) -> None:
    """Run the selected parts one after the other, each by `python -m module … --here PART`."""
    options = parser.parse_args(arguments)
    if options.here:
        print(json.dumps(measure(parts[options.here], options)))
        return
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    for name in options.only or [name for name in parts if name not in results]:
        command = [sys.executable, "-m", module, *arguments, "--here", name]
        process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        results[name] = json.loads(process.stdout.splitlines()[-1])
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(name, "done", flush=True)


if __name__ == "__main__":
    run(PARTS, parser_of(PARTS, __doc__), "benchmarks.run", sys.argv[1:])
