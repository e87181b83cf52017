"""Time the training step of a recipe on a CPU, in processor time of one thread.

    python -m studies.gpu.cpu_steps RECIPE STEPS

To compare commits, run it in a checkout of each in turn, several times, with OMP_NUM_THREADS=1.
"""

import sys
import time

import numpy as np
import torch

from tomostain.dataset.pair import Pair
from tomostain.train import LoadedDataset, Trainer, load_recipe

SIDE_PX = 256
FIRST_STEPS = 3


def random_pair(seed: int) -> Pair:
    """Return a pair of noise. The times do not depend on the content."""
    draws = np.random.default_rng(seed)
    ct = draws.integers(5000, 35000, (SIDE_PX, SIDE_PX)).astype(np.uint16)
    colours = draws.integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    return Pair(f"p{seed}", ct, colours, np.ones(ct.shape, bool), 20.0)


def main() -> None:
    """Print the milliseconds of a step and the last total loss."""
    name, steps = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(1)
    recipe = load_recipe(name).model_copy(update={"residual_registration": 0, "reject_pairs": False})
    pairs = [random_pair(seed) for seed in range(4)]
    trainer = Trainer(recipe, LoadedDataset.from_pairs(pairs), None, 0, "cpu")
    for _ in range(FIRST_STEPS):
        trainer.take_step()
    began = time.process_time()
    for _ in range(steps):
        losses = trainer.take_step()
    print(f"{(time.process_time() - began) / steps * 1e3:.1f} ms, total loss {losses['total']:.6f}")


if __name__ == "__main__":
    main()
