"""Does the spread between seeds of a noise input cover the truth? And does the spread predict the error?

    python -m studies.recipe.noise MODEL DATASET [--split validation] [--seeds 8] [--figure FILE]

Every pair is stained with several seeds. For each kind of tissue by the colour of the truth (implant, other), one line:
the spread, the error of one seed and of the mean of all, the coverage (share of the values of the truth between the
lowest and the highest of the seeds; (n - 1) / (n + 1) if the truth were one more sample), and Spearman's rank
correlation of spread and error over patches of 32 px. `--figure` draws one pair: µCT, two seeds, the mean of all, their
spread, the error of the mean, and the truth.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomostain.dataset.dataset import Dataset, load_dataset
from tomostain.dataset.pair import Pair
from tomostain.evaluate.config import EvaluateConfig
from tomostain.evaluate.models import pairs_of
from tomostain.evaluate.protocols import implant_region
from tomostain.figures.drawing import to_rgb
from tomostain.figures.row import captioned_row
from tomostain.integers import to_integers
from tomostain.io import write_image
from tomostain.stain import StainConfig, Translator, load_translator
from tomostain.stain.noise import stain_seeds
from tomostain.stain.uncertainty import noise_spread, patch_means, rank_correlation

PATCH_PX = 32
SPREAD_LEVELS, ERROR_LEVELS = 40.0, 80.0
COLUMNS = ("spread", "error_one_seed", "error_mean", "coverage")


def measure(translator: Translator, pair: Pair, seeds: int) -> dict[str, NDArray[np.float64]]:
    """Return sums over the pixels of each kind of tissue: number, then the four columns; and means of patches."""
    images = stain_seeds(translator, pair.context(translator.spec.ct_slices), StainConfig(), seeds=range(seeds))
    stack, real = np.stack(images).astype(np.float32), pair.histology.astype(np.float32)
    spread = noise_spread(images)
    one, mean = (np.abs(image - real).mean(axis=-1) for image in (stack[0], stack.mean(axis=0)))
    covered = ((stack.min(axis=0) <= real) & (real <= stack.max(axis=0))).mean(axis=-1)
    implant = implant_region(pair.histology)
    sums = {}
    for name, mask in (("implant", pair.mask & implant), ("other", pair.mask & ~implant)):
        sums[name] = np.array([mask.sum(), *(image[mask].sum() for image in (spread, one, mean, covered))], np.float64)
    return sums | {"patches": patch_means(spread, one, pair.mask & ~implant, PATCH_PX)}


def report(translator: Translator, data: Dataset, ids: tuple[str, ...], seeds: int) -> str:
    """Return the table as text."""
    totals: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for pair_id in ids:
        for name, values in measure(translator, data.load(pair_id, translator.spec.ct_slices), seeds).items():
            totals[name].append(values)
    lines = ["tissue   " + "  ".join(COLUMNS)]
    for name in ("implant", "other"):
        number, *sums = np.sum(totals[name], axis=0)
        lines.append(f"{name:8} " + "  ".join(f"{value / max(number, 1):.3f}" for value in sums))
    correlation = rank_correlation(np.concatenate(totals["patches"]))
    lines.append(f"one more sample would have the coverage {(seeds - 1) / (seeds + 1):.3f}")
    lines.append(f"rank correlation of spread and error, without the implant: {correlation:.3f}")
    return "\n".join(lines)


def draw(translator: Translator, pair: Pair, seeds: int, window: Sequence[int] | None = None) -> NDArray[np.uint8]:
    """Return a row of images of a pair, enlarged twice. Outside the mask the maps are black.

    `window` is the first row, the first column and the side of a square, px; None: the whole image.
    """
    images = stain_seeds(translator, pair.context(translator.spec.ct_slices), StainConfig(), seeds=range(seeds))
    mean = np.stack(images).mean(axis=0)
    error = np.abs(mean - pair.histology).mean(axis=-1)
    row = {
        "µCT": to_rgb(pair.ct),
        "seed 0": images[0],
        "seed 1": images[1],
        f"mean of {seeds} seeds": to_integers(mean, np.uint8, "the mean"),
        f"spread, 0 to {SPREAD_LEVELS:g} grey levels": to_rgb(noise_spread(images) * pair.mask, (0, SPREAD_LEVELS)),
        f"error of the mean, 0 to {ERROR_LEVELS:g}": to_rgb(error * pair.mask, (0, ERROR_LEVELS)),
        "real histology": pair.histology,
    }
    top, left, side = window or (0, 0, max(pair.mask.shape))
    return captioned_row(
        {
            caption: image[top : top + side, left : left + side].repeat(2, axis=0).repeat(2, axis=1)
            for caption, image in row.items()
        }
    )


def main() -> None:
    """Print the table of a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split", default="validation")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--figure", type=Path, help="PNG to draw")
    parser.add_argument("--pair", help="the pair of the figure; default: the first")
    parser.add_argument("--window", nargs=3, type=int, metavar=("ROW", "COLUMN", "SIDE"), help="of the figure, px")
    options = parser.parse_args()
    translator, data = load_translator(options.model, "cpu"), load_dataset(options.dataset)
    split = EvaluateConfig(split=options.split).split
    ids = pairs_of(data, split, translator.spec.fold)
    if options.figure:
        pair = data.load(options.pair or ids[0], translator.spec.ct_slices)
        write_image(options.figure, draw(translator, pair, options.seeds, options.window), overwrite=True)
    print(report(translator, data, ids, options.seeds))


if __name__ == "__main__":
    main()
