"""Figures of an evaluation: box plots as in the paper's Fig. 7, and difference images."""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from tomostain.deprecation import renamed
from tomostain.evaluate.metrics.base import RGB
from tomostain.evaluate.table import Table
from tomostain.figures.canvas import figure_to_rgb, new_figure

if TYPE_CHECKING:
    import pandas as pd

__getattr__ = renamed(__name__, {"side_by_side": "tomostain.figures.row:captioned_row"})


def draw_boxplots(records: "Iterable[Mapping[str, float | int | str]] | pd.DataFrame", table: Table) -> RGB:
    """Draw one panel per metric with a box for each model: median, quartiles, whiskers of 1.5 box lengths.

    Parameters
    ----------
    records : iterable of mapping, or DataFrame
        Patches, images, sets or volumes, with ``model`` and the metrics.
    table : Table
        Provides the models, the metrics and their labels.

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)
        The figure. Infinite values (PSNR of equal images) are omitted.

    References
    ----------
    Irvine et al., J. Synchrotron Rad. 2026, Fig. 7.
    """
    import pandas as pd

    frame = records if isinstance(records, pd.DataFrame) else pd.DataFrame(list(records))
    models = list(table.rows)
    panels = max(len(table.metrics), 1)
    figure = new_figure(3.6 * panels, 3.0 + 0.14 * max(map(len, models), default=0), dpi=120)
    palette = [f"C{index % 10}" for index in range(len(models))]
    for column, metric in enumerate(table.metrics, start=1):
        axes = figure.add_subplot(1, len(table.metrics), column)
        values = {model: frame.loc[frame["model"] == model, metric] for model in models}
        data = [[value for value in values[model] if math.isfinite(value)] for model in models]
        boxes = axes.boxplot(data, patch_artist=True, widths=0.6, flierprops={"markersize": 3})
        for box, line, colour in zip(boxes["boxes"], boxes["medians"], palette, strict=True):
            box.set(facecolor=colour, alpha=0.5)
            line.set(color="black", linewidth=1.5)
        axes.set_xticks(range(1, len(models) + 1), models, rotation=40, ha="right")
        axes.set_title(table.label(metric))
        axes.grid(axis="y", alpha=0.3)
    return figure_to_rgb(figure)


def difference_image(a: RGB, b: RGB) -> RGB:
    """Return the absolute difference, black where equal, uint8 of shape (Y, X, 3).

    Examples
    --------
    >>> difference_image(np.full((1, 1, 3), 10, np.uint8), np.full((1, 1, 3), 250, np.uint8)).tolist()
    [[[240, 240, 240]]]
    """
    return np.abs(a.astype(np.int16) - b).astype(np.uint8)
