"""The stained volume of the held-out specimen, compared with its truth."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.dataset.dataset import load_dataset
from tomostain.demo.config import HELD_OUT, DemoConfig
from tomostain.evaluate import ColourLookup, Lpips, Table, evaluate_images, raw_ct
from tomostain.evaluate.run import ALEX_NOTE, LOOKUP, RAW_CT
from tomostain.imaging.intensity import normalise_ct, volume_reference
from tomostain.io import open_stained, open_volume
from tomostain.phantom import load_specimen, truth_slice
from tomostain.progress import Progress, silent, track


@dataclass(frozen=True)
class TruthSlices:
    """The same slices of one specimen: µCT, stained, truth and mask.

    Attributes
    ----------
    z : ndarray of int, shape (N,)
        Slice numbers.
    ct : ndarray of uint16, shape (N, Y, X)
        Normalised µCT.
    stained, truth : ndarray of uint8, shape (N, Y, X, 3)
        Output of the model; the ideal staining of the same slice.
    mask : ndarray of bool, shape (N, Y, X)
        True inside the specimen.
    """

    z: NDArray[np.int_]
    ct: NDArray[np.uint16]
    stained: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    mask: NDArray[np.bool_]


def compare_slices(out: Path, config: DemoConfig, progress: Progress = silent) -> TruthSlices:
    """Collect slices of the stained volume with the µCT and the truth.

    The truth is the section of an ideal laboratory: the usual thickness, centred on each slice, without damage. The
    mask excludes the region outside the specimen.

    Parameters
    ----------
    out : Path
        Folder of the demo.
    config : DemoConfig
    progress : Progress

    Returns
    -------
    TruthSlices
        `config.truth_slices` slices at equal distances in the middle two thirds of the volume.
    """
    specimen = load_specimen(out / "specimens" / HELD_OUT)
    volume = open_volume(out / "specimens" / HELD_OUT / "volume")
    stained = open_stained(out / "stained.ome.zarr")
    levels = volume_reference(volume)
    depth = volume.shape[0]
    z = np.unique(np.linspace(depth / 6, depth * 5 / 6, config.truth_slices).astype(int))
    cts, drawn, truths, masks = [], [], [], []
    for index in track([int(value) for value in z], "truth of the held-out specimen", progress):
        truth, mask = truth_slice(specimen, index)
        cts.append(normalise_ct(volume.read(index, index + 1)[0], levels))
        drawn.append(stained.read(index, index + 1)[0])
        truths.append(truth)
        masks.append(mask)
    return TruthSlices(z, np.stack(cts), np.stack(drawn), np.stack(truths), np.stack(masks))


def evaluate_against_truth(slices: TruthSlices, dataset: Path, fold: int | None) -> Table:
    """Return the metrics of the stained volume against its truth, with the baselines (paper section 2.10).

    Parameters
    ----------
    slices : TruthSlices
    dataset : Path
        Its training pairs define the colour look-up.
    fold : int or None
        The fold that the model was trained with.
    """
    data = load_dataset(dataset)
    lookup = ColourLookup.fit(data.load(pair_id) for pair_id in data.split(fold).train)
    pictures = {
        "trained model": list(slices.stained),
        RAW_CT: [raw_ct(ct) for ct in slices.ct],
        LOOKUP: [lookup(ct) for ct in slices.ct],
    }
    lpips = Lpips()
    records: list[dict[str, Any]] = []
    for name, images in pictures.items():
        ids = [f"z{z}" for z in slices.z]
        records += evaluate_images(images, list(slices.truth), list(slices.mask), model=name, ids=ids, lpips=lpips)
    note = "Compared with an ideally stained section centred on each slice, which no laboratory can make."
    return Table.from_records(records, lpips_label=lpips.label, notes=(note, ALEX_NOTE))
