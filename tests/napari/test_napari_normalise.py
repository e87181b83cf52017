"""The widget Normalise: values of drawn regions against known ones, and files that the stages read."""

import numpy as np
import pytest

from tomostain.imaging.intensity_estimation import estimate_reference
from tomostain.prepare import PrepareConfig
from tomostain.register.config import RegisterConfig

pytest.importorskip("napari")
pytest.importorskip("qtpy")


@pytest.fixture(scope="module")
def viewer(shared_viewer, empty):
    """Return the viewer for all tests of this module, with one widget."""
    empty()
    yield shared_viewer
    empty()


@pytest.fixture(scope="module")
def scan():
    values = np.random.default_rng(0).normal(1000, 20, (6, 60, 70)).astype(np.float32)
    values[:, 15:45, 20:50] += 4000
    return values


@pytest.fixture(scope="module")
def slide():
    rgb = np.random.default_rng(1).integers(235, 245, (80, 90, 3)).astype(np.uint8)
    rgb[20:60, 30:70] = (150, 60, 160)
    return rgb


@pytest.fixture
def widget(viewer, qtbot, scan, slide):
    """Return the widget with a volume and a slide of the viewer."""
    from tomostain.napari.normalise import NormaliseWidget

    viewer.layers.clear()
    viewer.add_image(scan, scale=(5,) * 3, units=("µm",) * 3, name="scan")
    viewer.add_image(slide, rgb=True, scale=(2, 2), translate=(7, 9), units=("µm",) * 2, name="slide")
    made = NormaliseWidget(viewer)
    qtbot.addWidget(made)
    return made


def add(widget, image, kind, *corners):
    """Draw a rectangle as the mouse does, in pixels."""
    widget.buttons[image, kind].click()
    layer = widget.shapes[image, kind]
    assert layer.mode == "add_rectangle"
    layer.add_rectangles(np.array(corners, float))
    return layer


def box(z, row0, row1, column0, column1):
    corners = [(row0, column0), (row0, column1), (row1, column1), (row1, column0)]
    return [(*([] if z is None else [z]), row - 0.5, column - 0.5) for row, column in corners]


def draw_ct(widget, qtbot):
    add(widget, "ct", "background", *box(2, 0, 10, 0, 60))
    add(widget, "ct", "bone", *box(2, 20, 40, 25, 45))
    qtbot.waitUntil(lambda: widget.ct is not None, timeout=120_000)


def draw_slide(widget, qtbot):
    add(widget, "slide", "background", *box(None, 0, 15, 0, 90))
    add(widget, "slide", "bone", *box(None, 25, 55, 35, 65))
    qtbot.waitUntil(lambda: not widget.picture.pixmap().isNull(), timeout=120_000)


def test_drawn_regions_give_their_means(widget, viewer, qtbot, scan):
    assert widget.volume_box.currentText() == "scan"
    draw_ct(widget, qtbot)
    assert widget.ct.background == pytest.approx(scan[2, :10, :60].mean(), rel=1e-6)
    assert widget.ct.bone == pytest.approx(scan[2, 20:40, 25:45].mean(), rel=1e-6)
    assert f"{widget.ct.bone:.6g}" in widget.values.text()
    assert widget.figure.pixmap().width() >= 100
    assert tuple(widget.shapes["ct", "bone"].scale) == (5, 5, 5)
    # A further region changes the mean; a removed one counts no more.
    before = widget.ct.bone_px
    layer = add(widget, "ct", "bone", *box(4, 20, 30, 25, 45))
    qtbot.waitUntil(lambda: widget.ct.bone_px == before + 200, timeout=120_000)
    layer.selected_data = {0}
    layer.remove_selected()
    qtbot.waitUntil(lambda: widget.ct.bone_px == 200, timeout=120_000)
    layer.add_ellipses(np.array(box(2, 20, 40, 25, 45)))
    qtbot.waitUntil(lambda: widget.ct.bone_px > 200, timeout=120_000)
    assert widget.ct.bone_px == pytest.approx(200 + np.pi * 100, abs=15)


def test_the_estimate_is_that_of_the_library(widget, qtbot, scan):
    with qtbot.waitSignal(widget.task.finished, timeout=120_000):
        widget.estimate_button.click()
        assert not widget.estimate_button.isEnabled()
    assert widget.ct.bone == pytest.approx(estimate_reference(scan).bone, rel=1e-6)
    assert not widget.figure.pixmap().isNull()


