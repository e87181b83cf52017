"""The layers of a registration: the slide and the µCT plane, side by side or on each other."""

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from napari.layers import Image, Layer
from numpy.typing import NDArray

from tomostain.napari.layers import LayerSource, placed
from tomostain.register.preview import PixelGrid, PosePreview

if TYPE_CHECKING:
    from napari import Viewer

Layout = Literal["side by side", "overlay", "checkerboard"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
# Grey values of the µCT: background 0, bone 1.
_CONTRAST = (-0.1, 1.2)
_GAP = 0.04
# Share of the canvas that slide and plane fill.
_FILLED = 0.95


class RegisterScene:
    """The slide and the µCT plane as two layers. The other layers are hidden until it is closed.

    Parameters
    ----------
    viewer : napari.Viewer
    preview : PosePreview
    """

    def __init__(self, viewer: "Viewer", preview: PosePreview) -> None:
        self._viewer, self._grid = viewer, preview.grid
        self._hidden = [layer for layer in viewer.layers if layer.visible]
        for layer in self._hidden:
            layer.visible = False
        viewer.dims.ndisplay = 2
        self.layout: Layout = "side by side"
        self.squares = 8
        self._opacity = 0.5
        self._plane_grid = preview.grid
        self._values: NDArray[np.float32] = np.full((2, 2), np.nan, np.float32)
        self.slide: Image = viewer.add_image(preview.rgb, rgb=True, **self._placed(preview.grid, "Slide of Register"))
        self.plane: Image = viewer.add_image(
            self._values, contrast_limits=_CONTRAST, colormap="gray", **self._placed(preview.grid, "µCT plane")
        )

    @property
    def width_um(self) -> float:
        """Distance between slide and plane when they are side by side, µm."""
        return self._grid.shape[1] * self._grid.pixel_um * (1 + _GAP)

    @property
    def plane_at_um(self) -> NDArray[np.float64]:
        """Shift of the plane from the slide in the viewer (row, column), µm."""
        return np.array([0.0, self.width_um if self.layout == "side by side" else 0.0])

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Slide and plane."""
        return self.slide, self.plane

    @property
    def is_open(self) -> bool:
        """Whether both layers are in the viewer."""
        return all(layer in self._viewer.layers for layer in self.layers)

    def show_plane(self, values: NDArray[np.float32], grid: PixelGrid) -> None:
        """Show the µCT of a pose (rows, columns) on pixels of the slide; NaN is transparent."""
        self._values, self._plane_grid = values, grid
        if self.is_open:
            self._draw()

    def set_layout(self, layout: Layout, *, opacity: float = 0.5, squares: int = 8) -> None:
        """Place the plane.

        Parameters
        ----------
        layout : {"side by side", "overlay", "checkerboard"}
        opacity : float
            Of the µCT in the overlay, 0 to 1.
        squares : int
            Squares of the checkerboard along the longest side.
        """
        moved = (layout == "side by side") != (self.layout == "side by side")
        self.layout, self._opacity, self.squares = layout, opacity, squares
        if self.is_open:
            self._draw()
            if moved:
                self.fit_view()

    def fit_view(self) -> None:
        """Zoom so that slide and plane fill the canvas."""
        rows, columns = (n * self._grid.pixel_um for n in self._grid.shape)
        # `reset_view` would include hidden layers.
        height, width = self._viewer.canvas.size
        right = columns + float(self.plane_at_um[1])
        self._viewer.camera.center = (0.0, rows / 2, right / 2)
        self._viewer.camera.zoom = _FILLED * min(height / rows, width / right)

    def close(self) -> None:
        """Remove the layers and show the others again."""
        for layer in self.layers:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        for layer in self._hidden:
            layer.visible = True

    def _draw(self) -> None:
        values = self._values
        if self.layout == "checkerboard":
            values = np.where(chequers(values.shape, self.squares), values, np.nan)
        first = self._plane_grid.first_um
        places: dict[str, float | NDArray[np.float64]] = {
            "opacity": self._opacity if self.layout == "overlay" else 1.0,
            "scale": np.full(2, self._plane_grid.pixel_um),
            "translate": self.plane_at_um + first,
        }
        self.plane.data = values
        # Each assignment draws the layer again.
        for name, value in places.items():
            if not np.array_equal(getattr(self.plane, name), value):
                setattr(self.plane, name, value)

    @staticmethod
    def _placed(grid: PixelGrid, name: str) -> dict[str, object]:
        source = LayerSource("preview", None, (grid.pixel_um, grid.pixel_um))
        return placed(source, name, translate=(grid.first_um, grid.first_um))


def chequers(shape: tuple[int, ...], squares: int) -> NDArray[np.bool_]:
    """Return a checkerboard with `squares` squares along the longest side; the first is True.

    Examples
    --------
    >>> chequers((2, 4), 4).astype(int).tolist()
    [[1, 0, 1, 0], [0, 1, 0, 1]]
    """
    side = max(1, -(-max(shape) // squares))
    rows, columns = (np.arange(n) // side for n in shape[:2])
    return np.asarray((rows[:, None] + columns) % 2 == 0)
