"""The stained volume of the held-out specimen, compared with its truth and with the baselines."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.dataset.dataset import load_dataset
from tomostain.demo.config import HELD_OUT, DemoConfig
from tomostain.evaluate import Lpips, Table, evaluate_images, raw_ct
from tomostain.evaluate.baselines import fit_baselines
from tomostain.evaluate.result_files import write_results
from tomostain.evaluate.run import ALEX_NOTE, LOOKUP, MEAN_IMAGE, RAW_CT
from tomostain.imaging.intensity import normalise_ct
from tomostain.imaging.intensity_estimation import volume_reference
from tomostain.integers import to_integers
from tomostain.io import open_stained, open_volume
from tomostain.io.atomic import atomic_folder
from tomostain.paths import StrPath
from tomostain.phantom import load_specimen, truth_slice
from tomostain.progress import Progress, silent, track

MODEL = "trained model"
BASELINES = (RAW_CT, MEAN_IMAGE, LOOKUP)
METRICS = ("ssim", "lpips", "psnr")
COMPARISON = "truth-comparison"
"""Folder of the comparison in the folder of the demo."""
_NOTE = "Compared with an ideally stained section centred on each slice, which no laboratory can make."


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


@dataclass(frozen=True)
class Margin:
    """The model against the strongest baseline in one metric.

    Attributes
    ----------
    metric, label : str
        Name of the metric, and its name for the user.
    model, baseline : float
        Medians of the model and of the strongest baseline.
    name : str
        The strongest baseline.
    larger_is_better : bool
    digits : int
        Digits to show.
    unit : str
        Unit of the values, may be empty.
    """

    metric: str
    label: str
    model: float
    baseline: float
    name: str
    larger_is_better: bool
    digits: int
    unit: str = ""

    @property
    def gain(self) -> float:
        """By how much the model is better; negative if it is worse."""
        return self.model - self.baseline if self.larger_is_better else self.baseline - self.model


def margins(table: Table) -> tuple[Margin, ...]:
    """Return the model's margin over the strongest baseline in each of the three metrics of the paper.

    Examples
    --------
    >>> from tomostain.evaluate import Table
    >>> rows = [("trained model", 0.2), ("raw µCT", 0.7), ("grey-value look-up", 0.3)]
    >>> table = Table.from_records([{"model": name, "lpips": value} for name, value in rows])
    >>> [(margin.name, round(margin.gain, 3)) for margin in margins(table)]
    [('grey-value look-up', 0.1)]
    """
    rows, result = table.rows, []
    for metric in table.columns:
        if metric.name not in METRICS or metric.name not in table.metrics:
            continue
        medians = {name: rows[name][metric.name].median for name in BASELINES if name in rows}
        best = (max if metric.larger_is_better else min)(medians, key=lambda name: medians[name])
        model = rows[MODEL][metric.name].median
        result.append(
            Margin(
                metric.name,
                metric.label,
                model,
                medians[best],
                best,
                metric.larger_is_better,
                metric.digits,
                metric.unit,
            )
        )
    return tuple(result)


def verdict(results: tuple[Margin, ...]) -> str:
    """Return one sentence that says in which metrics the model beats the strongest baseline, and in which not."""
    better = [margin.label for margin in results if margin.gain > 0]
    sentences = []
    if len(better) == len(METRICS):
        sentences.append("The model is better than every baseline in all three metrics.")
    elif better:
        sentences.append(f"The model is better than every baseline in {_listed(better)}.")
    for margin in results:
        if margin.gain <= 0:
            comparison = "as good" if margin.gain == 0 else "better"
            numbers = f"{margin.baseline:.{margin.digits}f}, model {margin.model:.{margin.digits}f}"
            sentences.append(f"In {margin.label} the {margin.name} is {comparison} ({numbers}).")
    return " ".join(sentences)


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def compare_slices(out: StrPath, config: DemoConfig, progress: Progress = silent) -> TruthSlices:
    """Collect slices of the stained volume with the µCT and the truth.

    The truth is the section of an ideal laboratory: the usual thickness, centred on each slice, without damage. The
    mask excludes the region outside the specimen.

    Parameters
    ----------
    out : str or os.PathLike
        Folder of the demo.
    config : DemoConfig
    progress : Progress

    Returns
    -------
    TruthSlices
        `config.truth_slices` slices at equal distances in the middle two thirds of the volume.
    """
    out = Path(out)
    specimen = load_specimen(out / "specimens" / HELD_OUT)
    volume = open_volume(out / "specimens" / HELD_OUT / "volume")
    stained = open_stained(out / "stained.ome.zarr")
    reference = volume_reference(volume)
    depth = volume.shape[0]
    places = np.linspace(depth / 6, depth * 5 / 6, config.truth_slices)
    z = np.unique(to_integers(places, np.int64, "slices", rounded=False))
    cts, colours, truths, masks = [], [], [], []
    for index in track([int(value) for value in z], "truth of the held-out specimen", progress):
        truth, mask = truth_slice(specimen, index)
        cts.append(normalise_ct(volume.read(index, index + 1)[0], reference))
        colours.append(stained.read(index, index + 1)[0])
        truths.append(truth)
        masks.append(mask)
    return TruthSlices(z, np.stack(cts), np.stack(colours), np.stack(truths), np.stack(masks))


def evaluate_against_truth(
    slices: TruthSlices, dataset: StrPath, fold: int | None = None, *, out: StrPath | None = None
) -> Table:
    """Return the metrics of the stained volume against its truth, with the baselines (paper section 2.10).

    Parameters
    ----------
    slices : TruthSlices
    dataset : str or os.PathLike
        Its training pairs define the mean image and the colour look-up.
    fold : int or None
        The fold that the model was trained with.
    out : str or os.PathLike, optional
        Folder for ``metrics.csv``, ``table.csv``, ``table.txt`` and ``boxplots.png``.
    """
    data = load_dataset(dataset)
    mean, lookup = fit_baselines(data.load(pair_id) for pair_id in data.split(fold).train)
    pictures = {
        MODEL: list(slices.stained),
        RAW_CT: [raw_ct(ct) for ct in slices.ct],
        MEAN_IMAGE: [mean(ct) for ct in slices.ct],
        LOOKUP: [lookup(ct) for ct in slices.ct],
    }
    lpips = Lpips()
    records: list[dict[str, Any]] = []
    for name, images in pictures.items():
        ids = [f"z{z}" for z in slices.z]
        records += evaluate_images(images, list(slices.truth), list(slices.mask), model=name, ids=ids, lpips=lpips)
    table = _table(records, lpips.label)
    if out is not None:
        with atomic_folder(out, True) as folder:
            write_results(folder, records, table)
    return table


def read_comparison(out: Path) -> Table | None:
    """Return the table that `evaluate_against_truth` wrote, or None."""
    import pandas as pd

    try:
        frame = pd.read_csv(out / "metrics.csv", float_precision="round_trip")
        return _table(frame, Lpips().label)
    except (OSError, ValueError, KeyError):
        return None


def _table(records: Any, label: str) -> Table:
    return Table.from_records(records, lpips_label=label, notes=(_NOTE, ALEX_NOTE))
