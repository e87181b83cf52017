"""A coloured surface in a 3D figure has the colours and the position that `Axes3D.plot_surface` gives it."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tomostain.register.surface_figure import ColouredSurface


def drawn(draw):
    """Return the pixels of a figure with one 3D axis on which `draw` draws."""
    figure = Figure(figsize=(3, 3), dpi=100)
    axis = figure.add_subplot(projection="3d", computed_zorder=False)
    draw(axis)
    axis.set(xlim=(0, 1), ylim=(0, 1), zlim=(0, 1))
    axis.set_axis_off()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def plane():
    """Return a tilted plane (z, y, x) of 7 by 9 corners, with a colour for each."""
    row, column = np.meshgrid(np.linspace(0, 1, 7), np.linspace(0, 1, 9), indexing="ij")
    colours = np.random.default_rng(0).uniform(0.2, 0.8, (7, 9, 4))
    colours[..., 3] = 1.0
    return np.stack([0.2 + 0.5 * row, row, column], axis=-1), colours


def test_a_plane_is_drawn_as_matplotlib_draws_its_polygons():
    places, colours = plane()
    z, y, x = np.moveaxis(places, -1, 0)
    ours = drawn(lambda axis: axis.add_artist(ColouredSurface(places, colours)))
    theirs = drawn(
        lambda axis: axis.plot_surface(
            x, y, z, facecolors=colours, rstride=1, cstride=1, shade=False, antialiased=False
        )
    )
    assert (theirs < 250).any(axis=2).mean() > 0.1
    # The borders of the cells may be one pixel apart.
    assert (np.abs(ours - theirs).max(axis=2) > 3).mean() < 0.03


def test_a_transparent_cell_is_not_drawn():
    places, colours = plane()
    colours[2:5, 2:6, 3] = 0.0
    ours = drawn(lambda axis: axis.add_artist(ColouredSurface(places, colours)))
    full = drawn(
        lambda axis: axis.add_artist(
            ColouredSurface(places, np.concatenate([colours[..., :3], colours[..., :1] * 0 + 1], axis=-1))
        )
    )
    hole = (ours == 255).all(axis=2) & (full < 250).any(axis=2)
    visible = (full < 250).any(axis=2)
    assert abs(hole.sum() / visible.sum() - 12 / 48) < 0.05
