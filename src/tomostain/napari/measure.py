"""The Measure widget: tissue labels, manual corrections, and the table of measures."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Layer
from qtpy.QtWidgets import QCheckBox, QComboBox, QLineEdit, QMessageBox, QTableWidget, QTableWidgetItem

from tomostain.cli.measure_options import InputOptions, TissueOptions
from tomostain.cli.measure_settings import MAX_UNCERTAINTY
from tomostain.errors import InputError
from tomostain.io.atomic import write_text
from tomostain.measure.classes import TITLES, TissueClass
from tomostain.measure.config import MeasureConfig
from tomostain.measure.label_files import write_labels
from tomostain.measure.label_source import LabelArray
from tomostain.measure.measurement import MAPS
from tomostain.measure.morphometry.bodies import BODIES
from tomostain.measure.result_files import CSV, JSON, LABELS, rows_text
from tomostain.measure.results import MeasureResult
from tomostain.measure.run import measure_volume
from tomostain.measure.text import format_value
from tomostain.napari.compare import is_kind
from tomostain.napari.fields import LayerBox, PathField, ToolWidget, confirm_overwrite, option_help
from tomostain.napari.layers import LayerSource, placed, remove_layers_of, source_of, voxel_um_of
from tomostain.napari.measure_labels import is_label_layer, legend, path_of, stored_labels
from tomostain.napari.readers import label_layer
from tomostain.napari.stain_settings import is_ct
from tomostain.progress import Progress, ShouldStop, raising_on_stop
from tomostain.view.report.measures import measures_page

if TYPE_CHECKING:
    from napari import Viewer

ASK_BYTES = 2**28
"""Labels of this size are copied into memory only if the user agrees."""

COLUMNS = ("symbol", "value", "unit", "region", "voxels", "note", "measure")
"""Columns of the table. The value has its standard deviation, where it is known. The title is long, so it is last."""


class MeasureWidget(ToolWidget):
    """Measures what the layers show, as ``tomostain measure`` does.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: "Viewer") -> None:
        super().__init__(napari_viewer)
        self.result: MeasureResult | None = None
        self._add_inputs(self.viewer)
        self._add_options()
        self._add_labels()
        self.out = PathField("save", "Folder of the results")
        self.add_row("Results", self.out, parameter="out", tip="Folder of tables, labels and report.")
        tip = "Classify the tissue and measure. Writes the same files as the verb 'measure'."
        self.start_button = self.add_button("Measure", self.measure, tip=tip, starts=True)
        self.table = QTableWidget(0, len(COLUMNS))
        self.table.setHorizontalHeaderLabels([name.capitalize() for name in COLUMNS])
        self.table.setMinimumHeight(220)
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.form.addRow(self.table)
        self.csv = PathField("save", "Table to write", "CSV (*.csv)")
        self.add_row("Table", self.csv, tip="A further copy of the table, as CSV.")
        self.export_button = self.add_button("Export CSV", self.export, tip="Write the table as CSV.")

    def _add_inputs(self, viewer: "Viewer") -> None:
        self.stained = LayerBox(viewer, is_kind("stained"), optional="none")
        self.ct = LayerBox(viewer, is_ct, optional="none")
        self.labels_box = LayerBox(viewer, is_label_layer, optional="classify the tissue")
        self.uncertainty = LayerBox(viewer, is_kind("uncertainty"), optional="none")
        self.max_uncertainty = QLineEdit()
        self.max_uncertainty.setPlaceholderText(f"{MAX_UNCERTAINTY:g} with a map")
        self.add_row("Stain", self.stained, parameter="stained", tip="The stained volume.")
        self.add_row("µCT", self.ct, parameter="ct", tip=option_help(InputOptions, "ct"))
        self.add_row("Labels", self.labels_box, parameter="labels", tip=option_help(InputOptions, "labels"))
        tip = option_help(InputOptions, "uncertainty")
        self.add_row("Uncertainty", self.uncertainty, parameter="uncertainty", tip=tip)
        tip = option_help(InputOptions, "max_uncertainty")
        self.add_row("Max. uncertainty", self.max_uncertainty, parameter="max_uncertainty", tip=tip)

    def _add_options(self) -> None:
        usual = MeasureConfig()
        self.lines: dict[str, QLineEdit] = {}
        for name, label in (
            ("specimen", "Specimen"),
            ("implant", "Implant"),
            ("weeks", "Weeks"),
            ("diameter_mm", "Diameter, mm"),
        ):
            self.lines[name] = QLineEdit(str(getattr(usual, name) or ""))
            self.add_row(label, self.lines[name], parameter=name, tip=option_help(TissueOptions, name))
        self.geometry_box, self.surface = QComboBox(), QComboBox()
        self.geometry_box.addItems(["", *BODIES])
        self.surface.addItems(["labels", "fitted"])
        self.surface.setCurrentText(usual.surface)
        self.maps = QCheckBox("thickness and distance")
        self.maps.setChecked(usual.maps)
        tip = option_help(TissueOptions, "geometry")
        self.add_row("Initial shape", self.geometry_box, parameter="geometry", tip=tip)
        self.add_row("Surface", self.surface, parameter="surface", tip=option_help(TissueOptions, "surface"))
        self.add_row("Maps", self.maps, parameter="maps", tip=option_help(InputOptions, "maps"))

    def _add_labels(self) -> None:
        self.paint = QComboBox()
        for each in TissueClass:
            self.paint.addItem(TITLES[each], int(each))
        self.paint.setCurrentIndex(int(TissueClass.BONE))
        self.paint.currentIndexChanged.connect(self._choose_class)
        self.corrected = PathField("save", "Corrected labels to write", "OME-Zarr (*.ome.zarr)")
        tip = "Copy the labels into memory, so that they can be painted, and measured with the corrections."
        self.edit_button = self.add_button("Correct the labels", self.edit, tip=tip, starts=True)
        self.add_row("Paint", self.paint, tip="The tissue class that the brush paints.")
        tip = "Where corrected labels are written before they are measured."
        self.add_row("Corrected labels", self.corrected, tip=tip)
        self.add_row("Legend", legend())

    def edit(self) -> None:
        """Copy the labels into a layer that can be painted."""
        layer = self.labels_box.required("Labels")
        source, size = source_of(layer), voxel_um_of(layer)
        if size is None or (source is not None and source.path is None):
            raise InputError(f"layer '{layer.name}': can be painted already")
        labels = layer.data[0] if layer.multiscale else layer.data
        if labels.size > ASK_BYTES and not self._agrees(f"The copy needs {labels.size / 2**30:.1f} GiB. Copy it?"):
            return

        def work(progress: Progress, should_stop: ShouldStop) -> np.ndarray:
            return np.array(labels, dtype=np.uint8)

        self.task.start(
            work,
            label="Copying the labels …",
            on_result=lambda data: self._add_copy(layer, data, size),
            on_error=self.show_error,
        )

    def _agrees(self, question: str) -> bool:
        buttons = QMessageBox.StandardButton
        answer = QMessageBox.question(self, "Labels", question, buttons.Yes | buttons.No, buttons.No)
        return bool(answer == buttons.Yes)

    def _add_copy(self, layer: Layer, data: np.ndarray, size: tuple[float, ...]) -> None:
        """Add a layer that can be painted, above the labels it is a copy of."""
        appearance: dict[str, Any] = {"colormap": layer.colormap, "features": layer.features, "opacity": layer.opacity}
        options = placed(LayerSource("labels", None, size), f"{layer.name} corrected", translate=layer.translate)
        copy = self.viewer.add_labels(data, **options, **appearance)
        layer.visible = False
        self.labels_box.choose(copy)
        self._choose_class()
        copy.mode = "paint"

    def _choose_class(self, *_: object) -> None:
        if isinstance(self.labels_box.layer, Labels):
            self.labels_box.layer.selected_label = int(self.paint.currentData())

    def config(self) -> MeasureConfig:
        """Return the options of the form.

        Raises
        ------
        InputError
            If one is not valid.
        """
        values: dict[str, Any] = {name: line.text().strip() for name, line in self.lines.items() if line.text().strip()}
        for name in {"weeks", "diameter_mm"} & values.keys():
            values[name] = _number(values[name], self.labels[name])
        limit = self.max_uncertainty.text().strip()
        if limit or self.uncertainty.layer is not None:
            values["max_uncertainty"] = _number(limit, "Max. uncertainty") if limit else MAX_UNCERTAINTY
        if self.geometry_box.currentText():
            values["geometry"] = self.geometry_box.currentText()
        values |= {"surface": self.surface.currentText(), "maps": self.maps.isChecked()}
        return MeasureConfig.from_dict(values, source="options")

    def measure(self) -> None:
        """Measure the chosen layers."""
        config, out = self.config(), self.out.required("Results")
        paths = {name: path_of(box.layer) for name, box in (("stained", self.stained), ("ct", self.ct))}
        uncertainty, voxel_um = path_of(self.uncertainty.layer), None
        if self.ct.layer is not None:
            paths["ct"], voxel_um = stored_labels(self.ct.layer)
        labels, drawn = path_of(self.labels_box.layer), None
        if self.labels_box.layer is not None and labels is None:
            drawn, labels = self._drawn(self.labels_box.layer), self.corrected.required("Corrected labels")
            if not confirm_overwrite(self, labels):
                return
        if not any((paths["stained"], paths["ct"], labels)):
            raise InputError("choose a stained, a µCT or a label layer")
        is_complete = (out / JSON).is_file()
        if is_complete and not confirm_overwrite(self, out):
            return
        self.message.clear_text()
        outputs = [out / LABELS, *(out / name for name in MAPS)] if is_complete else []
        if drawn is not None and labels is not None:
            outputs.append(labels)
        remove_layers_of(self.viewer, outputs)

        def work(progress: Progress, should_stop: ShouldStop) -> tuple[MeasureResult, Path]:
            report = raising_on_stop(progress, should_stop, out)
            if drawn is not None and labels is not None:
                write_labels(labels, drawn, overwrite=True, progress=report)
            result = measure_volume(
                paths["stained"],
                out,
                config=config,
                ct=paths["ct"],
                labels=labels,
                uncertainty=uncertainty,
                voxel_um=voxel_um,
                overwrite=is_complete,
                progress=report,
            )
            return result, measures_page(result)

        self.task.start(
            work,
            label="Opening the volumes …",
            on_result=lambda made: self._show(*made),
            on_error=self.show_error,
            on_warning=self.show_warning,
        )

    def _drawn(self, layer: Layer) -> LabelArray:
        """Return the labels of a layer in memory."""
        size = voxel_um_of(layer)
        if size is None or layer.ndim != 3:
            raise InputError(f"layer '{layer.name}': labels need three axes and a voxel size in µm")
        z, y, x = size
        # A copy, so that painting meanwhile changes nothing.
        return LabelArray(np.array(layer.data[0] if layer.multiscale else layer.data, dtype=np.uint8), (z, y, x))

    def _show(self, result: MeasureResult, page: Path) -> None:
        """Show the table and the labels."""
        self.result = result
        self.table.setRowCount(len(result.rows))
        for number, row in enumerate(result.rows):
            value = format_value(row["value"], row["sd_model"], row["sd_registration"])
            cells = (row["symbol"], value, row["unit"], row["region"], row["voxels"], row["note"], row["title"])
            for column, text in enumerate(cells):
                item = QTableWidgetItem(text)
                item.setToolTip(f"{row['title']}: {row['symbol']}, {row['method']}")
                self.table.setItem(number, column, item)
        self.table.resizeColumnsToContents()
        if self.labels_box.layer is None and result.labels_path is not None:
            remove_layers_of(self.viewer, [result.labels_path])
            data, options, _ = label_layer(result.labels_path)
            self.viewer.add_labels(data, **options)
        notes = [f"Note: {note}." for note in result.notes]
        # The warnings of the task stay.
        text = "\n".join([*notes, f"Tables: {page.parent / CSV}", f"Report: {page}"])
        self.message.say(text, "warning" if self.message.text() else "info", add=True)

    def export(self) -> None:
        """Write the table as CSV."""
        if self.result is None:
            raise InputError("nothing is measured yet")
        path = self.csv.required("Table")
        if confirm_overwrite(self, path):
            write_text(path, rows_text(self.result.rows), overwrite=True)
            self.message.say(f"Written: {path}")


def _number(text: str, label: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"“{label}” {text}: is not a number") from None
