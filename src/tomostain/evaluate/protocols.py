"""Three protocols for one comparison: as in the paper, without the implant, and tolerant of a small shift.

The paper states that the black of the screw raises the scores (section 3.2), and that its sections are a few pixels off
(section 2.3). All protocols are measured in one pass, patch by patch.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tomostain.deprecation import renamed
from tomostain.evaluate.config import IMPLANT_EXCLUDED, PAPER, PROTOCOLS, SHIFT_TOLERANT, Protocol
from tomostain.evaluate.intervals import Interval, median_interval, paired_difference
from tomostain.evaluate.metrics.base import RGB, Mask, columns_in
from tomostain.evaluate.metrics.implant import implant_region as implant_region
from tomostain.evaluate.metrics.patch import Patch, PatchOptions, PatchRecord, measure_patches
from tomostain.evaluate.metrics.shift_tolerant import shift_tolerant_metrics

if TYPE_CHECKING:
    import pandas as pd

_INTERVAL_COLUMNS = ["view", "metric", "model", "minus", "median", "low", "high", "patches", "images", "subjects"]


def measure_protocols(
    fake: RGB,
    real: RGB,
    mask: Mask,
    options: PatchOptions | None = None,
    *,
    colour: NDArray[np.uint8],
    implant: Mask,
    protocols: Sequence[Protocol] = PROTOCOLS,
) -> list[PatchRecord]:
    """Compare a generated image with the real one by each protocol.

    Parameters
    ----------
    fake, real : ndarray of uint8, shape (Y, X, 3)
    mask : ndarray of bool, shape (Y, X)
        The correspondence mask.
    options : PatchOptions, optional
        Metrics, and side and step of the patches.
    colour : ndarray of uint8, shape (3,)
        The background.
    implant : ndarray of bool, shape (Y, X)
        `implant_region` of `real`.
    protocols : sequence of str
        From `PROTOCOLS`.

    Returns
    -------
    list of dict
        Records of `measure_patches`, each with its ``protocol``. Without the implant, patches that are mostly implant
        are omitted.
    """
    options = options or PatchOptions()
    paper = measure_patches(fake, real, mask, options, colour=colour)
    records = [{**record, "protocol": PAPER} for record in paper] if PAPER in protocols else []
    if IMPLANT_EXCLUDED in protocols:
        bare = measure_patches(fake, real, mask & ~implant, options, colour=colour)
        records += [{**record, "protocol": IMPLANT_EXCLUDED} for record in bare]
    if SHIFT_TOLERANT in protocols:
        for record in paper:
            at = Patch(*(int(record[key]) for key in ("row", "column", "height", "width"))).slices
            values = shift_tolerant_metrics(fake[at], real[at], options.metrics, mask=mask[at], colour=colour)
            del values["shift_px"]
            records.append({**record, **values, "protocol": SHIFT_TOLERANT})
    return records


def intervals_csv(records: "Sequence[PatchRecord] | pd.DataFrame", subjects: Mapping[str, str], seed: int = 0) -> str:
    """Return medians and paired differences with their 95 % intervals over subjects, as CSV.

    Parameters
    ----------
    records : sequence of mapping, or DataFrame
        Patches with ``model``, ``pair``, ``protocol``, position and metrics.
    subjects : mapping of str to str
        The subject of each pair. Images of one subject are not independent: whole subjects are resampled.
    seed : int
        Of the bootstrap.

    Returns
    -------
    str
        One line per protocol, metric and model (``minus`` is empty), and per model minus each later one.
    """
    import pandas as pd

    frame = records if isinstance(records, pd.DataFrame) else pd.DataFrame(list(records))
    models = list(dict.fromkeys(frame["model"]))
    lines = []
    for protocol in PROTOCOLS:
        patches = frame[frame["protocol"] == protocol]
        for metric in columns_in(map(str, frame.columns)):
            of_metric = patches.dropna(subset=[metric.name])
            if metric.scope != "patch" or of_metric.empty:
                continue
            values = {
                model: of_metric[of_metric["model"] == model].set_index(["pair", "row", "column"])[metric.name]
                for model in models
            }
            for number, model in enumerate(models):
                interval = median_interval(values[model], _subjects_of(values[model], subjects), seed=seed)
                lines.append(_line((protocol, metric.name, model, ""), interval, _images(values[model])))
                for other in models[number + 1 :]:
                    a = values[model][values[model].index.isin(values[other].index)]
                    b = values[other].loc[a.index]
                    interval = paired_difference(a, b, _subjects_of(a, subjects), seed=seed)
                    lines.append(_line((protocol, metric.name, model, other), interval, _images(a)))
    return pd.DataFrame(lines, columns=_INTERVAL_COLUMNS).to_csv(index=False, lineterminator="\n")


def _subjects_of(values: "pd.Series[float]", subjects: Mapping[str, str]) -> list[str]:
    return [subjects.get(pair, pair) for pair in values.index.get_level_values("pair")]


def _images(values: "pd.Series[float]") -> int:
    return len(set(values.index.get_level_values("pair")))


def _line(names: tuple[str, str, str, str], interval: Interval, images: int) -> list[str]:
    numbers = (f"{x:.6g}" for x in (interval.median, interval.low, interval.high))
    return [*names, *numbers, str(interval.n), str(images), str(interval.specimens)]


__getattr__ = renamed(
    __name__,
    {
        "VIEWS": "PROTOCOLS",
        "NO_SCREW": "IMPLANT_EXCLUDED",
        "TOLERANT": "SHIFT_TOLERANT",
        "screw_region": "implant_region",
        "measure_views": "measure_protocols",
    },
)
