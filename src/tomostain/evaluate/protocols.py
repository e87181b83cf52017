"""The same comparison seen in three ways: as the paper, without the black screw, and forgiving a small shift.

The paper says itself that the screw's black flatters the scores (section 3.2), and that its sections lie a few pixels
off (section 2.3). All three ways are measured in one pass, patch by patch.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.evaluate.intervals import Interval, median_interval, paired_difference
from tomostain.evaluate.metrics.lpips import Lpips
from tomostain.evaluate.metrics.patch import METRICS, Mask, Patch, fill_background, patch_metrics
from tomostain.evaluate.metrics.shift_tolerant import tolerant_metrics
from tomostain.imaging.colour import background_region, tissue_classes, white_balance

RGB = NDArray[np.uint8]
PAPER, NO_SCREW, TOLERANT = "paper", "without-screw", "shift-tolerant"
VIEWS = (PAPER, NO_SCREW, TOLERANT)
# Blur darkens what touches the screw.
_RIM_PX = 2


def screw_region(histology: RGB) -> Mask:
    """Return where the histology is black metal, and a rim of 2 px; shape (Y, X)."""
    background = background_region(histology)
    white = np.maximum(histology[background].mean(axis=0) if background.any() else np.full(3, 255.0), 1.0)
    _, metal = tissue_classes(white_balance(histology, white), float(white.mean()))
    # Lacunae and specks of dirt are black too, and small.
    body = ndimage.binary_opening(metal, iterations=_RIM_PX + 1)
    return np.asarray(
        ndimage.binary_dilation(body, iterations=2 * _RIM_PX + 1) & ndimage.binary_dilation(metal, iterations=_RIM_PX)
    )


def measure_views(
    fake: RGB,
    real: RGB,
    mask: Mask,
    patch_px: int,
    stride_px: int | None = None,
    lpips: Lpips | None = None,
    *,
    colour: NDArray[np.uint8],
    screw: Mask,
) -> list[dict[str, Any]]:
    """Compare a generated image with the real one in every view.

    Parameters
    ----------
    fake, real : ndarray of uint8, shape (Y, X, 3)
    mask : ndarray of bool, shape (Y, X)
        The correspondence mask.
    patch_px, stride_px, lpips
        As in `patch_metrics`.
    colour : ndarray of uint8, shape (3,)
        The background.
    screw : ndarray of bool, shape (Y, X)
        `screw_region` of `real`.

    Returns
    -------
    list of dict
        Records of `patch_metrics`, each with its ``view``. Without the screw, patches of which half is screw drop out.
    """
    paper = patch_metrics(fake, real, mask, patch_px, stride_px, lpips, colour=colour)
    bare = patch_metrics(fake, real, mask & ~screw, patch_px, stride_px, lpips, colour=colour)
    filled = [fill_background(image, mask, colour) for image in (fake, real)]
    shifted = []
    for record in paper:
        patch = Patch(*(record[key] for key in ("row", "column", "height", "width")))
        values = tolerant_metrics(filled[0][patch.slices], filled[1][patch.slices], lpips)
        shifted.append({**record, **{metric: values[metric] for metric in METRICS}})
    views = zip(VIEWS, (paper, bare, shifted), strict=True)
    return [{**record, "view": view} for view, records in views for record in records]


def intervals_csv(records: Sequence[Mapping[str, Any]], specimens: Mapping[str, str], seed: int = 0) -> str:
    """Return medians and paired differences with their 95 % intervals over specimens, as CSV.

    Parameters
    ----------
    records : sequence of mapping
        Patches with ``model``, ``pair``, ``view``, place and metrics.
    specimens : mapping of str to str
        The specimen of each pair.
    seed : int
        Of the bootstrap.

    Returns
    -------
    str
        A line for each view, metric and model (``minus`` empty), and for each model less each later one.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["view", "metric", "model", "minus", "median", "low", "high", "patches", "specimens"])
    models = list(dict.fromkeys(str(record["model"]) for record in records))
    for view in VIEWS:
        for metric in METRICS:
            values = {m: _by_patch(records, view, metric, m) for m in models}
            if not any(values.values()):
                continue
            for i, model in enumerate(models):
                own = values[model]
                groups = [specimens.get(pair, pair) for pair, *_ in own]
                writer.writerow(_line(view, metric, model, "", median_interval(list(own.values()), groups, seed=seed)))
                for other in models[i + 1 :]:
                    both = [key for key in own if key in values[other]]
                    a, b = ([v[key] for key in both] for v in (own, values[other]))
                    groups = [specimens.get(pair, pair) for pair, *_ in both]
                    writer.writerow(_line(view, metric, model, other, paired_difference(a, b, groups, seed=seed)))
    return text.getvalue()


def _by_patch(
    records: Sequence[Mapping[str, Any]], view: str, metric: str, model: str
) -> dict[tuple[str, int, int], float]:
    """Return the metric of one model in one view by pair and place, without what was not computed."""
    return {
        (r["pair"], r["row"], r["column"]): float(r[metric])
        for r in records
        if r["view"] == view and r["model"] == model and not np.isnan(r[metric])
    }


def _line(view: str, metric: str, model: str, minus: str, found: Interval) -> list[Any]:
    numbers = (f"{x:.6g}" for x in (found.median, found.low, found.high))
    return [view, metric, model, minus, *numbers, found.n, found.specimens]
