"""What the widget Register leaves behind when it is closed."""

import numpy as np
import pytest

from tests.support.register_widget import bound_key, ends, names

pytest.importorskip("napari")
pytest.importorskip("qtpy")


def test_keys_are_free_again_after_closing(widget, viewer):
    assert bound_key(viewer, "Shift-Up") in viewer.keymap
    widget.open_page.close_button.click()
    assert bound_key(viewer, "Shift-Up") not in viewer.keymap
    assert len(viewer.layers) == 0


def test_results_of_what_was_closed_are_not_shown(widget, truth, qtbot, monkeypatch):
    from tomostain.register.preview import PosePreview

    monkeypatch.setattr(PosePreview, "snap", lambda self, section: truth)
    with ends(widget, qtbot):
        widget.pose_page.snap_button.click()
        widget.open_page.close_button.click()
    assert widget.inputs is None
    assert len(widget.viewer.layers) == 0
    assert "nothing is open" not in widget.message.text()


def test_closing_the_dock_leaves_nothing_behind(closed, viewer, read, qtbot):
    from qtpy.QtCore import QCoreApplication, QEvent

    from tomostain.napari.register.widget import RegisterWidget

    other = viewer.add_image(np.zeros((4, 4)), name="mine")
    widget = RegisterWidget(viewer)
    deleted, results = [], []
    widget.destroyed.connect(lambda *_: deleted.append(True))
    dock = viewer.window.add_dock_widget(widget, name="Register")
    widget.show_inputs(read)
    live = widget.live
    assert not other.visible
    assert bound_key(viewer, "Shift-Up") in viewer.keymap

    def work(progress, should_stop):
        while not should_stop():
            pass

    widget.task.start(work, on_result=results.append)
    dock.destroyOnClose()
    assert names(viewer) == ["mine"]
    assert bound_key(viewer, "Shift-Up") not in viewer.keymap
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    assert deleted == [True]
    qtbot.wait(50)
    assert results == []
    live.request(None)
    assert not live.is_running


def test_layers_that_the_user_removes_cause_no_error(widget, viewer, settle):
    viewer.layers.clear()
    widget.controls.sliders["turn_deg"].setValue(10)
    settle()
    widget.view.choice.setCurrentIndex(1)
    widget.landmarks.set_pairs(np.zeros((1, 2)), np.zeros((1, 3)))
    widget.open_page.close_button.click()
    assert len(viewer.layers) == 0
