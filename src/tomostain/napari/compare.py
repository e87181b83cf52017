"""The Compare widget: µCT, stain and real histology side by side, as an overlay, or with a swipe."""

import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Layer
from qtpy.QtWidgets import QComboBox, QLabel

from tomostain.dataset.pair import Pair, load_pair
from tomostain.errors import InputError
from tomostain.io import open_stained
from tomostain.measure.virtual_section import cut_volume, section_of
from tomostain.napari.closing import when_closed
from tomostain.napari.colours3d import follow_dimensions
from tomostain.napari.fields import LayerBox, Slider, ToolWidget
from tomostain.napari.layers import LayerSource, placed, source_of
from tomostain.napari.lazy import cropped, shown
from tomostain.napari.main_thread import when_destroyed
from tomostain.napari.stain_settings import is_ct
from tomostain.progress import Progress, ShouldStop

if TYPE_CHECKING:
    from napari import Viewer

SIDE_BY_SIDE, OVERLAY, SWIPE = "side by side", "overlay", "swipe"
_SWIPE_LAYER = "swipe"
_PART = "tomostain_compare"
_NAMES = {"ct": "section, µCT", "stained": "section, stain", "histology": "section, histology"}


class CompareWidget(ToolWidget):
    """Compares layers that show the same place.

    With a pair of `register`, the section of its slide is cut from the stained volume, and µCT, stain and histology of
    this section are compared. Without one, the slices of the volumes are.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: "Viewer") -> None:
        super().__init__(napari_viewer)
        follow_dimensions(self.viewer)
        self._compared: list[Layer] = []
        self._before: dict[Layer, tuple[bool, float]] = {}
        self.ct = LayerBox(self.viewer, is_ct, optional="none")
        self.stained = LayerBox(self.viewer, is_kind("stained"), optional="none")
        self.histology = LayerBox(self.viewer, is_pair, optional="none")
        self.view = QComboBox()
        self.view.addItems([SIDE_BY_SIDE, OVERLAY, SWIPE])
        self.opacity, self.swipe = Slider(0, 100, 50, " %", 0), Slider(0, 100, 50, " %", 0)
        self.values = QLabel("Move the pointer over the image.")
        self.values.setWordWrap(True)
        self.add_row("µCT", self.ct, tip="A µCT volume.")
        self.add_row("Stain", self.stained, tip="The stained volume of this µCT.")
        self.add_row("Histology", self.histology, tip="Histology of a pair that Register saved, or none.")
        self.add_row("View", self.view, tip="Side by side with linked cameras, on top of each other, or with a swipe.")
        self.add_row("Opacity", self.opacity, tip="Of the upper layers of the overlay.")
        self.add_row("Swipe", self.swipe, tip="Position of the line: the upper layer is shown to the right of it.")
        self.start_button = self.add_button("Compare", self.compare, tip="Show only the chosen layers.", starts=True)
        self.end_button = self.add_button("End", self.end, tip="Show the layers as they were before.")
        self.add_row("Pointer", self.values, tip="Values of the compared layers under the pointer.")
        self.view.currentIndexChanged.connect(self._arrange)
        self.opacity.changed.connect(self._set_opacity)
        self.swipe.changed.connect(self._move_swipe)
        callbacks = self.viewer.mouse_move_callbacks
        widget = weakref.ref(self)

        def report(viewer: "Viewer", event: object) -> None:
            shown_by = widget()
            if shown_by is not None:
                shown_by._report(viewer, event)

        self._stop_reports = lambda: callbacks.remove(report) if report in callbacks else None
        callbacks.append(report)
        when_destroyed(self, lambda: callbacks.remove(report) if report in callbacks else None)
        when_closed(self, self._close)
        self._arrange()

    def compare(self) -> None:
        """Show the chosen layers in the chosen view."""
        self.end()
        histology = self.histology.layer
        if histology is None:
            chosen = [box.layer for box in (self.ct, self.stained) if box.layer is not None]
            if len(chosen) < 2:
                raise InputError("choose a µCT and a stained layer, or the histology of a pair")
            self._begin(chosen)
            return
        source, stained = source_of(histology), self.stained.layer
        folder = None if source is None else source.path
        stained_path = None if stained is None else getattr(source_of(stained), "path", None)
        if folder is None:
            raise InputError(f"layer '{histology.name}': was not read from the folder of a pair")

        def work(progress: Progress, should_stop: ShouldStop) -> dict[str, np.ndarray]:
            return section_images(load_pair(folder), stained_path)

        size = float(histology.scale[-1])
        self.task.start(
            work,
            label="Cutting the section …",
            on_result=lambda images: self._show_section(images, size),
            on_error=self.show_error,
        )

    def end(self) -> None:
        """Show all layers as they were before the comparison."""
        for part in (_SWIPE_LAYER, *_NAMES.values()):
            self._remove(part)
        for layer, (visible, opacity) in self._before.items():
            if layer in self.viewer.layers:
                layer.visible, layer.opacity = visible, opacity
        self._compared, self._before = [], {}
        self.viewer.grid.enabled = False

    def _close(self) -> None:
        """Leave the viewer as it was before the comparison."""
        self._stop_reports()
        self.end()

    def _show_section(self, images: dict[str, np.ndarray], pixel_um: float) -> None:
        """Add the images of a section as layers, and compare them."""
        layers = []
        for kind, image in images.items():
            self._remove(_NAMES[kind])
            options: dict[str, Any] = {"rgb": image.ndim == 3}
            if image.ndim == 2:
                low, high = (float(value) for value in np.percentile(image, (0.5, 99.5)))
                options |= {"colormap": "gray", "contrast_limits": (low, max(high, low + 1))}
            source = LayerSource("preview", None, (pixel_um, pixel_um))
            layer = self.viewer.add_image(image, **placed(source, _NAMES[kind], **options))
            layer.metadata[_PART] = _NAMES[kind]
            layers.append(layer)
        self._begin(layers)
        self.viewer.reset_view()

    def _begin(self, layers: Sequence[Layer]) -> None:
        self._before = {layer: (layer.visible, layer.opacity) for layer in self.viewer.layers}
        self._compared = list(layers)
        for number, layer in enumerate(layers):  # to the top of the list, in order
            self.viewer.layers.move(self.viewer.layers.index(layer), len(self.viewer.layers))
            layer.opacity = 1.0 if number == 0 else layer.opacity
        self._arrange()

    def _arrange(self, *_: object) -> None:
        """Show the compared layers in the chosen view."""
        view = self.view.currentText()
        self.opacity.setEnabled(view == OVERLAY)
        self.swipe.setEnabled(view == SWIPE)
        if not self._compared:
            return
        self._remove(_SWIPE_LAYER)
        for layer in self.viewer.layers:
            layer.visible = layer in self._compared
        for layer in self._compared:
            layer.opacity = 1.0
        grid = self.viewer.grid
        grid.shape, grid.stride = (1, len(self._compared)), 1
        grid.enabled = view == SIDE_BY_SIDE
        if view == OVERLAY:
            self._set_opacity()
        if view == SWIPE:
            self._move_swipe()

    def _set_opacity(self) -> None:
        if self.view.currentText() == OVERLAY:
            for layer in self._compared[1:]:
                layer.opacity = self.opacity.value / 100

    def _move_swipe(self) -> None:
        """Show the uppermost layer to the right of the line, the one below it to the left."""
        if self.view.currentText() != SWIPE or not self._compared:
            return
        top = self._compared[-1]
        axis = self.viewer.dims.order[-1] - (self.viewer.dims.ndim - top.ndim)
        levels = list(top.data) if top.multiscale else [top.data]
        parts = [cropped(level, axis, self.swipe.value / 100) for level in levels]
        data, multiscale = shown([part for part, _ in parts])
        translate = np.array(top.translate, dtype=float)
        translate[axis] += parts[0][1] * top.scale[axis]
        self._remove(_SWIPE_LAYER)
        for layer in self._compared:
            layer.visible = layer is self._compared[-2]
        options: dict[str, Any] = {"rgb": top.rgb, "scale": top.scale, "translate": translate, "units": top.units}
        if not top.rgb:
            options |= {"colormap": top.colormap.name, "contrast_limits": top.contrast_limits}
        self.viewer.add_image(data, name=_SWIPE_LAYER, metadata={_PART: _SWIPE_LAYER}, **options, **multiscale)

    def _remove(self, part: str) -> None:
        """Remove a layer that this widget added. Layers of the user with the same name stay."""
        for layer in [each for each in self.viewer.layers if each.metadata.get(_PART) == part]:
            self._compared = [each for each in self._compared if each is not layer]
            self.viewer.layers.remove(layer)

    def _report(self, viewer: "Viewer", event: object) -> None:
        """Show the values under the pointer."""
        if self._compared:
            self.values.setText(values_at(self._compared, viewer.cursor.position))


def section_images(pair: Pair, stained: Path | None) -> dict[str, np.ndarray]:
    """Return µCT, virtual stain and histology of the section of a pair, on one grid.

    Parameters
    ----------
    pair : Pair
    stained : Path or None
        The stained volume in which the section lies; None leaves the stain out.

    Raises
    ------
    InputError
        If the pair does not state where its section lies, or the section misses the volume.
    """
    images: dict[str, np.ndarray] = {"ct": pair.ct}
    if stained is not None:
        section = section_of(pair)
        if section is None:
            raise InputError(f"pair '{pair.id}': does not state where its section lies; register the slide first")
        images["stained"], _ = cut_volume(open_stained(stained), section, pair.ct.shape, pair.voxel_um)
    return images | {"histology": pair.histology}


def values_at(layers: Sequence[Layer], position: Sequence[float]) -> str:
    """Return the position in µm and the value of each layer there, as text."""
    place = ", ".join(f"{value:.0f}" for value in position)
    lines = [f"at {place} µm"]
    for layer in layers:
        value = layer.get_value(position[-layer.ndim :], world=True)
        if layer.multiscale and isinstance(value, tuple):
            value = value[1]
        text = "–" if value is None else ", ".join(f"{each:g}" for each in np.atleast_1d(value))
        lines.append(f"{layer.name}: {text}")
    return "\n".join(lines)


def is_pair(layer: Layer) -> bool:
    """Return whether a layer is the histology of one pair on disk, not of a dataset."""
    source = source_of(layer)
    if not is_kind("histology")(layer) or source is None or source.path is None:
        return False
    return layer.ndim == 2 and (source.path / "pair.yaml").is_file()


def is_kind(kind: str) -> Callable[[Layer], bool]:
    """Return a function that accepts the Image layers of a kind."""

    def accepts(layer: Layer) -> bool:
        source = source_of(layer)
        return isinstance(layer, Image) and source is not None and source.kind == kind

    return accepts
