"""The Stain widget: a preview of a slice or an oblique plane, then the whole volume."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Layer
from qtpy.QtWidgets import QCheckBox, QComboBox, QLineEdit

from tomostain.errors import InputError
from tomostain.geometry.plane_pose import PlanePose
from tomostain.io import open_stained
from tomostain.io.ome_zarr.plan import unfinished
from tomostain.napari.closing import close_previews, when_closed
from tomostain.napari.colours3d import follow_dimensions
from tomostain.napari.fields import PathField, Slider, ToolWidget, confirm_overwrite, follow, later
from tomostain.napari.layers import LayerSource, placed, remove_layers_of, um_per_unit
from tomostain.napari.readers import read_stained
from tomostain.napari.stain_preview import PreviewCache, PreviewRequest, PreviewResult
from tomostain.napari.stain_settings import StainControls, ensemble_of, uncertainty_help
from tomostain.napari.tasks import STOPPED, LatestOnly
from tomostain.ood import share_sentence
from tomostain.progress import Progress, ShouldStop
from tomostain.stain import StainRequest, stain

if TYPE_CHECKING:
    from napari import Viewer

SLICE, OBLIQUE = "current slice", "oblique plane"
# Next to the volume, in widths of the volume.
_GAP = 1.05
_WAIT_MS = 120


class StainWidget(ToolWidget):
    """Stains what the viewer shows: a preview first, then the volume.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    stopped = STOPPED

    def __init__(self, napari_viewer: "Viewer") -> None:
        super().__init__(napari_viewer)
        follow_dimensions(self.viewer)
        self.controls = StainControls(self, self.viewer)
        self._add_preview()
        self._add_volume()
        self.cache = PreviewCache()
        self.latest = LatestOnly(self.cache.compute, self._show, self._fail, deliver_all=True)
        close_previews(self, self.latest)
        when_closed(self, self._close)
        self._timer = later(_WAIT_MS, self._update, self)
        self.controls.changed(self._changed)
        follow(self, self.viewer.dims.events.current_step, self._changed)
        follow(self, self.viewer.dims.events.order, self._changed)
        self._begun = 0.0

    def _add_preview(self) -> None:
        self.kind, self.live = QComboBox(), QCheckBox("follow the sliders")
        self.kind.addItems([SLICE, OBLIQUE])
        self.tilt_row, self.tilt_column = Slider(-90, 90, 0, "°"), Slider(-90, 90, 0, "°")
        self.offset = Slider(-1000, 1000, 0, " µm")
        self.add_row("Preview", self.kind, tip="What is stained at once, to look at before the volume is stained.")
        self.add_row("", self.live, tip="Stain again when the slice, an angle or an option changes.")
        self.add_row("Tilt of rows", self.tilt_row, tip="Angle of the oblique plane about the direction of its rows.")
        tip = "Angle of the oblique plane about the direction of its columns."
        self.add_row("Tilt of columns", self.tilt_column, tip=tip)
        self.add_row("Offset", self.offset, tip="Distance of the oblique plane from the middle of the volume.")
        self.preview_button = self.add_button(
            "Preview", self.preview, tip="Stain this slice or plane now.", starts=True
        )
        for slider in (self.tilt_row, self.tilt_column, self.offset):
            slider.changed.connect(self._changed)
        self.kind.currentIndexChanged.connect(self._choose_kind)
        self._choose_kind()

    def _add_volume(self) -> None:
        self.out = PathField("save", "Stained volume to write", "OME-Zarr (*.ome.zarr)")
        self.out.line.setPlaceholderText("NAME.ome.zarr")
        self.uncertainty = PathField("save", "Uncertainty to write", "OME-Zarr (*.ome.zarr)")
        self.uncertainty.line.setPlaceholderText("none")
        self.ensemble = QLineEdit()
        self.ensemble.setPlaceholderText("none; several: fold1; fold2")
        self.add_row("Stained volume", self.out, parameter="out", tip="Folder of the stained volume, an OME-Zarr.")
        tip = uncertainty_help("uncertainty")
        self.add_row("Uncertainty", self.uncertainty, parameter="uncertainty", tip=tip)
        self.add_row("Ensemble", self.ensemble, parameter="ensemble", tip=uncertainty_help("ensemble"))
        tip = "Stain the whole volume. After a stop, the same button continues."
        self.stain_button = self.add_button("Stain the volume", self.stain_volume, tip=tip, starts=True)

    # The preview ------------------------------------------------------------------------------------------------------

    def preview(self) -> None:
        """Stain the current slice or plane."""
        if self.viewer.dims.ndisplay == 3 and self.kind.currentText() == SLICE:
            raise InputError("a stained slice is shown in 2D only: change the viewer to 2D, or choose an oblique plane")
        request = self._request()
        if not self.latest.is_running:
            self._begun = time.monotonic()
        self.preview_button.setText("Preview: computing …")
        self.latest.request(request)

    def _request(self) -> PreviewRequest:
        settings = self.controls.settings()
        layer = self.controls.volume.required("µCT layer")
        self._scale_offset(layer)
        position = np.asarray(layer.world_to_data(self.viewer.dims.point)[-3:]) * np.abs(settings.volume.voxel_um)
        axis = self.viewer.dims.order[0] if self.viewer.dims.ndim == 3 else 0
        pose = None
        if self.kind.currentText() == OBLIQUE:
            pose = PlanePose("z", self.tilt_row.value, self.tilt_column.value, offset_um=self.offset.value)
        z, y, x = (float(value) for value in position)
        return PreviewRequest(settings, (z, y, x), int(axis), pose)

    def _scale_offset(self, layer: Layer) -> None:
        """Let the offset reach to the corners of the volume."""
        extent = layer.extent.world[:, -3:] * _unit_um(layer)
        self.offset.set_range(float(np.linalg.norm(extent[1] - extent[0])) / 2)

    def _changed(self, *_: object) -> None:
        if self.live.isChecked() and self.controls.volume.layer is not None and not self.task.is_running:
            self._timer.start()

    def _update(self) -> None:
        # The model is used by one thread at a time.
        if not self.task.is_running:
            self.attempt(self.preview)

    def _close(self) -> None:
        """Stop the preview when the dock is closed; its layers stay."""
        self._timer.stop()
        self.latest.close()

    def _choose_kind(self, *_: object) -> None:
        for slider in (self.tilt_row, self.tilt_column, self.offset):
            slider.setEnabled(self.kind.currentText() == OBLIQUE)
        if hasattr(self, "controls"):
            self._changed()

    def _show(self, result: PreviewResult) -> None:
        """Show a preview as layers, and what was found about the volume."""
        elapsed = time.monotonic() - self._begun
        self._begun = time.monotonic()
        self.preview_button.setText("Preview")
        self.controls.show_intensity(result.preview.job.intensity)
        if result.request.pose is None:
            self._show_slice(result)
        else:
            self._show_plane(result)
        self._say(result.preview.report.messages, result.preview.novelty, f"Preview in {elapsed:.1f} s.")

    def _show_slice(self, result: PreviewResult) -> None:
        """Show a stained slice where it lies in the volume."""
        volume, axis = result.preview.job.volume, result.request.axis
        rgb = np.expand_dims(result.plane.rgb, axis)
        layer = self.controls.volume.layer
        start = np.zeros(3) if layer is None else np.array(layer.translate[-3:], float) * _unit_um(layer)
        start[axis] += result.index * volume.voxel_um[axis]
        self._put("stain preview", rgb, LayerSource("preview", None, volume.voxel_um), start, rgb=True)

    def _show_plane(self, result: PreviewResult) -> None:
        """Show an oblique plane to the right of the volume: µCT, and its stain."""
        layer = self.controls.volume.layer
        right = 0.0 if layer is None else float(layer.extent.world[1, -1] * _unit_um(layer)[-1]) * _GAP
        source = LayerSource("preview", None, result.plane.pixel_um)
        inside = result.plane.ct[np.isfinite(result.plane.ct)]
        low, high = np.percentile(inside, (0.5, 99.5)) if inside.size else (0.0, 1.0)
        options = {"colormap": "gray", "contrast_limits": (float(low), float(max(high, np.nextafter(low, np.inf))))}
        width = result.plane.ct.shape[1] * result.plane.pixel_um[1]
        ct = np.nan_to_num(result.plane.ct, nan=float(low))
        self._put("oblique plane, µCT", ct, source, (0.0, right), **options)
        self._put("oblique plane, stain", result.plane.rgb, source, (0.0, right + width * _GAP), rgb=True)

    def _put(
        self, name: str, data: np.ndarray, source: LayerSource, start: tuple[float, ...] | np.ndarray, **options: object
    ) -> None:
        """Add a layer, or replace the data of the one of this name and shape."""
        old = next((layer for layer in self.viewer.layers if layer.name == name), None)
        if old is not None and old.data.ndim == data.ndim:
            old.data = data
            old.scale, old.translate, old.opacity = source.voxel_um, start, 1.0
            return
        if old is not None:
            self.viewer.layers.remove(old)
        self.viewer.add_image(data, **placed(source, name, translate=tuple(start), opacity=1.0, **options))

    def _fail(self, error: Exception) -> None:
        self.preview_button.setText("Preview")
        self.show_error(error)

    # The volume -------------------------------------------------------------------------------------------------------

    def stain_volume(self) -> None:
        """Stain the volume to the given path, or continue it."""
        out = self.out.required("Stained volume")
        settings = self.controls.settings()
        request = replace(
            settings.request, out=out, uncertainty=self.uncertainty.path, ensemble=ensemble_of(self.ensemble.text())
        )
        paths = [path for path in (out, self.uncertainty.path) if path is not None]
        complete = [path for path in paths if path.exists() and not unfinished(path)]
        stopped = [path for path in paths if path.exists() and path not in complete]
        if complete and stopped:
            raise InputError(
                f"{complete[0]} is complete, and {stopped[0]} is not finished: choose another path for one of them"
            )
        if not all(confirm_overwrite(self, path) for path in complete):
            return
        remove_layers_of(self.viewer, complete)
        request = replace(request, overwrite=bool(complete))
        # A model with members for the uncertainty is loaded with its reverse generator, so from its folder.
        cache = None if request.uncertainty is not None else self.cache
        self.message.clear_text()

        def work(progress: Progress, should_stop: ShouldStop) -> StainRequest:
            opened = replace(request, volume=settings.volume.open())
            if cache is not None:
                opened = replace(opened, model=cache.translator(request))
            opened.check_names()
            stain(opened, progress=progress, should_stop=should_stop)
            return opened

        self.task.start(
            work,
            label="Opening model and volume …",
            on_result=self._open_result,
            on_error=self.show_error,
            on_warning=self.show_warning,
        )

    def _open_result(self, request: StainRequest) -> None:
        """Show the stained volume, its uncertainty, and its novelty."""
        out = request.out_path
        self._replace_layer(out)
        if request.uncertainty is not None:
            self._replace_layer(Path(request.uncertainty))
        share = open_stained(out).provenance.get("new_share")
        novelty = share_sentence(share) if isinstance(share, float) else ""
        warned = [self.message.text()] if self.message.text() else []
        self._say(warned, novelty, f"Stained: {out}")

    def _replace_layer(self, path: Path) -> None:
        remove_layers_of(self.viewer, [path])
        for data, options, _ in read_stained(path):
            self.viewer.add_image(data, **options)

    def _say(self, warnings: tuple[str, ...] | list[str], novelty: str, last: str) -> None:
        """Show warnings, the novelty, and what was done."""
        self.message.clear_text()
        for text in warnings:
            self.show_warning(text)
        sentence = f"Novelty: {novelty}." if novelty else ""
        text = "\n".join(part for part in (sentence, last) if part)
        self.message.say(text, "warning" if warnings else "info", add=True)


def _unit_um(layer: Layer) -> np.ndarray:
    """Return how many µm the units of the last three axes of a layer have; 1 for units that are no lengths."""
    return np.array((um_per_unit(layer) or (1.0,) * layer.ndim)[-3:])
