"""Pictures of an evaluation: box plots as in Fig. 7, and images side by side."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tomostain.evaluate.table import Table

RGB = NDArray[np.uint8]
CAPTION_PX = 22
GAP_PX = 4


def draw_boxplots(records: Sequence[Mapping[str, Any]], table: Table) -> RGB:
    """Draw one panel a metric with a box for each model (paper Fig. 7): median, quartiles, whiskers of 1.5 box lengths.

    Parameters
    ----------
    records : sequence of mapping
        Patches with ``model`` and the metrics.
    table : Table
        Gives the models, the metrics and their labels.

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)
        The figure. An infinite PSNR (equal images) is left out of it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    models = list(table.rows)
    figure = Figure(figsize=(3.6 * max(len(table.metrics), 1), 3.0 + 0.14 * max(map(len, models), default=0)), dpi=120)
    canvas = FigureCanvasAgg(figure)
    palette = [f"C{index % 10}" for index in range(len(models))]
    for column, metric in enumerate(table.metrics, start=1):
        axes = figure.add_subplot(1, len(table.metrics), column)
        data = [[r[metric] for r in records if r["model"] == model and math.isfinite(r[metric])] for model in models]
        boxes = axes.boxplot(data, patch_artist=True, widths=0.6, flierprops={"markersize": 3})
        for box, line, colour in zip(boxes["boxes"], boxes["medians"], palette, strict=True):
            box.set(facecolor=colour, alpha=0.5)
            line.set(color="black", linewidth=1.5)
        axes.set_xticks(range(1, len(models) + 1), models, rotation=40, ha="right")
        axes.set_title(table.label(metric))
        axes.grid(axis="y", alpha=0.3)
    figure.tight_layout()
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def difference_image(a: RGB, b: RGB) -> RGB:
    """Return the absolute difference, black where equal, uint8 of shape (Y, X, 3).

    Examples
    --------
    >>> difference_image(np.full((1, 1, 3), 10, np.uint8), np.full((1, 1, 3), 250, np.uint8)).tolist()
    [[[240, 240, 240]]]
    """
    return np.abs(a.astype(np.int16) - b).astype(np.uint8)


def side_by_side(images: Mapping[str, RGB]) -> RGB:
    """Put images of one height beside each other on white, each below its caption.

    Parameters
    ----------
    images : mapping of str to ndarray of uint8, shape (Y, X, 3)
        Caption → image.

    Returns
    -------
    ndarray of uint8, shape (Y + 22, total width, 3)
        The picture.
    """
    height = max(image.shape[0] for image in images.values())
    width = sum(image.shape[1] + GAP_PX for image in images.values()) - GAP_PX
    sheet = Image.new("RGB", (width, height + CAPTION_PX), "white")
    draw = ImageDraw.Draw(sheet)
    left = 0
    for caption, image in images.items():
        draw.text((left + 2, 3), _fitting(draw, caption, image.shape[1] - 4), fill="black", font=_font())
        sheet.paste(Image.fromarray(image), (left, CAPTION_PX))
        left += image.shape[1] + GAP_PX
    return np.asarray(sheet).copy()


@lru_cache(maxsize=1)
def _font() -> Any:
    """Return the DejaVu that matplotlib ships; Pillow's own font lacks µ."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), 12)


def _fitting(draw: ImageDraw.ImageDraw, text: str, width: int) -> str:
    """Cut a caption to the width of its picture."""
    if draw.textlength(text, font=_font()) <= width:
        return text
    while text and draw.textlength(text + "…", font=_font()) > width:
        text = text[:-1]
    return text + "…"
