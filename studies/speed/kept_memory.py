"""A slice of 1024 px in exact tiles, with and without retained memory: CPU-seconds, best of three, and peak memory.

python -m studies.speed.kept_memory keep
python -m studies.speed.kept_memory leave
"""

import sys
import time

import numpy as np
import torch

from benchmarks.measure import peak_mb
from benchmarks.staining import translator
from tomostain.memory import keep_freed_memory
from tomostain.stain import StainConfig, stain_slice


def main() -> None:
    """Stain four times, and print the best of the last three."""
    torch.set_num_threads(1)
    keeps_freed_memory = sys.argv[1:] == ["keep"] and keep_freed_memory()
    model = translator("tomostain", fast=True, norm="channel")
    ct, seconds = np.random.default_rng(0).integers(8000, 32000, (1024, 1024)).astype(np.uint16), []
    for _ in range(4):
        began = time.process_time()
        stain_slice(model, ct, StainConfig(blend="exact"))
        seconds.append(time.process_time() - began)
    print(f"kept: {keeps_freed_memory}, {min(seconds[1:]):.2f} CPU-s, {peak_mb():.0f} MB")


if __name__ == "__main__":
    main()
