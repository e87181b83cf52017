"""Training curves from metrics.csv of a run: one panel per term."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.csv_files import read_csv
from tomostain.paths import StrPath

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NOT_TERMS = ("step", "epoch", "seconds", "lr", "learning_rate")
_INK, _SOFT, _LINE = "#33373d", "#7d838c", "#5b4a94"


def training_curves(metrics_csv: StrPath, *, terms: Sequence[str] | None = None, columns: int = 4) -> NDArray[np.uint8]:
    """Draw every loss term of a run against the step, raw and smoothed.

    Parameters
    ----------
    metrics_csv : str or os.PathLike
        Table with a column ``step`` and one column per term. Empty cells are ignored.
    terms : sequence of str, optional
        The columns to draw. Default: all but step, epoch, seconds and the learning rate.
    columns : int
        Panels per row.

    Returns
    -------
    ndarray of uint8, shape (rows, columns, 3)
        The figure, on a white background.

    Raises
    ------
    InputError
        If the file is missing, has no column ``step``, or no numbers.
    """
    return draw_curves(read_curves(Path(metrics_csv), terms), columns=columns)


def has_curves(metrics_csv: Path) -> bool:
    """Whether a run's metrics.csv exists and contains at least one row."""
    return metrics_csv.is_file() and len(metrics_csv.read_text(encoding="utf-8", errors="replace").splitlines()) > 1


def read_curves(path: Path, terms: Sequence[str] | None = None) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Read the terms of a metrics table: name → (steps, values), without values that are not finite.

    Raises
    ------
    InputError
        As `training_curves`.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; state the metrics.csv of a run")
    table = read_csv(path)
    names, rows = table.columns, table.rows
    if not rows or "step" not in names:
        raise InputError(f"{path}: has no column 'step' or no rows; state the metrics.csv of a run")
    columns = list(terms) if terms is not None else [name for name in names if name and name not in NOT_TERMS]
    series = {}
    for name in columns:
        points = [(_number(row["step"]), _number(row.get(name))) for row in rows]
        finite = np.array([point for point in points if all(map(math.isfinite, point))])
        if len(finite):
            series[name] = (finite[:, 0], finite[:, 1])
    if not series:
        raise InputError(f"{path}: contains no numbers; train some steps first")
    return series


def smooth(values: NDArray[Any], width: float) -> NDArray[np.float64]:
    """Average with a Gaussian of `width` points (its σ), weights renormalised at both ends.

    Examples
    --------
    >>> smooth(np.full(5, 3.0), 2.0).round(9).tolist()
    [3.0, 3.0, 3.0, 3.0, 3.0]
    """
    reach = min(len(values) - 1, max(1, math.ceil(3 * width)))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(width, 1e-9)) ** 2)
    full = np.convolve(np.asarray(values, dtype=np.float64), kernel)
    weight = np.convolve(np.ones(len(values)), kernel)
    return (full / weight)[reach : reach + len(values)]


def draw_curves(
    series: Mapping[str, tuple[NDArray[Any], NDArray[Any]]], *, columns: int = 4, x_label: str = "step"
) -> NDArray[np.uint8]:
    """Draw small multiples: raw values in a light line, smoothed over a thirtieth of the points in a strong line.

    Parameters
    ----------
    series : mapping of str to (x, y)
        Title → points.
    columns : int
        Panels per row.
    x_label : str
        Label below the lowest panels.

    Returns
    -------
    ndarray of uint8, shape (rows, columns, 3)
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(columns, len(series))
    lines = math.ceil(len(series) / columns)
    figure = Figure(figsize=(10.6 if columns > 2 else 5.3 * columns, 2.15 * lines + 0.3), dpi=150, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for number, (name, (x, y)) in enumerate(series.items()):
        axes = figure.add_subplot(lines, columns, number + 1)
        _panel(axes, name, x, y)
        if number + columns >= len(series):
            axes.set_xlabel(x_label, fontsize=8, color=_SOFT)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _panel(axes: "Axes", name: str, x: NDArray[Any], y: NDArray[Any]) -> None:
    """Draw one term. The scale starts at zero if no value is negative."""
    many = len(x) > 30
    axes.plot(x, y, color=_LINE, alpha=0.25 if many else 1.0, linewidth=0.7 if many else 1.2)
    line = smooth(y, len(x) / 30) if many else y
    if many:
        axes.plot(x, line, color=_LINE, linewidth=1.5)
    low, high = np.percentile(y, [0.5, 99.5])
    low, high = min(low, line.min()), max(high, line.max())
    axes.set_ylim(0 if low >= 0 else low - 0.05 * (high - low), high + 0.08 * (high - low or 1.0))
    axes.set_title(f"{name}   {line[-1]:.3g}", loc="left", fontsize=9, color=_INK)
    axes.tick_params(labelsize=7.5, colors=_SOFT, length=2)
    axes.locator_params(nbins=4)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#c9ccd1")


def _number(text: str | None) -> float:
    try:
        return float(text) if text else math.nan
    except ValueError:
        return math.nan
