"""The widget Normalise: regions of background and bone, drawn on a volume and on a slide."""

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Layer, Shapes
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QLabel

from tomostain.errors import InputError
from tomostain.imaging.drawn_regions import Box, DrawnReference
from tomostain.imaging.intensity import IntensityReference
from tomostain.imaging.intensity_estimation import estimate_reference, reference_regions, reference_samples
from tomostain.imaging.intensity_figure import intensity_figure
from tomostain.napari.closing import close_previews, when_closed
from tomostain.napari.fields import LayerBox, PathField, ToolWidget, confirm_overwrite, follow, later
from tomostain.napari.normalise_preview import (
    CtRequest,
    Outline,
    SlideRequest,
    drawn_region,
    measure_ct,
    outline_of,
    preview_slide,
)
from tomostain.napari.picture_label import PictureLabel, Rgb
from tomostain.napari.register.inputs import is_slide_layer, is_volume_layer, slide_opener, volume_opener
from tomostain.napari.tasks import LatestOnly
from tomostain.prepare.normalisation import ChosenNormalisation, FileUse, write_normalisation
from tomostain.progress import Progress, ShouldStop

if TYPE_CHECKING:
    from napari import Viewer

_COLOURS = {"background": "#2f7fb8", "bone": "#d9772b"}
_USES: dict[FileUse, str] = {"register": "register, and the widget Register", "prepare": "prepare"}
_WAIT_MS = 200
_NO_VALUES = "Draw a region of background and one of bone."


