"""Patches with all augmentations of the paper's section 2.7: our sampler against a loop over scikit-image."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.transform import AffineTransform, warp

from benchmarks.measure import as_rows, paired
from tomostain.dataset.pair import Pair
from tomostain.imaging.network_range import CT_WINDOW
from tomostain.train import Augment, PatchSampler
from tomostain.train.transforms import Transforms, draw_transforms, integral


def random_pair(number: int, side: int = 1200) -> Pair:
    """Return a pair of noise. The times do not depend on the content."""
    draws = np.random.default_rng(number)
    ct = draws.integers(8000, 32000, (side, side)).astype(np.uint16)
    return Pair(
        f"p{number}",
        ct,
        draws.integers(0, 256, (side, side, 3), dtype=np.uint8),
        np.ones(ct.shape, bool),
        5.0,
        stain="",
    )


def by_scikit_image(pairs: list[Pair], transforms: Transforms, patch: int) -> list[tuple[NDArray[np.float32], ...]]:
    """Cut the same patches one by one: µCT, histology (both in [-1, 1], jittered) and mask."""
    patches = []
    for n, number in enumerate(transforms.pair.tolist()):
        pair, scale = pairs[number], float(transforms.scale[n])
        (row, column), flips = transforms.corner[n].tolist(), transforms.flip[n].tolist()
        extent = (patch - 1) / scale
        signs = [-1 if flip else 1 for flip in flips]
        start = [extent if flip else 0 for flip in flips]
        matrix = [[signs[1] / scale, 0, start[1]], [0, signs[0] / scale, start[0]], [0, 0, 1]]
        place = AffineTransform(matrix=np.array(matrix))
        # Convert only the window. Converting the whole image for each patch would be an unfair comparison.
        size = math.floor(extent) + 2
        window = np.s_[row : row + size, column : column + size]
        low, high = CT_WINDOW
        ct = (pair.ct[window].astype(np.float32) - low) * (2 / (high - low)) - 1
        parts = [ct, pair.histology[window].astype(np.float32) / 127.5 - 1, pair.mask[window].astype(np.float32)]
        x, y, mask = (warp(part, place, output_shape=(patch, patch), order=1, mode="edge") for part in parts)
        contrast, brightness = transforms.ct_jitter[n].tolist()
        x = np.clip(brightness * (contrast * x + 1) - 1, -1, 1)
        contrast, brightness = transforms.histology_jitter[n].tolist()
        intensity = (y + 1) / 2
        mean = np.maximum(intensity.mean(axis=-1, keepdims=True), 1 / 255)
        gain = np.minimum(
            brightness * (2 * mean) ** (contrast - 1), 1 / np.maximum(intensity.max(-1, keepdims=True), 1 / 255)
        )
        patches.append((x, np.clip(2 * gain * intensity - 1, -1, 1), mask >= 0.5))
    return patches


def measure(rounds: int, patch: int = 256, batch: int = 4, row: int = 8) -> dict[str, Any]:
    """Time `row` batches, one after another, and return the largest difference between the two methods."""
    pairs, augment = [random_pair(number) for number in range(4)], Augment()
    sampler = PatchSampler(pairs, patch_px=patch, batch=batch, augment=augment, device="cpu", in_channels=1)
    draws = torch.Generator().manual_seed(0)
    areas = [integral(pair.mask) for pair in pairs]
    transforms = draw_transforms(areas, patch, batch, augment, draws)
    ours, theirs = sampler.apply(transforms), by_scikit_image(pairs, transforms, patch)
    differences = [
        max(np.abs(ours.x[n, 0].numpy() - x).max(), np.abs(ours.y[n].numpy() - y.transpose(2, 0, 1)).max())
        for n, (x, y, _) in enumerate(theirs)
    ]

    def theirs_in_a_row() -> None:
        for _ in range(row):
            by_scikit_image(pairs, draw_transforms(areas, patch, batch, augment, draws), patch)

    def ours_in_a_row() -> None:
        for _ in range(row):
            sampler.draw(draws)

    timings = as_rows(paired({"scikit-image, one by one": theirs_in_a_row, "tomostain": ours_in_a_row}, rounds))
    for values in timings:
        values["patches_a_second"] = row * batch / values["median_s"]
    result = {"patch_px": patch, "batch": batch, "batches_in_a_row": row, "timings": timings}
    return result | {"largest_difference": float(max(differences))}
