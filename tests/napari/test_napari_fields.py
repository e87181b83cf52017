"""The parts of the widgets: help and defaults of the command line, paths, layers, messages."""

import numpy as np
import pytest

from tomostain.errors import InputError, InterruptedRunError

pytest.importorskip("napari")
pytest.importorskip("qtpy")


def test_help_and_defaults_are_those_of_the_verbs():
    from tomostain.cli.common import DEVICE
    from tomostain.cli.register import register
    from tomostain.cli.stain import ProcessOptions, StainVolumeOptions
    from tomostain.napari.fields import option_default, option_help

    assert option_help(ProcessOptions, "device") == DEVICE.help
    assert option_default(ProcessOptions, "device") == "auto"
    assert option_default(StainVolumeOptions, "bone") is None
    assert "--" not in option_help(StainVolumeOptions, "background")
    assert option_help(register, "volume")


def test_a_path_field_takes_what_the_dialog_returns(qtbot, monkeypatch, tmp_path):
    from qtpy.QtWidgets import QFileDialog

    from tomostain.napari.fields import PathField

    for mode, name in (("file", "getOpenFileName"), ("folder", "getExistingDirectory"), ("save", "getSaveFileName")):
        field = PathField(mode, "Choose it")
        qtbot.addWidget(field)
        with pytest.raises(InputError, match="“Output” is empty"):
            field.required("Output")
        answer = str(tmp_path / mode)
        reply = answer if mode == "folder" else (answer, "")
        monkeypatch.setattr(QFileDialog, name, lambda *a, reply=reply, **k: reply)
        with qtbot.waitSignal(field.changed, timeout=120_000):
            field.button.click()
        assert field.required("Output") == tmp_path / mode
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *a, **k: ("", ""))
    field.browse()
    assert field.path == tmp_path / "save"


def test_a_layer_box_follows_the_viewer(viewer, qtbot):
    from napari.layers import Image

    from tomostain.napari.fields import LayerBox

    box = LayerBox(viewer, lambda layer: isinstance(layer, Image), optional="none")
    qtbot.addWidget(box)
    with pytest.raises(InputError, match="“µCT”: no layer"):
        box.required("µCT")
    first = viewer.add_image(np.zeros((4, 4)), name="first")
    viewer.add_labels(np.zeros((4, 4), np.uint8))
    assert [box.itemText(i) for i in range(box.count())] == ["none", "first"]
    with qtbot.waitSignal(box.changed, timeout=120_000):
        box.choose(first)
    first.name = "renamed"
    assert box.currentText() == "renamed"
    viewer.add_image(np.zeros((4, 4)), name="second")
    assert box.required("µCT") is first
    with qtbot.waitSignal(box.changed, timeout=120_000):
        viewer.layers.remove(first)
    assert box.layer is None


def test_a_tool_widget_shows_errors_with_the_labels_of_its_form(viewer, qtbot):
    from qtpy.QtWidgets import QLineEdit

    from tomostain.napari.fields import ToolWidget

    widget = ToolWidget(viewer)
    qtbot.addWidget(widget)
    widget.add_row("Voxel size", QLineEdit(), parameter="voxel_um", tip="in µm")

    def refuse():
        raise InputError("scan: give `voxel_um`")

    button = widget.add_button("Run", refuse, starts=True)
    button.click()
    assert widget.message.text() == "scan: give “Voxel size”"
    widget.show_error(InputError("must be above 0", parameter="voxel_um"))
    assert widget.message.text() == "Voxel size: must be above 0"
    widget.show_error(InterruptedRunError("saved"))
    assert widget.message.text() == "Stopped. It starts over when you run it again."
    widget.show_warning("unlike the training data")
    assert widget.message.text().endswith("unlike the training data")
    with pytest.raises(ZeroDivisionError):
        widget.show_error(ZeroDivisionError("x"))
    assert "Internal error" in widget.message.text()
    with qtbot.waitSignal(widget.task.finished, timeout=120_000):
        widget.task.start(lambda progress, should_stop: None)
        assert not button.isEnabled()
    assert button.isEnabled()


@pytest.mark.parametrize("agrees", [True, False])
def test_an_existing_path_is_asked_about(viewer, qtbot, monkeypatch, tmp_path, agrees):
    from qtpy.QtWidgets import QMessageBox, QWidget

    from tomostain.napari.fields import confirm_overwrite

    parent = QWidget()
    qtbot.addWidget(parent)
    assert confirm_overwrite(parent, tmp_path / "new")
    answer = QMessageBox.StandardButton.Yes if agrees else QMessageBox.StandardButton.No
    monkeypatch.setattr(QMessageBox, "question", lambda *a, **k: answer)
    assert confirm_overwrite(parent, tmp_path) is agrees


def test_a_plain_layer_becomes_a_volume_if_its_units_are_lengths(viewer):
    from tomostain.napari.layers import volume_of_layer, voxel_um_of

    grey = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    in_mm = viewer.add_image(grey, scale=(0.01, 0.005, 0.005), units=("mm", "mm", "mm"))
    assert voxel_um_of(in_mm) == pytest.approx((10, 5, 5))
    volume = volume_of_layer(in_mm)
    assert volume.voxel_um == pytest.approx((10, 5, 5))
    np.testing.assert_array_equal(volume[:], grey)
    in_pixels = viewer.add_image(grey)
    with pytest.raises(InputError, match="its voxel size is unknown"):
        volume_of_layer(in_pixels)
    assert volume_of_layer(in_pixels, 5).voxel_um == (5, 5, 5)
    flat = viewer.add_image(grey[0])
    with pytest.raises(InputError, match="is not a greyscale volume"):
        volume_of_layer(flat, 5)


def test_the_source_of_a_layer_opens_its_file(viewer, tmp_path):
    import tifffile

    from tomostain.napari.layers import (
        LayerSource,
        layers_of_kind,
        placed,
        source_of,
        stained_of_layer,
        volume_of_layer,
    )

    grey = np.full((2, 3, 4), 7, np.uint8)
    tifffile.imwrite(tmp_path / "scan.tif", grey, photometric="minisblack")
    source = LayerSource("ct", tmp_path / "scan.tif", (5.0, 5.0, 5.0))
    layer = viewer.add_image(np.zeros_like(grey), **placed(source, "µCT"))
    assert source_of(layer) == source
    assert tuple(layer.scale) == (5, 5, 5)
    assert [str(unit) for unit in layer.units] == ["micrometer"] * 3
    assert volume_of_layer(layer)[0, 0, 0] == 7
    plain = viewer.add_image(grey)
    assert source_of(plain) is None
    assert layers_of_kind(viewer.layers, "ct", "stained") == [layer]
    with pytest.raises(InputError, match="was not read from a stained volume"):
        stained_of_layer(layer)
    with pytest.raises(ValueError, match="kind 'scan'"):
        LayerSource("scan", None, (1.0,))