class NormaliseWidget(ToolWidget):
    """Choose the grey values of background and bone (paper section 2.5), where the automatic choice is wrong.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: "Viewer") -> None:
        super().__init__(napari_viewer)
        viewer = self.viewer
        self.ct: IntensityReference | None = None
        self.boxes: tuple[Box, Box] | None = None
        self._shapes: dict[Layer, dict[str, Shapes]] = {}
        self._changed: set[str] = set()
        self._is_drawn = False
        self.volume_box = LayerBox(viewer, is_volume_layer, optional="(none)")
        self.slide_box = LayerBox(viewer, is_slide_layer, optional="(none)")
        for box in (self.volume_box, self.slide_box):
            box.setCurrentIndex(min(1, box.count() - 1))
        self.add_row("µCT", self.volume_box, tip="A µCT volume of the viewer.")
        self.estimate_button = self.add_button(
            "Estimate automatically",
            self.estimate,
            tip="Find background and bone as stain and prepare do.",
            starts=True,
        )
        self.buttons = {("ct", kind): self._draw_button("ct", kind) for kind in _COLOURS}
        self.add_row("Slide", self.slide_box, tip="A slide of the viewer.")
        self.buttons |= {("slide", kind): self._draw_button("slide", kind) for kind in _COLOURS}
        self.values = QLabel(_NO_VALUES)
        self.values.setWordWrap(True)
        self.values.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.figure, self.picture = PictureLabel(), PictureLabel()
        for part in (self.values, self.figure, self.picture):
            self.form.addRow(part)
        self.use = QComboBox()
        for name, text in _USES.items():
            self.use.addItem(text, name)
        self.add_row("Settings for", self.use, tip="The stage that reads the file, as its settings.")
        self.path = PathField("save", "Settings", "YAML (*.yaml *.yml)")
        self.add_row("File", self.path, tip="YAML to write.")
        self.save_button = self.add_button("Save", self.save, tip="Write grey values and boxes.")
        self._wait = later(_WAIT_MS, self._compute_soon, self)
        self.live_ct: LatestOnly[CtRequest, tuple[DrawnReference, Rgb]] = LatestOnly(
            measure_ct, self._show_ct, self._ct_failed
        )
        self.live_slide: LatestOnly[SlideRequest, tuple[tuple[Box, Box], Rgb]] = LatestOnly(
            preview_slide, self._show_slide, self._slide_failed
        )
        close_previews(self, self.live_ct, self.live_slide)
        self.volume_box.changed.connect(lambda: self._chosen("ct"))
        self.slide_box.changed.connect(lambda: self._chosen("slide"))
        follow(self, viewer.layers.events.removed, self._removed)
        when_closed(self, self._dock_closed)

    @property
    def shapes(self) -> dict[tuple[str, str], Shapes]:
        """The Shapes layers of the chosen µCT and slide, by ("ct" or "slide", "background" or "bone")."""
        return {
            (image, kind): shapes
            for image, base in (("ct", self.volume_box.layer), ("slide", self.slide_box.layer))
            for kind, shapes in ({} if base is None else self._shapes.get(base, {})).items()
        }

    def draw(self, image: str, kind: str) -> None:
        """Begin to draw a region: add its Shapes layer if there is none, and choose the rectangle.

        Parameters
        ----------
        image : {"ct", "slide"}
        kind : {"background", "bone"}
        """
        base = self._layer_of(image)
        layer = self.shapes.get((image, kind))
        if layer is None or layer not in self.viewer.layers:
            name = f"{kind.capitalize()} of {base.name}"
            layer = self.viewer.add_shapes(
                ndim=base.ndim,
                name=name,
                scale=base.scale,
                translate=base.translate,
                units=base.units,
                edge_color=_COLOURS[kind],
                face_color=_COLOURS[kind] + "40",
                edge_width=0.7,
            )
            self._shapes.setdefault(base, {})[kind] = layer
            layer.events.data.connect(self._drawn)
        self.viewer.layers.selection.active = layer
        layer.mode = "add_rectangle"

    def estimate(self) -> None:
        """Estimate the grey values of the volume in the background."""
        layer = self.volume_box.required("µCT")
        open_chosen = volume_opener(layer, None)

        def work(progress: Progress, should_stop: ShouldStop) -> tuple[IntensityReference, Rgb]:
            volume = open_chosen()
            samples = reference_samples(volume, source=str(volume.path))
            reference = estimate_reference(samples, str(volume.path))
            return reference, intensity_figure(samples, reference, reference_regions(samples), narrow=True)

        self.task.start(
            work, label="estimating", on_result=lambda result: self._estimated(result, layer), on_error=self.show_error
        )

    def save(self) -> None:
        """Write the file."""
        path = self.path.required("File")
        if self._changed or self.live_ct.is_running or self.live_slide.is_running:
            raise InputError("the regions are still being measured; save again in a moment")
        chosen, use = ChosenNormalisation(self.ct, self.boxes), self.use.currentData()
        if confirm_overwrite(self, path):
            write_normalisation(path, chosen, use, overwrite=True)
            self.message.say(f"Saved: {path}. Give it as the settings of {use}.")

    def _draw_button(self, image: str, kind: str) -> Any:
        where = "µCT" if image == "ct" else "slide"
        what = "empty glass" if (image, kind) == ("slide", "background") else kind
        tip = f"Draw a rectangle on {what} in the {where}. Several regions of the µCT count together."
        return self.add_button(f"Draw {what} on the {where}", lambda: self.draw(image, kind), tip=tip)

    def _layer_of(self, image: str) -> Layer:
        return self.volume_box.required("µCT") if image == "ct" else self.slide_box.required("Slide")

    def _drawn(self, event: Any) -> None:
        """Measure the regions of a layer again, if its image is chosen."""
        for (image, _), layer in self.shapes.items():
            if layer is event.source:
                self._measure_again(image)

    def _removed(self, event: Any) -> None:
        """Forget the regions of a layer that was removed, or of an image that was."""
        layer = event.value
        self._shapes.pop(layer, None)
        for base, drawn in self._shapes.items():
            for kind in [kind for kind, shapes in drawn.items() if shapes is layer]:
                del drawn[kind]
                for image, box in (("ct", self.volume_box), ("slide", self.slide_box)):
                    if box.layer is base:
                        self._measure_again(image)

    def _chosen(self, image: str) -> None:
        """Forget the values of the image that was chosen before. Regions of the new one count."""
        self._forget(image)
        self._measure_again(image)

    def _measure_again(self, image: str) -> None:
        self._changed.add(image)
        self._wait.start()

    def _forget(self, image: str) -> None:
        """Show no values."""
        if image == "ct":
            self.live_ct.drop()
            self.ct, self._is_drawn = None, False
            self.values.setText(_NO_VALUES)
            self.figure.hide()
        else:
            self.live_slide.drop()
            self.boxes = None
            self.picture.hide()

    def _dock_closed(self) -> None:
        """Measure no more. The drawn regions stay in the viewer as layers."""
        self._wait.stop()
        self.live_ct.close()
        self.live_slide.close()
        for drawn in self._shapes.values():
            for layer in drawn.values():
                layer.events.data.disconnect(self._drawn)
                layer.mode = "pan_zoom"

    def _compute_soon(self) -> None:
        self.attempt(self._compute)

    def _compute(self) -> None:
        """Compute the values of the regions that changed and are complete."""
        changed, self._changed = self._changed, set()
        self.message.clear_text()
        if "ct" in changed:
            background, bone = (self._outlines("ct", kind) for kind in _COLOURS)
            if background and bone:
                self.attempt(lambda: self._measure_volume(background, bone))
            elif self._is_drawn:
                self._forget("ct")
        if "slide" in changed:
            glass, tissue = (self._outlines("slide", kind) for kind in _COLOURS)
            if glass and tissue:
                self.live_slide.request((slide_opener(self.slide_box.required("Slide"), None), glass[-1], tissue[-1]))
            else:
                self._forget("slide")

    def _measure_volume(self, background: list[Outline], bone: list[Outline]) -> None:
        """Measure regions of the volume in a thread."""
        try:
            regions = [drawn_region(each) for each in background], [drawn_region(each) for each in bone]
            self.live_ct.request((volume_opener(self.volume_box.required("µCT"), None), *regions))
        except InputError:
            self._forget("ct")
            raise

    def _outlines(self, image: str, kind: str) -> list[Outline]:
        layer = self.shapes.get((image, kind))
        if layer is None or layer not in self.viewer.layers:
            return []
        shapes = zip(layer.data, layer.shape_type, strict=True)
        return [outline_of(np.asarray(points, dtype=np.float64), shape) for points, shape in shapes if len(points) > 2]

    def _show_ct(self, result: tuple[DrawnReference, Rgb]) -> None:
        self.ct, self._is_drawn = result[0].reference, True
        self._state(result[1])

    def _ct_failed(self, error: Exception) -> None:
        self._forget("ct")
        self.show_error(error)

    def _slide_failed(self, error: Exception) -> None:
        self._forget("slide")
        self.show_error(error)

    def _estimated(self, result: tuple[IntensityReference, Rgb], layer: Layer) -> None:
        if self.volume_box.layer is layer:
            self.ct, self._is_drawn = result[0], False
            self._state(result[1])

    def _state(self, figure: Rgb) -> None:
        if self.ct is not None:
            ct = self.ct
            self.values.setText(
                f"Background {ct.background:.6g} ± {ct.background_std:.3g}, bone {ct.bone:.6g} ± {ct.bone_std:.3g}. "
                "Enter them in Stain as Background and Bone, or save them for register and prepare."
            )
        self.figure.show_picture(figure)

    def _show_slide(self, result: tuple[tuple[Box, Box], Rgb]) -> None:
        self.boxes = result[0]
        self.picture.show_picture(result[1])
        self.picture.setToolTip("The slide before and after normalisation.")
