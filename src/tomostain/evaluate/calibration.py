"""Maps of doubt beside the error that they should foretell: is a picture worse where the models doubt it?"""

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomostain.dataset.dataset import Dataset
from tomostain.dataset.pair import Pair
from tomostain.errors import InputError
from tomostain.evaluate.baselines import raw_ct
from tomostain.evaluate.figures import difference_image, side_by_side
from tomostain.evaluate.metrics.patch import background_colour, fill_background
from tomostain.io import write_image
from tomostain.io.atomic import write_text
from tomostain.progress import Progress, silent, track
from tomostain.stain import StainConfig, Translator, stain_slice
from tomostain.stain.uncertainty import (
    CYCLE,
    DISAGREEMENT,
    DOUBT,
    NOVELTY,
    combined,
    cycle_error,
    disagreement,
    novelty_of,
    patch_means,
    rank_correlation,
)

Float32 = NDArray[np.float32]
RGB = NDArray[np.uint8]
PATCH_PX = 32
COLUMNS = ("map", "pair", "patches", "rank_correlation")
_BINS, _COLUMNS = 8, 4


def write_calibration(
    folder: Path,
    data: Dataset,
    ids: Sequence[str],
    translators: Mapping[str, Translator],
    config: StainConfig,
    progress: Progress = silent,
) -> None:
    """Write the maps of each pair, and how well they foretell the error.

    Parameters
    ----------
    folder : Path
        Gets ``<pair>.png`` (µCT, stained, real, difference, maps), ``rank-correlation.csv`` (each pair, and all
        together) and ``calibration.png`` (error by doubt).
    data : Dataset
    ids : sequence of str
    translators : mapping of str to Translator
        Those loaded with their reverse give a cycle error each; two or more a disagreement; those that remember what
        training saw novelty, together with disagreement too.
    config : StainConfig
    progress : Progress
    """
    means: dict[tuple[str, str], NDArray[np.float64]] = {}
    for pair_id in track(list(ids), "maps of doubt", progress):
        pair = data.load(pair_id, max(t.spec.ct_slices for t in translators.values()))
        pictures = {name: stain_slice(t, pair.context(t.spec.ct_slices), config) for name, t in translators.items()}
        maps = doubt_maps(pair, translators, pictures, config)
        for name, (doubt, drawn) in maps.items():
            means[name, pair_id] = patch_means(doubt, error_of(drawn, pair), pair.mask, PATCH_PX)
        write_image(folder / f"{pair_id}.png", _picture(pair, next(iter(pictures.values())), maps))
    pooled: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for (name, _), found in means.items():
        pooled[name].append(found)
    together = {name: np.concatenate(parts) for name, parts in pooled.items()}
    write_text(folder / "rank-correlation.csv", _csv(means | {(name, "all"): m for name, m in together.items()}))
    if together:
        write_image(folder / "calibration.png", draw_calibration(together))


def check_uncertainty_options(translators: Mapping[str, Translator]) -> None:
    """Raise `InputError` if there is neither a way back nor a second model: then there is no map."""
    if len(translators) < 2 and all(t.reverse is None and t.seen is None for t in translators.values()):
        raise InputError(
            "doubt: one model that neither has a way back nor remembers what training saw gives no map; compare several"
        )


def doubt_maps(
    pair: Pair, translators: Mapping[str, Translator], pictures: Mapping[str, RGB], config: StainConfig
) -> dict[str, tuple[Float32, RGB]]:
    """Return each map by name, with the picture that it doubts."""
    maps: dict[str, tuple[Float32, RGB]] = {}
    for name, translator in translators.items():
        if translator.reverse is not None:
            maps[f"{CYCLE} of {name}"] = cycle_error(translator, pair.ct, config), pictures[name]
    several = list(pictures.values())
    mean = np.rint(np.mean(several, axis=0)).astype(np.uint8)
    remembering = [translator for translator in translators.values() if translator.seen is not None]
    new = novelty_of(remembering, pair.ct) if len(remembering) == len(translators) else None
    if new is not None:
        maps[NOVELTY] = new, mean
    if len(several) > 1:
        maps[DISAGREEMENT] = disagreement(several), mean
        if new is not None:
            maps[DOUBT] = combined(maps[DISAGREEMENT][0], new), mean
    return maps


def error_of(drawn: RGB, pair: Pair) -> Float32:
    """Return the mean absolute difference from the real histology, grey levels, shape (Y, X)."""
    return np.abs(drawn.astype(np.float32) - pair.histology).mean(axis=2)


def draw_calibration(means: Mapping[str, NDArray[np.float64]]) -> RGB:
    """Draw, for each map, the patches and the median error of as many patches each, from little doubt to much."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(len(means), _COLUMNS)
    rows = -(-len(means) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.6 * rows), dpi=110)
    canvas = FigureCanvasAgg(figure)
    for number, (name, points) in enumerate(means.items(), start=1):
        axes = figure.add_subplot(rows, columns, number)
        axes.plot(points[:, 0], points[:, 1], ".", markersize=3, alpha=0.4)
        if len(points) >= _BINS:
            parts = np.array_split(points[points[:, 0].argsort()], _BINS)
            axes.plot([np.median(p[:, 0]) for p in parts], [np.median(p[:, 1]) for p in parts], "o-", color="black")
        axes.set_title(f"rank correlation {rank_correlation(points):.2f}, {len(points)} patches", fontsize=9)
        axes.set_xlabel(f"{name}", fontsize=8)
        axes.set_ylabel("error, grey levels", fontsize=8)
        axes.grid(alpha=0.3)
    figure.tight_layout()
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _picture(pair: Pair, stained: RGB, maps: Mapping[str, tuple[Float32, RGB]]) -> RGB:
    """Return µCT | stained | real | difference | each map, brightest at its 99th percentile."""
    from matplotlib import colormaps

    colour = background_colour(pair.histology, pair.mask)
    drawn, real = (fill_background(image, pair.mask, colour) for image in (stained, pair.histology))
    images = {"µCT": raw_ct(pair.ct), "stained": drawn, "real": real, "difference": difference_image(drawn, real)}
    for name, (doubt, _) in maps.items():
        inside = np.where(pair.mask, doubt, 0.0)
        most = float(np.percentile(inside[pair.mask], 99)) or 1.0
        images[name] = (colormaps["magma"](np.clip(inside / most, 0, 1))[..., :3] * 255).astype(np.uint8)
    return side_by_side(images)


def _csv(means: Mapping[tuple[str, str], NDArray[np.float64]]) -> str:
    """Return a line for each map and pair."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for (name, pair_id), points in means.items():
        rows.writerow((name, pair_id, len(points), f"{rank_correlation(points):.4f}"))
    return text.getvalue()
