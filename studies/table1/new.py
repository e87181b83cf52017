"""How much of a scan is new to a model, as `tomostain stain` judges before it stains; no network is needed.

    python -m studies.table1.new OUT

OUT is where `studies.table1.data` has made specimens and data sets. Each of the 30 scans is held against all
others (*paper*): as they are, without its own implant material, and with the scan changed as scans come changed:
twice the noise, blurred, binned to voxels twice as large and read as if they were not, with rings.
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
from tomostain.imaging.intensity import normalise_ct, volume_reference
from tomostain.io import open_volume
from tomostain.ood.grey_values import sample_slices
from tomostain.ood.novelty import NOVEL_SHARE_LIMIT, novel_share, training_reference

Slices = NDArray[Any]


def noisier(slices: Slices) -> Slices:
    """Return the same with noise of a tenth of the step from background to bone added."""
    return slices + np.random.default_rng(0).normal(0, 2000, slices.shape)


def blurred(slices: Slices) -> Slices:
    """Return the same blurred in the plane, σ 3 px."""
    return ndimage.gaussian_filter(slices.astype(np.float32), (0, 3, 3))


def coarser(slices: Slices) -> Slices:
    """Return the same as if its voxels were half as large as they are."""
    return ndimage.zoom(slices.astype(np.float32), (1, 2, 2), order=1)


def ringed(slices: Slices) -> Slices:
    """Return the same with rings about the middle, a tenth of the step from background to bone."""
    y, x = (np.arange(n) - n / 2 for n in slices.shape[1:])
    radius = np.hypot(y[:, None], x[None]).astype(int)
    return slices + np.random.default_rng(0).normal(0, 2000, radius.max() + 1)[radius]


CHANGES: dict[str, Callable[[Slices], Slices]] = {
    "noise of 10 % added": noisier,
    "blurred, 3 px": blurred,
    "voxel size taken for half": coarser,
    "rings of 10 %": ringed,
}


def main() -> None:
    """Print a line for each way in which a scan may differ from the training data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    data, implants = load_dataset(out / "paper"), materials(EDITIONS["cpu"].specimens)
    pairs = {pair_id: data.load(pair_id) for pair_id in data.ids}
    found: dict[str, list[float]] = {}
    for (pair_id, pair), implant in zip(sorted(pairs.items()), implants, strict=True):
        assert pair.implant == implant
        volume = open_volume(out / "specimens" / pair_id / "volume")
        slices = sample_slices(volume, None)
        slices = normalise_ct(slices, volume_reference(volume, source=pair_id))
        others = [p for name, p in pairs.items() if name != pair_id]
        seen = training_reference(others)
        found.setdefault("as they are", []).append(novel_share(slices, seen))
        for name, change in CHANGES.items():
            found.setdefault(name, []).append(novel_share(change(slices), seen))
        without = training_reference(p for p in others if p.implant != implant)
        found.setdefault(f"{implant}, and training never saw {implant}", []).append(novel_share(slices, without))
    print("| | warned of | share that is new |\n|---|---|---|")
    for name, shares in found.items():
        warned = sum(s > NOVEL_SHARE_LIMIT for s in shares)
        print(f"| {name} | {warned} of {len(shares)} | {min(shares):.3f}–{max(shares):.3f} |")


if __name__ == "__main__":
    main()
