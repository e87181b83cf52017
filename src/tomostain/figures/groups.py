"""Values by group as dots, one per animal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tomostain.figures.canvas import figure_to_rgb, new_figure
from tomostain.figures.drawing import RGB

INK, SOFT, DOT = "#33373d", "#9aa0a8", "#5b4a94"
_SHIFT = 0.09


@dataclass(frozen=True)
class Dots:
    """The values of one group: a list for each animal, with one value per specimen."""

    animals: Sequence[Sequence[float]]


def draw_groups(groups: Mapping[str, Dots], y_label: str, *, title: str = "", width_in: float = 4.4) -> RGB:
    """Draw one filled dot per animal (its mean), small rings for its specimens, and a line at the mean of the animals.

    Parameters
    ----------
    groups : mapping of str to Dots
    y_label : str
        Name and unit of the measure.
    title : str
    width_in : float
        Width of the figure, inches.

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)
    """
    figure = new_figure(max(width_in, 1.1 * len(groups) + 1.2), 3.4, dpi=120)
    axes = figure.add_subplot()
    for position, dots in enumerate(groups.values()):
        means = [float(np.mean(values)) for values in dots.animals]
        for x, values, mean in zip(_spread(position, means), dots.animals, means, strict=True):
            if len(values) > 1:
                axes.plot([x] * len(values), values, "o", markersize=4, markerfacecolor="none", color=SOFT, zorder=2)
            axes.plot([x], [mean], "o", markersize=6, color=DOT, zorder=3)
        axes.plot([position - 0.25, position + 0.25], [np.mean(means)] * 2, color=INK, linewidth=1.5, zorder=4)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_xticks(range(len(groups)), [f"{name}\nn = {len(dots.animals)}" for name, dots in groups.items()])
    axes.tick_params(labelsize=8)
    axes.set_ylabel(y_label, fontsize=9)
    if title:
        axes.set_title(title, fontsize=9)
    axes.grid(axis="y", alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure_to_rgb(figure)


def _spread(position: int, values: Sequence[float]) -> list[float]:
    """Return abscissas around a position, so that dots of similar height do not hide each other."""
    order = np.argsort(values, kind="stable")
    steps = np.array([0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0])
    result = np.empty(len(values))
    result[order] = position + _SHIFT * steps[np.arange(len(values)) % len(steps)]
    return [float(x) for x in result]
