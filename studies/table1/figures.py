"""The figures of the paper from the benchmark's models: Fig. 4 (patches), 5 (regions), 6 (variants), 7 (box plots).

    python -m studies.table1.figures OUT [--budget seconds] [--difficulty paper] [--fold 0]

Written to OUT/figures. All pictures are masked as in section 2.8; nothing is chosen manually: pairs are the first of
their split, regions the ones with most tissue of several kinds.
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
from tomostain.io import write_image
from tomostain.stain import StainConfig, Translator, blend_tiles, load_translator, stain_slice

RGB = NDArray[np.uint8]
MODEL = "paired-cyclegan"
SPLITS = ("train", "validation", "test")
_CHANNELS = ("tab:red", "tab:green", "tab:blue")


def masked(image: RGB, pair: Pair) -> RGB:
    """Return an image with the background's mean outside the mask."""
    return fill_background(image, pair.mask, background_colour(pair.histology, pair.mask))


def liveliest(pair: Pair, side: int) -> tuple[slice, slice]:
    """Return the square within the mask where the real histology varies most in colour."""
    best, found = -1.0, (slice(0, side), slice(0, side))
    for row in range(0, max(1, pair.mask.shape[0] - side + 1), max(1, side // 4)):
        for column in range(0, max(1, pair.mask.shape[1] - side + 1), max(1, side // 4)):
            where = (slice(row, row + side), slice(column, column + side))
            score = float(pair.histology[where].std(axis=(0, 1)).sum() * pair.mask[where].mean() ** 2)
            if score > best:
                best, found = score, where
    return found


def generated_ct(translator: Translator, pair: Pair, config: StainConfig) -> RGB | None:
    """Return the µCT that the reverse generator makes of the histology, as the µCT is shown; None without one."""
    if translator.reverse is None:
        return None
    # Patches of the side it was trained on, as staining takes.
    config = config.for_model(translator.spec.patch_px)
    # The tiles are cut from one channel, an index of the position of each pixel.
    rows, columns = pair.mask.shape
    index = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)
    flat = torch.from_numpy(pair.histology.reshape(-1, 3).astype(np.float32))

    def back(patches: torch.Tensor) -> torch.Tensor:
        return translator.back(flat[patches.long()].permute(0, 3, 1, 2))[:, None]

    return raw_ct(blend_tiles(back, index, **config.blending())[..., 0].astype(np.uint16))


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


def picture(canvas: FigureCanvasAgg) -> RGB:
    """Return what is drawn."""
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def patches(translator: Translator, data: Dataset, fold: int, config: StainConfig) -> RGB:
    """Fig. 4: three training patches, µCT, generated histology, mask, real histology, generated µCT."""
    rows = []
    for pair_id in data.split(fold).train[:3]:
        pair = data.load(pair_id)
        where = liveliest(pair, min(translator.spec.patch_px, *pair.mask.shape))
        back = generated_ct(translator, pair, config)
        row = [
            ("real µCT", raw_ct(pair.ct)[where]),
            ("generated histology", stain_slice(translator, pair.ct, config)[where]),
            ("mask", np.where(pair.mask, 255, 0)[where]),
            ("real histology", pair.histology[where]),
        ]
        rows.append(row + ([("generated µCT", back[where])] if back is not None else []))
    return picture(panels(rows)[1])


def regions(translator: Translator, data: Dataset, fold: int, config: StainConfig) -> RGB:
    """Fig. 5: training, validation, test; a region's RGB histograms and the profiles across its middle."""
    split = data.split(fold)
    chosen = [(name, ids[0]) for name in SPLITS if (ids := getattr(split, name))]
    figure = Figure(figsize=(15, 2.9 * len(chosen)), dpi=100)
    canvas = FigureCanvasAgg(figure)
    for i, (name, pair_id) in enumerate(chosen):
        pair = data.load(pair_id)
        fake = stain_slice(translator, pair.ct, config)
        where = liveliest(pair, min(translator.spec.patch_px, *pair.mask.shape))
        images = {"µCT": raw_ct(pair.ct), "generated": masked(fake, pair), "real": masked(pair.histology, pair)}
        for j, (title, image) in enumerate(images.items()):
            axes = figure.add_subplot(len(chosen), 7, 7 * i + j + 1)
            axes.imshow(image, cmap="gray")
            axes.set_title(f"{name}: {title}", fontsize=8)
            axes.set_axis_off()
            if j == 0:
                rows, columns = where
                box = [columns.start, columns.stop], [rows.start, rows.stop]
                axes.plot(np.array(box[0])[[0, 1, 1, 0, 0]], np.array(box[1])[[0, 0, 1, 1, 0]], color="orange")
        for j, (title, image) in enumerate((("generated", fake), ("real", pair.histology))):
            axes = figure.add_subplot(len(chosen), 7, 7 * i + 4 + j)
            axes.imshow(image[where])
            axes.axhline((where[0].stop - where[0].start) / 2, color="orange", linewidth=0.8)
            axes.set_title(f"region: {title}", fontsize=8)
            axes.set_axis_off()
        histogram = figure.add_subplot(len(chosen), 7, 7 * i + 6)
        profile = figure.add_subplot(len(chosen), 7, 7 * i + 7)
        middle = (where[0].start + where[0].stop) // 2
        for channel, colour in enumerate(_CHANNELS):
            for image, style in ((fake, "--"), (pair.histology, "-")):
                counts, edges = np.histogram(image[where][..., channel], bins=64, range=(0, 255))
                histogram.plot(edges[:-1], counts, style, color=colour, linewidth=0.9)
                profile.plot(image[middle, where[1], channel], style, color=colour, linewidth=0.8)
        for axes, title in ((histogram, "histograms"), (profile, "profiles")):
            axes.set_title(f"{title} (dashed: generated)", fontsize=8)
            axes.tick_params(labelsize=6)
    figure.tight_layout()
    return picture(canvas)


def variants(translators: dict[str, Translator], data: Dataset, fold: int, config: StainConfig) -> RGB:
    """Fig. 6: what each row draws of a validation and of a test pair, whole and in the region of Fig. 5."""
    rows = []
    for name in SPLITS[1:]:
        ids = getattr(data.split(fold), name)
        if not ids:
            continue
        pair = data.load(ids[0])
        side = min(next(iter(translators.values())).spec.patch_px, *pair.mask.shape)
        where = liveliest(pair, side)
        drawn = {row: stain_slice(translator, pair.ct, config) for row, translator in translators.items()}
        wholes = {"µCT": raw_ct(pair.ct), "real": masked(pair.histology, pair)}
        wholes |= {row: masked(image, pair) for row, image in drawn.items()}
        rows.append([(f"{name}: {title}" if title == "µCT" else title, image) for title, image in wholes.items()])
        rows.append([("region", image[where]) for image in wholes.values()])
    return picture(panels(rows)[1])


def boxes(evaluations: Path) -> RGB | None:
    """Fig. 7: box plots of every patch of every row that was evaluated on the fold."""
    records: list[dict[str, Any]] = []
    seen: set[str] = set()
    for path in sorted(evaluations.glob("*/metrics.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        # Every evaluation contains the floors. Draw them once.
        new = {line["model"] for line in lines} - seen
        records += [
            {key: (float(value) if key in ("ssim", "lpips", "psnr") else value) for key, value in line.items()}
            for line in lines
            if line["model"] in new
        ]
        seen |= new
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
    place = Path(options.budget) / options.difficulty / f"fold-{options.fold}-seed-{options.seed}"
    data = load_dataset(options.out / options.difficulty)
    config = StainConfig(stride_px=EDITIONS[options.edition].stride_px)
    runs = {row: options.out / "runs" / place / row for row in ROWS}
    models = {row: run / "model" for row, run in runs.items() if (run / "model").is_dir()}
    translators = {row: load_translator(folder, reverse=row == MODEL) for row, folder in models.items()}
    figures: dict[str, RGB | None] = {"fig7.png": boxes(options.out / "evaluations" / place / options.difficulty)}
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
