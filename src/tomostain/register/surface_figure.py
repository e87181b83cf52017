"""A coloured surface in a 3D figure of Matplotlib."""

from typing import Any

import numpy as np
from matplotlib.artist import Artist, allow_rasterization
from matplotlib.collections import QuadMesh
from mpl_toolkits.mplot3d import Axes3D, proj3d  # type: ignore[import-untyped]
from numpy.typing import NDArray


class ColouredSurface(Artist):
    """A surface of coloured cells, drawn in the order of the grid.

    `Axes3D.plot_surface` sorts the cells by depth, as separate polygons, and takes seconds for ten thousand of them.
    The cells of a plane do not cover each other, so they are drawn as one mesh.

    Parameters
    ----------
    places : ndarray of float64, shape (R, C, 3)
        Positions of the corners in (z, y, x).
    colours : ndarray of float, shape (R, C, 4)
        RGBA, 0 to 1, of the cell that starts at each corner. The last row and column are not used.
    """

    def __init__(self, places: NDArray[np.float64], colours: NDArray[np.floating]) -> None:
        super().__init__()
        self._places = places
        self._colours = colours[:-1, :-1].reshape(-1, 4)
        self.set_zorder(1)

    @allow_rasterization
    def draw(self, renderer: Any) -> None:
        """Project the corners, and draw the cells."""
        axes = self.axes
        assert isinstance(axes, Axes3D)
        z, y, x = self._places.reshape(-1, 3).T
        across, up, _ = proj3d.proj_transform(x, y, z, axes.M)
        corners = np.stack([across, up], axis=-1).reshape(*self._places.shape[:2], 2)
        mesh = QuadMesh(corners, antialiased=False, facecolors=self._colours, transform=axes.transData)
        mesh.draw(renderer)
