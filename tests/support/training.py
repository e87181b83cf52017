"""The smallest pairs and recipes for training, and comparisons of runs."""

import csv

import numpy as np
import torch

from tomostain.dataset.pair import Pair
from tomostain.train import Recipe, load_recipe
from tomostain.train.checkpoint import LAST, read_checkpoint

PURPLE, WHITE = (90, 60, 170), (240, 236, 244)


def toy_pair(name, seed):
    """Return a pair whose histology is purple where the µCT is bright."""
    coarse = np.random.default_rng(seed).random((6, 7)) < 0.5
    bone = np.kron(coarse, np.ones((6, 6), bool))
    ct = np.where(bone, 30000, 10000).astype(np.uint16)
    histology = np.where(bone[..., None], PURPLE, WHITE).astype(np.uint8)
    slices = np.stack([ct // 2, ct, ct // 2])
    return Pair(name, ct, histology, np.ones(bone.shape, bool), 20.0, stain="toluidine-blue", slices=slices)


def toy_recipe(**changes):
    """Return the smallest recipe that has everything: 2 features, 16 px, 3 steps an epoch, a buffer that fills."""
    values = {
        "name": "toy",
        "terms": {"adversarial": 1, "cycle": 6, "identity": 3, "pixelwise": 6, "greyscale": 1},
        "generator": {"name": "resnet", "width": 2, "blocks": 1},
        "discriminator": {"name": "patch", "width": 2, "layers": 1},
        "learning_rate": 0.002,
        "batch": 2,
        "patch_px": 16,
        "patches_per_pair": 3,
        "epochs": 100,
        "buffer": 3,
    }
    return Recipe.from_dict(values | changes)


TINY_GENERATORS = {
    "resnet": {"width": 2, "blocks": 1},
    "unet": {"width": 2, "downs": 3},
    "gated": {"width": 4, "downs": 2},
}


def tiny_recipe(name, **changes):
    """Return a recipe that comes with tomostain, with tiny networks and patches of 32 px."""
    values = load_recipe(name).model_dump()
    generator = values["generator"] | TINY_GENERATORS[values["generator"]["name"]]
    generator |= {"detail": 2} if generator.get("detail") else {}
    sizes = {"batch": 2, "patch_px": 32, "buffer": min(values["buffer"], 3), "ct_slices": min(values["ct_slices"], 3)}
    sizes["discriminator"] = values["discriminator"] | {"width": 2, "layers": 1}
    return Recipe.from_dict(values | sizes | {"generator": generator} | changes)


DROPOUT = {
    "terms": {"conditional_adversarial": 1, "l1": 20},
    "generator": {"name": "unet", "width": 1, "downs": 6},
    "patch_px": 64,
}
REGISTERED = {
    "terms": {"adversarial": 1, "cycle": 6, "registered_pixelwise": 6, "smoothness": 1, "shift_tolerant_l1": 1},
    "deformation": {"name": "field", "width": 2, "levels": 2},
    "average": 0.9,
}
# 4 is neither an epoch (6 steps) nor a divisor of where the runs are stopped.
RESIDUAL = {"terms": {"adversarial_y": 1, "feature_matching": 1, "l1": 5}, "residual_registration": 4, "buffer": 0}


def stop_at(step):
    """Return options of `train_model` that request a stop when `step` is done."""
    reached = False

    def progress(label, done, total):
        nonlocal reached
        reached = reached or (done == step and label == "training")

    return {"progress": progress, "should_stop": lambda: reached}


def same(a, b):
    """Compare two trees of containers and tensors, bit by bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def bits(run):
    """Return everything in a checkpoint except the clock."""
    return {key: value for key, value in read_checkpoint(run / LAST).items() if key not in ("seconds", "cpu_seconds")}


def rows(run):
    with (run / "metrics.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