@pytest.mark.parametrize("use", ["register", "prepare"])
def test_both_are_saved_for_a_stage(widget, qtbot, tmp_path, use, monkeypatch):
    draw_ct(widget, qtbot)
    draw_slide(widget, qtbot)
    assert widget.boxes == ((0, 15, 0, 90), (25, 55, 35, 65))
    widget.use.setCurrentIndex(widget.use.findData(use))
    path = tmp_path / "settings.yaml"
    widget.path.set_path(path)
    widget.save_button.click()
    assert f"Saved: {path}" in widget.message.text()
    if use == "register":
        config = registration = RegisterConfig.from_yaml(path)
    else:
        config = PrepareConfig.from_yaml(path)
        registration = config.registration
    assert (config.ct_background, config.ct_bone) == (widget.ct.background, widget.ct.bone)
    assert (registration.histology_background, registration.histology_bone) == widget.boxes
    # It is replaced only after a question.
    from qtpy.QtWidgets import QMessageBox

    asked = []
    monkeypatch.setattr(QMessageBox, "question", lambda *words: asked.append(words) or QMessageBox.StandardButton.No)
    before = path.stat().st_mtime_ns
    widget.save_button.click()
    assert asked
    assert path.stat().st_mtime_ns == before


def test_values_belong_to_the_layers_that_are_chosen(widget, viewer, qtbot, scan, tmp_path):
    other = viewer.add_image(2 * scan, scale=(5,) * 3, units=("µm",) * 3, name="other")
    draw_ct(widget, qtbot)
    draw_slide(widget, qtbot)
    first = widget.volume_box.layer
    drawn, bone = dict(widget.shapes), widget.ct.bone
    # Another layer has no regions and no values yet.
    widget.volume_box.choose(other)
    assert widget.ct is None
    assert widget.figure.isHidden()
    assert ("ct", "bone") not in widget.shapes
    widget.path.set_path(tmp_path / "a.yaml")
    widget.save_button.click()
    assert "still being measured" in widget.message.text()
    assert not (tmp_path / "a.yaml").exists()
    add(widget, "ct", "bone", *box(2, 20, 40, 25, 45))
    assert widget.shapes["ct", "bone"] is not drawn["ct", "bone"]
    # The first one has its regions still.
    widget.volume_box.choose(first)
    qtbot.waitUntil(lambda: widget.ct is not None, timeout=120_000)
    assert widget.ct.bone == bone
    # Without regions there are no values.
    viewer.layers.remove(drawn["ct", "bone"])
    viewer.layers.remove(drawn["slide", "bone"])
    qtbot.waitUntil(lambda: widget.ct is None and widget.boxes is None, timeout=120_000)
    assert "Draw a region" in widget.values.text()


def test_an_estimate_stays_until_regions_are_drawn(widget, viewer, qtbot):
    with qtbot.waitSignal(widget.task.finished, timeout=120_000):
        widget.estimate_button.click()
    estimate = widget.ct
    add(widget, "ct", "bone", *box(2, 20, 40, 25, 45))
    draw_slide(widget, qtbot)
    assert widget.ct is estimate
    with qtbot.waitSignal(widget.task.finished, timeout=120_000):
        widget.estimate_button.click()
        widget.volume_box.choose(None)
    assert widget.ct is None


def test_closing_the_dock_stops_the_measurement_and_leaves_the_regions(viewer, scan):
    from qtpy.QtCore import QCoreApplication, QEvent

    from tomostain.napari.normalise import NormaliseWidget

    viewer.layers.clear()
    viewer.add_image(scan, scale=(5,) * 3, units=("µm",) * 3, name="scan")
    widget = NormaliseWidget(viewer)
    dock = viewer.window.add_dock_widget(widget, name="Normalise")
    layer = add(widget, "ct", "background", *box(2, 0, 10, 0, 60))
    assert widget._wait.isActive()
    live = widget.live_ct
    deleted = []
    widget.destroyed.connect(lambda *_: deleted.append(True))
    dock.destroyOnClose()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    assert deleted == [True]
    live.request(None)
    assert not live.is_running
    assert layer in viewer.layers
    assert layer.mode == "pan_zoom"
    layer.add_rectangles(np.array(box(2, 20, 40, 25, 45)))
    assert layer.nshapes == 2


def test_mistakes_are_stated(widget, viewer, qtbot, tmp_path):
    widget.save_button.click()
    assert "“File” is empty" in widget.message.text()
    widget.path.set_path(tmp_path / "a.yaml")
    widget.save_button.click()
    assert "nothing to write" in widget.message.text()
    add(widget, "ct", "bone", *box(2, 0, 10, 0, 60))
    add(widget, "ct", "background", *box(2, 20, 40, 25, 45))
    qtbot.waitUntil(lambda: "must be brighter" in widget.message.text(), timeout=120_000)
    add(widget, "slide", "background", *box(None, -30, -10, 0, 5))
    add(widget, "slide", "bone", *box(None, 25, 55, 35, 65))
    qtbot.waitUntil(lambda: "contains no pixel" in widget.message.text(), timeout=120_000)
    widget.volume_box.choose(None)
    widget.buttons["ct", "bone"].click()
    assert "no layer is chosen" in widget.message.text()
