"""The Measure widget: labels that are painted, options, table and CSV."""

import numpy as np
import pytest

from tomostain.errors import InputError
from tomostain.io import create_stained, write_stack
from tomostain.measure.classes import TissueClass
from tomostain.measure.label_files import open_labels, write_labels
from tomostain.measure.label_source import LabelArray
from tomostain.measure.result_files import read_rows

pytest.importorskip("napari")
pytest.importorskip("qtpy")

SHAPE = (24, 40, 40)


def classes():
    """Return a metal cylinder along z in bone, with void in a corner."""
    _, y, x = np.indices(SHAPE)
    labels = np.full(SHAPE, TissueClass.BONE, np.uint8)
    labels[np.hypot(y - 20, x - 20) < 8] = TissueClass.METAL
    labels[:, :6, :6] = TissueClass.VOID
    return labels


@pytest.fixture
def widget(viewer, qtbot, tmp_path):
    from tomostain.napari.measure import MeasureWidget
    from tomostain.napari.readers import read_path

    write_labels(tmp_path / "l.ome.zarr", LabelArray(classes(), 20.0))
    for data, options, kind in read_path(str(tmp_path / "l.ome.zarr")):
        viewer._add_layer_from_data(data, options, kind)
    made = MeasureWidget(viewer)
    qtbot.addWidget(made)
    made.out.set_path(tmp_path / "measures")
    return made


def run(widget, qtbot):
    with qtbot.waitSignal(widget.task.finished, timeout=120_000):
        widget.start_button.click()


def test_labels_are_measured_into_the_table_and_the_csv(widget, viewer, qtbot, tmp_path, monkeypatch):
    widget.labels_box.choose(viewer.layers["l"])
    widget.maps.setChecked(False)
    run(widget, qtbot)
    assert "Tables:" in widget.message.text(), widget.message.text()
    rows = read_rows(tmp_path / "measures")
    assert widget.table.rowCount() == len(rows) > 5
    titles = [widget.table.item(n, 6).text() for n in range(len(rows))]
    assert [widget.table.item(n, 0).text() for n in range(len(rows))] == [row["symbol"] for row in rows]
    assert titles == [row["title"] for row in rows]
    contact = titles.index(next(row["title"] for row in rows if row["measure"] == "bic_surface"))
    assert widget.table.item(contact, 2).text() == "%"
    assert widget.table.item(contact, 1).text().startswith("100")
    assert (tmp_path / "measures" / "report.html").is_file()
    widget.export_button.click()
    assert widget.message.text() == "“Table” is empty: choose a path"
    widget.csv.set_path(tmp_path / "table.csv")
    widget.export_button.click()
    assert (tmp_path / "table.csv").read_bytes() == (tmp_path / "measures" / "measures.csv").read_bytes()
    monkeypatch.setattr("tomostain.napari.measure.confirm_overwrite", lambda parent, path: False)
    widget.start_button.click()
    assert not widget.task.is_running


def test_painted_labels_are_written_and_measured(widget, viewer, qtbot, tmp_path):
    widget.labels_box.choose(viewer.layers["l"])
    with qtbot.waitSignal(widget.task.finished, timeout=120_000):
        widget.edit_button.click()
    copy = viewer.layers["l corrected"]
    assert widget.labels_box.layer is copy
    assert copy.mode == "paint"
    widget.paint.setCurrentText("soft tissue and marrow")
    assert copy.selected_label == TissueClass.SOFT
    copy.data[:, :, 30:] = TissueClass.SOFT
    widget.maps.setChecked(False)
    widget.start_button.click()
    assert widget.message.text() == "“Corrected labels” is empty: choose a path"
    widget.corrected.set_path(tmp_path / "corrected.ome.zarr")
    run(widget, qtbot)
    assert "Tables:" in widget.message.text(), widget.message.text()
    written = open_labels(tmp_path / "corrected.ome.zarr")
    np.testing.assert_array_equal(written.read(0, SHAPE[0]), copy.data)
    assert written.voxel_um == (20, 20, 20)
    widget.edit_button.click()
    assert "can be painted already" in widget.message.text()


