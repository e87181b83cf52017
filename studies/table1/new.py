"""Novelty of scans, as `tomostain stain` computes it before it stains; no network is needed.

    python -m studies.table1.new OUT

OUT is the folder of `studies.table1.data`. Each of the 30 scans is compared with all others (*paper*): unchanged,
without its implant material in the training data, and with changes of real scans: more noise, blur, a wrong voxel size,
and rings.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from studies.table1.editions import EDITIONS, materials
from tomostain.dataset.dataset import load_dataset
from tomostain.imaging.intensity import normalise_ct
from tomostain.imaging.intensity_estimation import volume_reference
from tomostain.integers import to_integers
from tomostain.io import open_volume
from tomostain.ood.grey_values import sample_slices
from tomostain.ood.novelty import NOVEL_SHARE_LIMIT, novel_share, training_reference

Slices = NDArray[Any]


def noisier(slices: Slices) -> Slices:
    """Add noise of a tenth of the difference between bone and background."""
    return slices + np.random.default_rng(0).normal(0, 2000, slices.shape)


def blurred(slices: Slices) -> Slices:
    """Blur in the plane, σ 3 px."""
    return ndimage.gaussian_filter(slices.astype(np.float32), (0, 3, 3))


def coarser(slices: Slices) -> Slices:
    """Enlarge twice, as if the voxel size were half the true one."""
    return ndimage.zoom(slices.astype(np.float32), (1, 2, 2), order=1)


def ringed(slices: Slices) -> Slices:
    """Add rings around the centre, of a tenth of the difference between bone and background."""
    y, x = (np.arange(n) - n / 2 for n in slices.shape[1:])
    radius = to_integers(np.hypot(y[:, None], x[None]), np.int64, "frequencies", rounded=False)
    return slices + np.random.default_rng(0).normal(0, 2000, radius.max() + 1)[radius]


CHANGES: dict[str, Callable[[Slices], Slices]] = {
    "noise of 10 % added": noisier,
    "blurred, 3 px": blurred,
    "voxel size stated as half": coarser,
    "rings of 10 %": ringed,
}


def main() -> None:
    """Print a line for each kind of difference from the training data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    data, implants = load_dataset(out / "paper"), materials(EDITIONS["cpu"].specimens)
    pairs = {pair_id: data.load(pair_id) for pair_id in data.ids}
    shares_by_case: dict[str, list[float]] = {}
    for (pair_id, pair), implant in zip(sorted(pairs.items()), implants, strict=True):
        assert pair.implant == implant
        volume = open_volume(out / "specimens" / pair_id / "volume")
        slices = sample_slices(volume, None)
        slices = normalise_ct(slices, volume_reference(volume, source=pair_id))
        others = [p for name, p in pairs.items() if name != pair_id]
        reference = training_reference(others)
        shares_by_case.setdefault("unchanged", []).append(novel_share(slices, reference))
        for name, change in CHANGES.items():
            shares_by_case.setdefault(name, []).append(novel_share(change(slices), reference))
        without = training_reference(p for p in others if p.implant != implant)
        shares_by_case.setdefault(f"{implant}, without {implant} in training", []).append(novel_share(slices, without))
    print("| | with a warning | novel share |\n|---|---|---|")
    for name, shares in shares_by_case.items():
        warnings = sum(s > NOVEL_SHARE_LIMIT for s in shares)
        print(f"| {name} | {warnings} of {len(shares)} | {min(shares):.3f}–{max(shares):.3f} |")


if __name__ == "__main__":
    main()
