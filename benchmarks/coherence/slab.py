"""Does a slab of neighbouring slices as input (2.5D) flicker less? The candidate `wide-slab` against `wide`.

    python -m benchmarks.coherence.slab OUT [--seconds 200] [--numbers 23 25]

OUT is where `benchmarks.table1.data` has made specimens and data sets. Trains both on fold 0 of *paper* for so many
seconds of a processor, draws every slice of the test specimens' volumes (tiles of 128 px, stride 64, Hann), and judges
them as `run` does. Nothing is kept.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.coherence.run import EDITION, METRICS, specimen_of, truths
from benchmarks.table1.candidates import Plain, Slab, candidate
from tomostain.evaluate.lpips import Lpips
from tomostain.evaluate.metrics import patch_metrics
from tomostain.evaluate.stripes import stripe_index
from tomostain.io import open_volume
from tomostain.prepare import load_dataset, normalise_ct, volume_levels
from tomostain.scaling import ct_to_network, histology_from_network

TRAINED_ON = "paper"


def neighbours(volume: NDArray[Any], z: int) -> NDArray[Any]:
    """Return a slice, the one before and the one after it; at the ends itself again.

    Examples
    --------
    >>> neighbours(np.arange(4).reshape(4, 1, 1), 0).ravel().tolist()
    [0, 0, 1]
    """
    return np.stack([volume[z], volume[max(0, z - 1)], volume[min(len(volume) - 1, z + 1)]])


def trained(name: str, out: Path, seconds: float) -> Plain:
    """Train a candidate."""
    trainer = candidate(name, load_dataset(out / TRAINED_ON), out / "specimens")
    began = time.process_time()
    while time.process_time() - began < seconds:
        trainer.take_step()
    return trainer


def stained(trainer: Plain, ct: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Draw each slice of a normalised volume (Z, Y, X): (Z, Y, X, 3)."""
    drawn = []
    for z in range(len(ct)):
        grey = ct[z].astype(np.float32)
        if isinstance(trainer, Slab):
            grey = ct_to_network(neighbours(ct, z).astype(np.float32))
        levels = histology_from_network(torch.from_numpy(trainer.draw(grey))).numpy()
        drawn.append(np.rint(levels).clip(0, 255).astype(np.uint8))
    return np.stack(drawn)


def main() -> None:
    """Train, draw, print a line for each candidate and specimen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=200)
    parser.add_argument("--numbers", nargs="+", type=int, default=[23, 25])
    options = parser.parse_args()
    torch.set_num_threads(1)
    lpips = Lpips("alex")
    print(f"| | specimen | stripe index | flicker | {' | '.join(METRICS)} | steps |\n|---|---|---|---|---|---|---|---|")
    for name in ("wide", "wide-slab"):
        trainer = trained(name, options.out, options.seconds)
        for number in options.numbers:
            folder = options.out / "specimens" / f"p{number:02d}"
            volume = open_volume(folder / "volume")
            ct = normalise_ct(volume.read(0, volume.shape[0]), volume_levels(volume, source=folder.name))
            stain, records = stained(trainer, ct), []
            for z, (real, mask) in truths(specimen_of(number, folder)).items():
                records += patch_metrics(stain[z], real, mask, EDITION.patch_px, EDITION.stride_px, lpips)
            found = stripe_index(stain, volume)
            scores = " | ".join(f"{np.median([r[metric] for r in records]):.3f}" for metric in METRICS)
            cells = f"{found.index:.2f} | {found.flicker:.1f} | {scores} | {trainer.state.step}"
            print(f"| {name} | {folder.name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
