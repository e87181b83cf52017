"""The figures of the paper from the models of the study: Fig. 4 (patches), 5 (regions), 6 (variants), 7 (box plots).

    python -m studies.table1.figures OUT [--budget seconds] [--difficulty paper] [--fold 0]

Written to OUT/figures. All images are masked as in section 2.8. Nothing is chosen manually: pairs are the first of
their split, regions those with the largest variation of colour.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from studies.table1.editions import DIFFICULTIES, EDITIONS, ROWS
from studies.table1.run import BUDGETS
from tomostain.dataset.dataset import Dataset, load_dataset
from tomostain.dataset.pair import Pair
from tomostain.evaluate.baselines import raw_ct
from tomostain.evaluate.figures import draw_boxplots
from tomostain.evaluate.metrics.patch import background_colour, fill_background
from tomostain.evaluate.table import Table
from tomostain.integers import to_integers
from tomostain.io import write_image
from tomostain.stain import StainConfig, Translator, blend_tiles, load_translator, stain_slice

RGB = NDArray[np.uint8]
MODEL = "paired-cyclegan"
SPLITS = ("train", "validation", "test")
_CHANNELS = ("tab:red", "tab:green", "tab:blue")


def masked(image: RGB, pair: Pair) -> RGB:
    """Return an image with the mean background outside the mask."""
    return fill_background(image, pair.mask, background_colour(pair.histology, pair.mask))


def most_varied(pair: Pair, side: int) -> tuple[slice, slice]:
    """Return the square within the mask where the real histology varies most in colour."""
    best_score, best = -1.0, (slice(0, side), slice(0, side))
    for row in range(0, max(1, pair.mask.shape[0] - side + 1), max(1, side // 4)):
        for column in range(0, max(1, pair.mask.shape[1] - side + 1), max(1, side // 4)):
            square = (slice(row, row + side), slice(column, column + side))
            score = float(pair.histology[square].std(axis=(0, 1)).sum() * pair.mask[square].mean() ** 2)
            if score > best_score:
                best_score, best = score, square
    return best


def generated_ct(translator: Translator, pair: Pair, config: StainConfig) -> RGB | None:
    """Return the µCT that the reverse generator makes from the histology, as RGB; None without a reverse generator."""
    if translator.reverse is None:
        return None
    # Patches of the size of training, as in staining.
    config = config.for_model(translator.spec.patch_px)
    # Tiles have one channel. Here it is the index of each pixel.
    rows, columns = pair.mask.shape
    index = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)
    flat = torch.from_numpy(pair.histology.reshape(-1, 3).astype(np.float32))

    def reverse(patches: torch.Tensor) -> torch.Tensor:
        return translator.back(flat[patches.long()].permute(0, 3, 1, 2))[:, None]

    ct = blend_tiles(reverse, index, **config.blending())[..., 0]
    return raw_ct(to_integers(ct, np.uint16, "µCT of the reverse generator", rounded=False))


def panels(rows: list[list[tuple[str, Any]]], size: float = 2.3) -> tuple[Figure, FigureCanvasAgg]:
    """Draw rows of titled images."""
    figure = Figure(figsize=(size * max(map(len, rows)), (size + 0.25) * len(rows)), dpi=110)
    canvas = FigureCanvasAgg(figure)
    for i, row in enumerate(rows):
        for j, (title, image) in enumerate(row):
            axes = figure.add_subplot(len(rows), max(map(len, rows)), i * max(map(len, rows)) + j + 1)
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
            axes.set_title(title, fontsize=8)
            axes.set_axis_off()
    figure.tight_layout()
    return figure, canvas


def rendered(canvas: FigureCanvasAgg) -> RGB:
    """Return the drawn figure as an image."""
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def patches(translator: Translator, data: Dataset, fold: int, config: StainConfig) -> RGB:
    """Fig. 4: three training patches, µCT, generated histology, mask, real histology, generated µCT."""
    rows = []
    for pair_id in data.split(fold).train[:3]:
        pair = data.load(pair_id)
        region = most_varied(pair, min(translator.spec.patch_px, *pair.mask.shape))
        generated = generated_ct(translator, pair, config)
        row = [
            ("real µCT", raw_ct(pair.ct)[region]),
            ("generated histology", stain_slice(translator, pair.ct, config)[region]),
            ("mask", np.where(pair.mask, 255, 0)[region]),
            ("real histology", pair.histology[region]),
        ]
        rows.append(row + ([("generated µCT", generated[region])] if generated is not None else []))
    return rendered(panels(rows)[1])


def regions(translator: Translator, data: Dataset, fold: int, config: StainConfig) -> RGB:
    """Fig. 5: a training, a validation and a test pair, with RGB histograms and profiles of a region."""
    split = data.split(fold)
    chosen = [(name, ids[0]) for name in SPLITS if (ids := getattr(split, name))]
    figure = Figure(figsize=(15, 2.9 * len(chosen)), dpi=100)
    canvas = FigureCanvasAgg(figure)
    for i, (name, pair_id) in enumerate(chosen):
        pair = data.load(pair_id)
        stained = stain_slice(translator, pair.ct, config)
        region = most_varied(pair, min(translator.spec.patch_px, *pair.mask.shape))
        images = {"µCT": raw_ct(pair.ct), "generated": masked(stained, pair), "real": masked(pair.histology, pair)}
        for j, (title, image) in enumerate(images.items()):
            axes = figure.add_subplot(len(chosen), 7, 7 * i + j + 1)
            axes.imshow(image, cmap="gray")
            axes.set_title(f"{name}: {title}", fontsize=8)
            axes.set_axis_off()
            if j == 0:
                rows, columns = region
                box = [columns.start, columns.stop], [rows.start, rows.stop]
                axes.plot(np.array(box[0])[[0, 1, 1, 0, 0]], np.array(box[1])[[0, 0, 1, 1, 0]], color="orange")
        for j, (title, image) in enumerate((("generated", stained), ("real", pair.histology))):
            axes = figure.add_subplot(len(chosen), 7, 7 * i + 4 + j)
            axes.imshow(image[region])
            axes.axhline((region[0].stop - region[0].start) / 2, color="orange", linewidth=0.8)
            axes.set_title(f"region: {title}", fontsize=8)
            axes.set_axis_off()
        histogram = figure.add_subplot(len(chosen), 7, 7 * i + 6)
        profile = figure.add_subplot(len(chosen), 7, 7 * i + 7)
        middle = (region[0].start + region[0].stop) // 2
        for channel, colour in enumerate(_CHANNELS):
            for image, style in ((stained, "--"), (pair.histology, "-")):
                counts, edges = np.histogram(image[region][..., channel], bins=64, range=(0, 255))
                histogram.plot(edges[:-1], counts, style, color=colour, linewidth=0.9)
                profile.plot(image[middle, region[1], channel], style, color=colour, linewidth=0.8)
        for axes, title in ((histogram, "histograms"), (profile, "profiles")):
            axes.set_title(f"{title} (dashed: generated)", fontsize=8)
            axes.tick_params(labelsize=6)
    figure.tight_layout()
    return rendered(canvas)


def variants(translators: dict[str, Translator], data: Dataset, fold: int, config: StainConfig) -> RGB:
    """Fig. 6: the images of each row for a validation and a test pair, whole and in the region of Fig. 5."""
    rows = []
    for name in SPLITS[1:]:
        ids = getattr(data.split(fold), name)
        if not ids:
            continue
        pair = data.load(ids[0])
        side = min(next(iter(translators.values())).spec.patch_px, *pair.mask.shape)
        region = most_varied(pair, side)
        stained = {row: stain_slice(translator, pair.ct, config) for row, translator in translators.items()}
        images = {"µCT": raw_ct(pair.ct), "real": masked(pair.histology, pair)}
        images |= {row: masked(image, pair) for row, image in stained.items()}
        rows.append([(f"{name}: {title}" if title == "µCT" else title, image) for title, image in images.items()])
        rows.append([("region", image[region]) for image in images.values()])
    return rendered(panels(rows)[1])


def boxes(evaluations: Path) -> RGB | None:
    """Fig. 7: box plots of all patches of all rows that were evaluated on the fold."""
    records: list[dict[str, Any]] = []
    drawn: set[str] = set()
    for path in sorted(evaluations.glob("*/metrics.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        # Each evaluation contains the baselines. Draw them once.
        new = {line["model"] for line in lines} - drawn
        records += [
            {key: (float(value) if key in ("ssim", "lpips", "psnr") else value) for key, value in line.items()}
            for line in lines
            if line["model"] in new
        ]
        drawn |= new
    return draw_boxplots(records, Table.from_records(records)) if records else None


def main() -> None:
    """Draw the figures of all existing models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--edition", choices=EDITIONS, default="cpu")
    parser.add_argument("--budget", choices=BUDGETS, default="seconds")
    parser.add_argument("--difficulty", choices=[d.name for d in DIFFICULTIES], default="paper")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    training = Path(options.budget) / options.difficulty / f"fold-{options.fold}-seed-{options.seed}"
    data = load_dataset(options.out / options.difficulty)
    config = StainConfig(stride_px=EDITIONS[options.edition].stride_px)
    runs = {row: options.out / "runs" / training / row for row in ROWS}
    models = {row: run / "model" for row, run in runs.items() if (run / "model").is_dir()}
    translators = {row: load_translator(folder, reverse=row == MODEL) for row, folder in models.items()}
    figures: dict[str, RGB | None] = {"fig7.png": boxes(options.out / "evaluations" / training / options.difficulty)}
    if MODEL in translators:
        figures["fig4.png"] = patches(translators[MODEL], data, options.fold, config)
        figures["fig5.png"] = regions(translators[MODEL], data, options.fold, config)
    if translators:
        figures["fig6.png"] = variants(translators, data, options.fold, config)
    for name, image in figures.items():
        if image is not None:
            write_image(options.out / "figures" / name, image, overwrite=True)
            print(options.out / "figures" / name)


if __name__ == "__main__":
    main()
