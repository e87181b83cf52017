"""Landmarks: points that are clicked on the slide and in the µCT plane, in turn."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Points
from napari.utils.colormaps.standardize_color import transform_color
from numpy.typing import NDArray

from tomostain.geometry.section import Section
from tomostain.napari.layers import LayerSource, placed
from tomostain.napari.register.scene import RegisterScene
from tomostain.register.preview import seen_in_volume_um, seen_on_slide_um

if TYPE_CHECKING:
    from napari import Viewer

Float = NDArray[np.float64]
_COLOUR = "#ffb000"
_FAR_COLOUR = "#8a6d2f"
# Size of a point relative to the longest side of the slide.
_SIZE = 0.016


class Landmarks:
    """Two Points layers of which the n-th points belong together.

    A point in the µCT is stored in three dimensions: it stays in the volume when the plane moves, and is shown where
    it projects on the plane, dark if it is more than `near_um` away from it.

    Parameters
    ----------
    viewer : napari.Viewer
    scene : RegisterScene
    section : Section
        The pose that is shown.
    near_um : float
    changed : callable
        Called after each change of the points.
    """

    def __init__(
        self,
        viewer: "Viewer",
        scene: RegisterScene,
        section: Section,
        near_um: float,
        changed: Callable[[], None],
    ) -> None:
        self._viewer, self._scene, self._section, self._near_um = viewer, scene, section, near_um
        self._changed = changed
        self._is_drawing = False
        self.is_adding = False
        self.volume_um: Float = np.zeros((0, 3))
        self.slide_um: Float = np.zeros((0, 2))
        size = _SIZE * max(scene.slide.data.shape) * float(scene.slide.scale[0])
        self.on_slide = self._layer("Landmarks on the slide", size)
        self.in_ct = self._layer("Landmarks in the µCT", size)
        self.on_slide.events.data.connect(self._slide_changed)
        self.in_ct.events.data.connect(self._ct_changed)

    @property
    def count(self) -> int:
        """Number of complete pairs."""
        return min(len(self.slide_um), len(self.volume_um))

    @property
    def pairs(self) -> tuple[Float, Float]:
        """Points on the slide (N, 2) and in the volume (N, 3) of the complete pairs, µm."""
        return self.slide_um[: self.count], self.volume_um[: self.count]

    @property
    def next_place(self) -> str:
        """Where the next point is clicked: "slide" or "µCT"."""
        return "slide" if len(self.slide_um) <= len(self.volume_um) else "µCT"

    def add_mode(self, is_on: bool) -> None:
        """Begin or end adding points by clicks, on the slide and in the µCT in turn."""
        self.is_adding = is_on
        for layer in (self.on_slide, self.in_ct):
            if layer in self._viewer.layers:
                layer.mode = "pan_zoom"
        layer = self.on_slide if self.next_place == "slide" else self.in_ct
        if is_on and layer in self._viewer.layers:
            self._viewer.layers.selection.active = layer
            layer.mode = "add"

    def show_in(self, section: Section) -> None:
        """Show the points for another pose, and where the µCT plane is now."""
        self._section = section
        self._draw()

    def set_pairs(self, slide_um: Float, volume_um: Float) -> None:
        """Replace all points."""
        self.slide_um, self.volume_um = np.reshape(slide_um, (-1, 2)), np.reshape(volume_um, (-1, 3))
        self._draw()
        self._changed()

    def remove(self, number: int) -> None:
        """Remove a pair, or a point without a partner."""
        self.set_pairs(
            np.delete(self.slide_um, [number] if number < len(self.slide_um) else [], axis=0),
            np.delete(self.volume_um, [number] if number < len(self.volume_um) else [], axis=0),
        )
        self.add_mode(self.is_adding)

    def close(self) -> None:
        """Remove the layers."""
        for layer in (self.on_slide, self.in_ct):
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)

    def _layer(self, name: str, size: float) -> Points:
        source = LayerSource("preview", None, (1.0, 1.0))
        return self._viewer.add_points(
            np.zeros((0, 2)),
            size=size,
            face_color="transparent",
            border_color=_COLOUR,
            border_width=0.18,
            symbol="disc",
            features={"number": np.zeros(0, np.int64)},
            text={"string": "{number}", "color": _COLOUR, "size": 11, "anchor": "upper_left"},
            **placed(source, name),
        )

    def _slide_changed(self, event: object) -> None:
        if self._is_drawing:
            return
        points = np.asarray(self.on_slide.data, dtype=np.float64)
        if len(points) < len(self.slide_um):
            gone = self._gone(event, self.slide_um, points)
            self.volume_um = np.delete(self.volume_um, [i for i in gone if i < len(self.volume_um)], axis=0)
        self._take(points, self.volume_um)

    def _ct_changed(self, event: object) -> None:
        if self._is_drawing:
            return
        points = np.asarray(self.in_ct.data, dtype=np.float64) - self._scene.plane_at_um
        before = self._projected()
        volume = self.volume_um
        if len(points) < len(before):
            gone = self._gone(event, before, points)
            self.slide_um = np.delete(self.slide_um, [i for i in gone if i < len(self.slide_um)], axis=0)
            volume, before = np.delete(volume, gone, axis=0), np.delete(before, gone, axis=0)
        # Points that were not moved keep their distance from the plane.
        places = seen_in_volume_um(self._section, points)
        still = np.isclose(points[: len(before)], before, atol=1e-3).all(axis=1)
        places[: len(before)][still] = volume[still]
        self._take(self.slide_um, places)

    def _take(self, slide_um: Float, volume_um: Float) -> None:
        self.slide_um, self.volume_um = slide_um, volume_um
        self._draw()
        self._changed()
        if self.is_adding:
            self.add_mode(True)

    @staticmethod
    def _gone(event: object, before: Float, after: Float) -> list[int]:
        """Return the indices of points that were removed."""
        distances = np.abs(before[:, None] - after[None]).max(axis=2, initial=0.0)
        return [i for i, row in enumerate(distances) if not (row < 1e-3).any()]

    def _projected(self) -> Float:
        return seen_on_slide_um(self._section, self.volume_um)[0]

    def _draw(self) -> None:
        """Show the points that are stored."""
        self._is_drawing = True
        try:
            visible, distance = seen_on_slide_um(self._section, self.volume_um)
            colours = [_COLOUR if abs(d) <= self._near_um else _FAR_COLOUR for d in distance]
            for layer, points, border in (
                (self.on_slide, self.slide_um, [_COLOUR] * len(self.slide_um)),
                (self.in_ct, visible + self._scene.plane_at_um, colours),
            ):
                if layer not in self._viewer.layers:
                    continue
                if layer.data.shape != points.shape or not np.array_equal(layer.data, points):
                    layer.data = points
                    layer.features = {"number": np.arange(1, len(points) + 1)}
                elif np.array_equal(layer.border_color, transform_color(border) if border else np.zeros((0, 4))):
                    continue
                if border:
                    layer.border_color = border
        finally:
            self._is_drawing = False
