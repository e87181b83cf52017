"""Charts of measures: curves, bars, histograms, confusion, and the agreement of two methods."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tomostain.figures.canvas import figure_to_rgb, new_figure
from tomostain.figures.drawing import RGB

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
COLOURS = ("#5b4a94", "#d55e00", "#009e73", "#0072b2", "#cc79a7", "#7d838c")
"""Distinguishable with colour vision deficiency."""
INK, SOFT = "#33373d", "#9aa0a8"
_WIDTH_IN, _HEIGHT_IN, _DPI = 5.2, 3.4, 130


def draw_lines(x: Array, series: Mapping[str, Array], x_label: str, y_label: str, *, from_zero: bool = True) -> RGB:
    """Draw curves over one abscissa.

    Parameters
    ----------
    x : ndarray of float, shape (N,)
    series : mapping of str to ndarray of float, shape (N,)
        NaN leaves a gap.
    x_label, y_label : str
    from_zero : bool
        Begin the ordinate at 0.

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)
    """
    figure = new_figure(_WIDTH_IN, _HEIGHT_IN, dpi=_DPI)
    axes = figure.add_subplot()
    for (name, values), colour in zip(series.items(), _colours(len(series)), strict=True):
        axes.plot(x, values, "o-" if len(x) <= 40 else "-", color=colour, markersize=3, linewidth=1.5, label=name)
    if from_zero:
        axes.set_ylim(bottom=0)
    _finish(axes, x_label, y_label, list(series))
    return figure_to_rgb(figure)


def draw_bars(names: Sequence[str], series: Mapping[str, Array], y_label: str, *, x_label: str = "") -> RGB:
    """Draw groups of bars: one group per name, one bar per series.

    Parameters
    ----------
    names : sequence of str
    series : mapping of str to ndarray of float, shape (number of names,)
        NaN leaves a gap.
    y_label, x_label : str

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)
    """
    figure = new_figure(_WIDTH_IN, _HEIGHT_IN, dpi=_DPI)
    axes = figure.add_subplot()
    width = 0.8 / max(1, len(series))
    for number, ((name, values), colour) in enumerate(zip(series.items(), _colours(len(series)), strict=True)):
        at = np.arange(len(names)) + (number - (len(series) - 1) / 2) * width
        axes.bar(at, np.nan_to_num(values), width * 0.92, color=colour, label=name)
    axes.set_xticks(range(len(names)), names)
    _finish(axes, x_label, y_label, list(series))
    return figure_to_rgb(figure)


def draw_histogram(edges: Array, series: Mapping[str, Array], x_label: str, y_label: str) -> RGB:
    """Draw distributions as steps.

    Parameters
    ----------
    edges : ndarray of float, shape (N + 1,)
    series : mapping of str to ndarray of float, shape (N,)
    x_label, y_label : str

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)
    """
    figure = new_figure(_WIDTH_IN, _HEIGHT_IN, dpi=_DPI)
    axes = figure.add_subplot()
    for (name, values), colour in zip(series.items(), _colours(len(series)), strict=True):
        axes.stairs(values, edges, color=colour, linewidth=1.5, fill=len(series) == 1, alpha=0.85, label=name)
    axes.set_ylim(bottom=0)
    _finish(axes, x_label, y_label, list(series))
    return figure_to_rgb(figure)


def draw_confusion(counts: NDArray[np.integer], names: Sequence[str]) -> RGB:
    """Draw a confusion matrix: the share of each true class (row) that was classified as each class (column), %.

    Parameters
    ----------
    counts : ndarray of int, shape (C, C)
        Voxels. A class that does not occur has an empty row.
    names : sequence of str, length C

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)
    """
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(100.0 * counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    figure = new_figure(_WIDTH_IN + 0.8, _WIDTH_IN - 0.4, dpi=_DPI)
    axes = figure.add_subplot()
    axes.imshow(np.nan_to_num(shares), cmap="Purples", vmin=0, vmax=100)
    for row, column in np.ndindex(*shares.shape):
        if np.isfinite(shares[row, column]):
            colour = "white" if shares[row, column] > 55 else INK
            text = f"{shares[row, column]:.1f}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(labelsize=8)
    axes.set_xlabel("classified as", fontsize=9)
    axes.set_ylabel("truth", fontsize=9)
    return figure_to_rgb(figure)


def draw_bland_altman(
    measured: Array, reference: Array, unit: str, *, bias: float, limits: tuple[float, float], title: str = ""
) -> RGB:
    """Draw the differences of two methods against their means, with bias and limits of agreement.

    Parameters
    ----------
    measured, reference : ndarray of float, shape (N,)
    unit : str
    bias : float
    limits : tuple of float
        Lower and upper limit of agreement; see `tomostain.measure.statistics.agreement`.
    title : str

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)
    """
    figure = new_figure(_WIDTH_IN, _HEIGHT_IN, dpi=_DPI)
    axes = figure.add_subplot()
    axes.plot((measured + reference) / 2, measured - reference, "o", color=COLOURS[0], markersize=4.5, alpha=0.85)
    axes.axhline(0, color=SOFT, linewidth=0.8)
    right = 1.01
    for value, style, text in (
        (bias, "-", "bias"),
        (limits[0], "--", "lower limit"),
        (limits[1], "--", "upper limit"),
    ):
        axes.axhline(value, color=COLOURS[1], linestyle=style, linewidth=1.2)
        axes.text(right, value, f"{text}\n{value:.3g}", transform=axes.get_yaxis_transform(), fontsize=7.5, va="center")
    _finish(axes, f"mean of both{_in(unit)}", f"difference{_in(unit)}", [title])
    axes.set_title(title, fontsize=9)
    return figure_to_rgb(figure)


def draw_identity(series: Mapping[str, tuple[Array, Array]], unit: str, *, title: str = "") -> RGB:
    """Draw measured values against the truth, with the line on which they are equal.

    Parameters
    ----------
    series : mapping of str to tuple of ndarray
        Name of a source, and its (truth, measured).
    unit : str
    title : str

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)
    """
    figure = new_figure(_HEIGHT_IN + 0.6, _HEIGHT_IN + 0.4, dpi=_DPI)
    axes = figure.add_subplot()
    values = np.concatenate([np.concatenate(pair) for pair in series.values()])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    margin = 0.05 * ((high - low) or 1.0)
    ends = low - margin, high + margin
    axes.plot(ends, ends, color=SOFT, linewidth=1)
    for (name, (truth, measured)), colour in zip(series.items(), _colours(len(series)), strict=True):
        axes.plot(truth, measured, "o", color=colour, markersize=4.5, alpha=0.8, label=name)
    axes.set_xlim(ends)
    axes.set_ylim(ends)
    axes.set_aspect("equal")
    _finish(axes, f"truth{_in(unit)}", f"measured{_in(unit)}", list(series))
    axes.set_title(title, fontsize=9)
    return figure_to_rgb(figure)


def draw_risk_coverage(curves: Mapping[str, tuple[Array, Array]], y_label: str, *, random: float | None = None) -> RGB:
    """Draw the error of the accepted part against the accepted share.

    Parameters
    ----------
    curves : mapping of str to tuple of ndarray
        Name of an uncertainty map, and its (accepted share 0 to 1, error).
    y_label : str
    random : float, optional
        The error of all, which refusing at random leaves unchanged.

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)
    """
    figure = new_figure(_WIDTH_IN, _HEIGHT_IN, dpi=_DPI)
    axes = figure.add_subplot()
    if random is not None:
        axes.axhline(random, color=SOFT, linestyle="--", linewidth=1, label="at random")
    for (name, (shares, error)), colour in zip(curves.items(), _colours(len(curves)), strict=True):
        axes.plot(100 * shares, error, "-", color=colour, linewidth=1.5, label=name)
    axes.set_xlim(0, 100)
    axes.set_ylim(bottom=0)
    _finish(axes, "accepted share [%]", y_label, [*curves, "at random"])
    return figure_to_rgb(figure)


def _colours(number: int) -> list[str]:
    return [COLOURS[k % len(COLOURS)] for k in range(number)]


def _in(unit: str) -> str:
    return f" [{unit}]" if unit else ""


def _finish(axes: "Axes", x_label: str, y_label: str, names: Sequence[str]) -> None:
    """Label the axes, and add a legend where there are several series."""
    axes.set_xlabel(x_label, fontsize=9)
    axes.set_ylabel(y_label, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if len(names) > 1:
        axes.legend(fontsize=8, frameon=False)
