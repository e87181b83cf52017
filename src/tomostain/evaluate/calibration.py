"""Calibration of uncertainty maps: how well the uncertainty of a stained image predicts its error."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomostain.dataset.dataset import Dataset
from tomostain.dataset.pair import Pair
from tomostain.deprecation import renamed
from tomostain.errors import InputError
from tomostain.evaluate.baselines import raw_ct
from tomostain.evaluate.figures import difference_image
from tomostain.evaluate.metrics.base import RGB
from tomostain.evaluate.metrics.implant import implant_region
from tomostain.evaluate.metrics.patch import background_colour, fill_background
from tomostain.figures.canvas import figure_to_rgb, new_figure
from tomostain.figures.row import captioned_row
from tomostain.integers import refuse_not_finite, to_integers
from tomostain.io import write_image
from tomostain.io.atomic import write_text
from tomostain.progress import Progress, silent, track
from tomostain.stain import StainConfig, Translator, stain_slice
from tomostain.stain.noise import stain_seeds
from tomostain.stain.uncertainty import (
    CYCLE,
    DISAGREEMENT,
    DISAGREEMENT_OR_NOVELTY,
    NOVELTY,
    SPREAD,
    combined,
    cycle_error,
    disagreement,
    noise_spread,
    novelty_of,
    patch_means,
    rank_correlation,
)

Float32 = NDArray[np.float32]
PATCH_PX = 32
# Seeds whose colours are compared, for models with a noise input.
NOISE_SAMPLES = 4
COLUMNS = ("map", "pair", "patches", "rank_correlation")
_BINS, _COLUMNS = 8, 4


def write_calibration(
    folder: Path,
    data: Dataset,
    ids: Sequence[str],
    translators: Mapping[str, Translator],
    config: StainConfig,
    *,
    exclude_implant: bool = False,
    progress: Progress = silent,
) -> None:
    """Write the uncertainty maps of each pair, and how well they predict the error.

    Parameters
    ----------
    folder : Path
        Gets ``<pair>.png`` (µCT, stained, real, difference, maps), ``rank-correlation.csv`` (each pair, and all
        together) and ``calibration.png`` (error by uncertainty).
    data : Dataset
    ids : sequence of str
    translators : mapping of str to Translator
        Models loaded with their reverse generator give a cycle error each. Two or more give a disagreement. Models with
        a training reference give novelty, and with a disagreement also the combination of both.
    config : StainConfig
    exclude_implant : bool
        Report each map also without the implant, which is black and easy to stain.
    progress : Progress
    """
    means: dict[tuple[str, str], NDArray[np.float64]] = {}
    for pair_id in track(list(ids), "uncertainty maps", progress):
        pair = data.load(pair_id, max(t.spec.ct_slices for t in translators.values()))
        pictures = {name: stain_slice(t, pair.context(t.spec.ct_slices), config) for name, t in translators.items()}
        maps = uncertainty_maps(pair, translators, pictures, config)
        masks = {"": pair.mask}
        if exclude_implant:
            masks[", implant excluded"] = pair.mask & ~implant_region(pair.histology)
        for name, (uncertainty, stained) in maps.items():
            for suffix, mask in masks.items():
                means[name + suffix, pair_id] = patch_means(uncertainty, error_of(stained, pair), mask, PATCH_PX)
        write_image(folder / f"{pair_id}.png", _picture(pair, next(iter(pictures.values())), maps))
    pooled: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for (name, _), points in means.items():
        pooled[name].append(points)
    together = {name: np.concatenate(parts) for name, parts in pooled.items()}
    write_text(folder / "rank-correlation.csv", _csv(means | {(name, "all"): m for name, m in together.items()}))
    if together:
        write_image(folder / "calibration.png", draw_calibration(together))


def check_uncertainty_options(translators: Mapping[str, Translator]) -> None:
    """Raise `InputError` if no map can be computed: one model without reverse generator and training reference."""
    alone = len(translators) < 2 and all(
        t.reverse is None and t.training_reference is None for t in translators.values()
    )
    if alone and not any(t.has_noise for t in translators.values()):
        raise InputError(
            "`uncertainty`: one model without reverse generator, training reference and noise input gives no map; "
            "compare several models",
            parameter="uncertainty",
        )


def uncertainty_maps(
    pair: Pair, translators: Mapping[str, Translator], pictures: Mapping[str, RGB], config: StainConfig
) -> dict[str, tuple[Float32, RGB]]:
    """Return each map by name, with the stained image that it refers to."""
    maps: dict[str, tuple[Float32, RGB]] = {}
    for name, translator in translators.items():
        if translator.reverse is not None:
            maps[f"{CYCLE} of {name}"] = cycle_error(translator, pair.ct, config), pictures[name]
        if translator.has_noise:
            context = pair.context(translator.spec.ct_slices)
            samples = stain_seeds(translator, context, config, seeds=range(1, NOISE_SAMPLES))
            maps[f"{SPREAD} of {name}"] = noise_spread([pictures[name], *samples]), pictures[name]
    several = list(pictures.values())
    mean = to_integers(np.mean(several, axis=0), np.uint8, "mean of the stained images")
    with_reference = [translator for translator in translators.values() if translator.training_reference is not None]
    novelty = novelty_of(with_reference, pair.ct) if len(with_reference) == len(translators) else None
    if novelty is not None:
        maps[NOVELTY] = novelty, mean
    if len(several) > 1:
        maps[DISAGREEMENT] = disagreement(several), mean
        if novelty is not None:
            maps[DISAGREEMENT_OR_NOVELTY] = combined(maps[DISAGREEMENT][0], novelty), mean
    return maps


def error_of(stained: RGB, pair: Pair) -> Float32:
    """Return the mean absolute difference from the real histology, grey levels, shape (Y, X)."""
    return np.abs(stained.astype(np.float32) - pair.histology).mean(axis=2)


def draw_calibration(means: Mapping[str, NDArray[np.float64]]) -> RGB:
    """Draw, for each map, the patches and the median error of eight equally large groups by uncertainty."""
    columns = min(len(means), _COLUMNS)
    rows = -(-len(means) // columns)
    figure = new_figure(4.2 * columns, 3.6 * rows, dpi=110)
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
    return figure_to_rgb(figure)


def _picture(pair: Pair, stained: RGB, maps: Mapping[str, tuple[Float32, RGB]]) -> RGB:
    """Return µCT | stained | real | difference | each map, brightest at its 99th percentile."""
    from matplotlib import colormaps

    colour = background_colour(pair.histology, pair.mask)
    filled, real = (fill_background(image, pair.mask, colour) for image in (stained, pair.histology))
    images = {"µCT": raw_ct(pair.ct), "stained": filled, "real": real, "difference": difference_image(filled, real)}
    for name, (uncertainty, _) in maps.items():
        inside = np.where(pair.mask, uncertainty, 0.0)
        brightest = float(np.percentile(inside[pair.mask], 99)) or 1.0
        refuse_not_finite(inside, f"{name} of pair '{pair.id}'")
        colours = colormaps["magma"](np.clip(inside / brightest, 0, 1))[..., :3] * 255
        images[name] = to_integers(colours, np.uint8, name, rounded=False)
    return captioned_row(images)


def _csv(means: Mapping[tuple[str, str], NDArray[np.float64]]) -> str:
    """Return one line per map and pair."""
    import pandas as pd

    rows = [
        (name, pair_id, len(points), f"{rank_correlation(points):.4f}") for (name, pair_id), points in means.items()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(index=False, lineterminator="\n")


__getattr__ = renamed(__name__, {"DOUBT": "DISAGREEMENT_OR_NOVELTY", "doubt_maps": "uncertainty_maps"})
