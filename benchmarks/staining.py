"""How long a slice takes: the paper's stride of a quarter patch against wider strides, as ratios in one run.

    python -m benchmarks.staining [--side 512] [--repeats 3]

Random weights do: the time does not depend on what a network has learnt.
"""

import argparse
import platform
import subprocess
import time
from datetime import date

import numpy as np
import torch

from tomostain import __version__
from tomostain.io import ModelSpec
from tomostain.stain import StainConfig, Translator, stain_slice
from tomostain.train import build_network, load_recipe

STRIDES = (4, 2, 1)


def main() -> None:
    """Time every stride in turn, several times, and print the least of each as a ratio to the paper's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=512, help="side of the slice, px")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--recipe", default="paired-cyclegan-cpu")
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe)
    generator = recipe.generator_spec()
    spec = ModelSpec(
        generator=generator, voxel_um=5, patch_px=recipe.patch_px, stain="", recipe="", tomostain_version=__version__
    )
    network = build_network(generator, torch.Generator().manual_seed(0)).eval()
    translator = Translator(network, spec, torch.device("cpu"))
    ct = np.random.default_rng(0).integers(8000, 32000, (arguments.side,) * 2).astype(np.uint16)
    least = dict.fromkeys(STRIDES, float("inf"))
    for _ in range(arguments.repeats):  # interleaved, so that a busy moment does not fall on one of them only
        for part in STRIDES:
            config = StainConfig(patch_px=recipe.patch_px, stride_px=recipe.patch_px // part, blend="hann")
            began = time.perf_counter()
            stain_slice(translator, ct, config)
            least[part] = min(least[part], time.perf_counter() - began)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    print(f"{arguments.recipe}, {arguments.side} px, {platform.processor() or platform.machine()}, ", end="")
    print(f"{torch.get_num_threads()} threads, {date.today()}, commit {commit.stdout.strip()}")
    for part, seconds in least.items():
        stride = recipe.patch_px // part
        print(f"stride {stride:4d} px: {seconds:7.2f} s a slice, {least[STRIDES[0]] / seconds:5.2f} x the paper's way")


if __name__ == "__main__":
    main()