def test_options_and_images_reach_the_measurement(widget, viewer, qtbot, tmp_path, monkeypatch):
    from tomostain.errors import InputError
    from tomostain.napari.readers import read_path

    write_stack(tmp_path / "scan", np.zeros(SHAPE, np.uint16), voxel_um=(20.0,) * 3)
    for name, provenance in (("a", {}), ("u", {"doubt": {}})):
        writer = create_stained(tmp_path / f"{name}.ome.zarr", SHAPE, 20.0, provenance=provenance)
        for start, stop in writer.z_chunks():
            writer.write(start, np.zeros((stop - start, *SHAPE[1:], 3), np.uint8))
        writer.finish()
    for name in ("scan", "a.ome.zarr", "u.ome.zarr"):
        for data, options, kind in read_path(str(tmp_path / name)):
            viewer._add_layer_from_data(data, options, kind)
    widget.ct.choose(viewer.layers["scan"])
    widget.stained.choose(viewer.layers["a"])
    widget.uncertainty.choose(viewer.layers["u"])
    for name, text in (("specimen", "rat 7"), ("implant", "Ti"), ("weeks", "8"), ("diameter_mm", "2")):
        widget.lines[name].setText(text)
    widget.geometry_box.setCurrentText("m2-screw")
    widget.surface.setCurrentText("fitted")
    calls = []

    def measured(stained, out, **options):
        calls.append((stained, out, options))
        raise InputError("enough: `geometry`", parameter="geometry")

    monkeypatch.setattr("tomostain.napari.measure.measure_volume", measured)
    run(widget, qtbot)
    ((stained, out, options),) = calls
    config = options["config"]
    assert (stained, out) == (tmp_path / "a.ome.zarr", tmp_path / "measures")
    assert (options["ct"], options["uncertainty"]) == (tmp_path / "scan", tmp_path / "u.ome.zarr")
    assert (config.specimen, config.implant, config.weeks, config.diameter_mm) == ("rat 7", "Ti", 8, 2)
    assert (config.geometry, config.surface, config.maps, config.max_uncertainty) == ("m2-screw", "fitted", True, 0.5)
    assert widget.message.text() == "enough: “Initial shape”"
    widget.max_uncertainty.setText("0.2")
    assert widget.config().max_uncertainty == 0.2
    widget.lines["weeks"].setText("eight")
    widget.start_button.click()
    assert widget.message.text() == "“Weeks” eight: is not a number"


def test_nothing_is_measured_without_layers_or_a_folder(widget, qtbot):
    from tomostain.measure.config import MeasureConfig

    assert widget.config() == MeasureConfig()
    widget.export_button.click()
    assert widget.message.text() == "nothing is measured yet"
    widget.start_button.click()
    assert widget.message.text() == "choose a stained, a µCT or a label layer"
    widget.out.set_path("")
    widget.start_button.click()
    assert widget.message.text() == "“Results” is empty: choose a path"


def test_a_ct_layer_is_measured_with_its_file_or_refused(widget, viewer, qtbot, tmp_path, monkeypatch):
    import tifffile

    calls = []

    def measured(stained, out, **options):
        calls.append(options)
        raise InputError("enough")

    monkeypatch.setattr("tomostain.napari.measure.measure_volume", measured)
    grey = np.zeros((4, 5, 6), np.uint16)
    widget.ct.choose(viewer.add_image(grey, name="memory", scale=(5,) * 3, units=("µm",) * 3))
    widget.start_button.click()
    assert "has no file that tomostain reads" in widget.message.text()
    tifffile.imwrite(tmp_path / "scan.tif", grey, photometric="minisblack")
    (layer,) = viewer.open(tmp_path / "scan.tif", plugin="napari")
    layer.scale, layer.units = (0.005,) * 3, ("mm",) * 3
    widget.ct.choose(layer)
    run(widget, qtbot)
    assert calls[0]["ct"] == tmp_path / "scan.tif"
    assert calls[0]["voxel_um"] == pytest.approx((5, 5, 5))


def test_a_second_measurement_replaces_its_layer_and_keeps_warnings(widget, viewer, qtbot, tmp_path, monkeypatch):
    from types import SimpleNamespace

    result = SimpleNamespace(rows=[], notes=["a note"], labels_path=tmp_path / "l.ome.zarr", out=tmp_path)
    widget.labels_box.choose(None)
    for _ in range(2):
        widget.show_warning("far from the training data")
        widget._show(result, tmp_path / "report.html")
        assert "far from the training data" in widget.message.text()
        assert "Note: a note." in widget.message.text()
        widget.labels_box.choose(None)
        assert [layer.name for layer in viewer.layers] == ["l"]


def test_large_labels_are_copied_only_with_consent(widget, viewer, monkeypatch):
    from qtpy.QtWidgets import QMessageBox

    asked = []
    monkeypatch.setattr("tomostain.napari.measure.ASK_BYTES", 100)
    monkeypatch.setattr(QMessageBox, "question", lambda *a: asked.append(a[2]) or QMessageBox.StandardButton.No)
    widget.labels_box.choose(viewer.layers["l"])
    widget.edit_button.click()
    assert "GiB" in asked[0]
    assert not widget.task.is_running
