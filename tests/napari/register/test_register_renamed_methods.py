"""The public names of the widget before it was divided into parts."""

import numpy as np
import pytest

from tests.support.register_widget import distance_um
from tomostain.register.preview import seen_in_volume_um

pytest.importorskip("napari")
pytest.importorskip("qtpy")

NAMES = """
    attempt begin candidates choose_candidate close_scene controls find fit_landmarks form go_to_best history inputs
    labels landmark_page landmarks live load_landmarks load_pose location message open open_page opened pose_page redo
    reset save save_landmarks save_page scene score score_label section set_section show_error show_inputs snap tabs
    task undo view viewer
"""


@pytest.mark.filterwarnings("ignore:RegisterWidget.history:DeprecationWarning")
def test_no_public_name_was_lost(widget):
    assert [name for name in NAMES.split() if not hasattr(widget, name)] == []


def test_the_older_methods_of_the_pose_work_with_a_warning(widget, truth, settle):
    first = widget.section
    widget.set_section(truth, "manual")
    settle()
    for name, expected in (("undo", first), ("redo", truth), ("reset", first), ("go_to_best", truth)):
        with pytest.warns(DeprecationWarning, match=f"this method of RegisterWidget is now pose.{name}") as caught:
            getattr(widget, name)()
        assert caught[0].filename == __file__
        settle()
        assert distance_um(widget, expected) < 1e-6, name
    with pytest.warns(DeprecationWarning, match=r"RegisterWidget.history is now pose.history"):
        assert widget.history is widget.pose.history


def test_the_older_methods_of_the_landmarks_work_with_a_warning(widget, truth, tmp_path, settle):
    before_um = distance_um(widget, truth)
    corners = np.array([(800.0, 800.0), (800.0, 3000.0), (3000.0, 800.0), (3000.0, 3000.0)])
    widget.landmarks.set_pairs(corners, seen_in_volume_um(truth, corners))
    widget.landmark_page.path.set_path(tmp_path / "points.csv")
    with pytest.warns(DeprecationWarning, match="now landmark_tool.save"):
        widget.save_landmarks()
    widget.landmark_tool.clear()
    with pytest.warns(DeprecationWarning, match="now landmark_tool.load"):
        widget.load_landmarks()
    assert widget.landmarks.count == 4
    with pytest.warns(DeprecationWarning, match="now landmark_tool.fit"):
        widget.fit_landmarks()
    settle()
    assert distance_um(widget, truth) < 20 < before_um
