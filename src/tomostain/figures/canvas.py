"""A matplotlib figure as an array, without a display."""

from typing import TYPE_CHECKING

import numpy as np

from tomostain.figures.drawing import RGB

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width_in: float, height_in: float, dpi: int) -> "Figure":
    """Return an empty figure with an off-screen canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), dpi=dpi)
    FigureCanvasAgg(figure)
    return figure


def figure_to_rgb(figure: "Figure") -> RGB:
    """Lay out and draw a figure of `new_figure`; return uint8, shape (Y, X, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    figure.tight_layout()
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
