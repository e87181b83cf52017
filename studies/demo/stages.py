"""Run the demo on one core, and print processor time and memory of each stage.

python -m studies.demo.stages OUT --steps 300
"""

import argparse
import os
import resource
from pathlib import Path

import torch

from tomostain.demo import DemoConfig, StageNotice, run_demo


def processor_seconds() -> float:
    """Return the processor time of this process and of those that it started and that ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class Meter:
    """Prints processor time and largest memory at the beginning of each stage."""

    def __init__(self) -> None:
        self.last = processor_seconds()

    def __call__(self, notice: StageNotice) -> None:
        self.show()
        print(notice, flush=True)

    def show(self) -> None:
        """Print what was used since the last call."""
        total = processor_seconds()
        parent, children = (
            resource.getrusage(who).ru_maxrss / 1e3 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        print(f"  {total - self.last:.1f} s of processor time; memory {parent:.0f} MB, of a worker {children:.0f} MB")
        self.last = total


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--from-scratch", action="store_true")
    options = parser.parse_args()
    config = DemoConfig() if options.from_scratch else DemoConfig.default()
    if options.steps:
        config = config.model_copy(update={"steps": options.steps})
    torch.set_num_threads(1)
    meter = Meter()
    result = run_demo(options.out, config, announce=meter)
    meter.show()
    print(result.table.to_text(), result.verdict, (options.out / "stages.yaml").read_text(), sep="\n")


if __name__ == "__main__":
    main()
