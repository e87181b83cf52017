"""The landmarks: set by clicks, moved, fitted, saved and loaded."""

import numpy as np
import pytest

from tests.support.register_widget import distance_um
from tomostain.geometry.section import Section
from tomostain.register.hints import landmark_errors_um
from tomostain.register.preview import seen_in_volume_um

pytest.importorskip("napari")
pytest.importorskip("qtpy")


def test_landmarks_are_clicked_in_turn_and_fitted(widget, viewer, truth, settle, tmp_path):
    page, marks = widget.landmark_page, widget.landmarks
    # The plane is near the right one, so that the same points are seen in it.
    near = Section(truth.origin_um + 5, truth.row, truth.column, truth.slide_to_section)
    widget.set_section(near, "manual")
    settle()
    page.add_button.setChecked(True)
    assert viewer.layers.selection.active is marks.on_slide
    assert marks.on_slide.mode == "add"
    points = np.array([[900.0, 1000.0], [3300.0, 1500.0], [1800.0, 3400.0], [2500.0, 2500.0]])
    for number, point in enumerate(points):
        assert page.prompt.text() == f"Click point {number + 1} on the slide."
        marks.on_slide.add([point])
        assert viewer.layers.selection.active is marks.in_ct
        assert page.prompt.text() == f"Click point {number + 1} in the µCT."
        marks.in_ct.add([point + widget.scene.plane_at_um])
    np.testing.assert_allclose(marks.volume_um, seen_in_volume_um(widget.section, points), atol=1e-6)
    page.add_button.setChecked(False)
    assert marks.on_slide.mode == "pan_zoom"
    assert page.table.rowCount() == 4
    # The truth of the points, as a person would click them in other planes.
    marks.set_pairs(points, seen_in_volume_um(truth, points))
    errors = landmark_errors_um(widget.section, *marks.pairs)
    assert page.table.item(2, 3).text() == f"{errors[2]:.0f}"
    page.strain.setChecked(True)
    page.fit_button.click()
    settle()
    assert distance_um(widget, truth) < 0.01
    assert "Fitted to 4 pairs: mean error 0 µm" in widget.message.text()
    page.strain.setChecked(False)
    page.fit_button.click()
    assert widget.controls.pose.strain == pytest.approx((0, 0, 0), abs=1e-9)
    page.path.set_path(tmp_path / "points.csv")
    page.save_button.click()
    page.clear_button.click()
    assert page.table.rowCount() == 0
    assert not page.fit_button.isEnabled()
    page.load_button.click()
    np.testing.assert_allclose(marks.slide_um, points, atol=1e-3)


def test_landmarks_stay_in_the_volume_when_the_plane_moves(widget, truth, settle):
    marks = widget.landmarks
    widget.set_section(truth, "manual")
    settle()
    points = np.array([[900.0, 1000.0], [3300.0, 1500.0]])
    marks.set_pairs(points, seen_in_volume_um(truth, points))
    np.testing.assert_allclose(marks.in_ct.data, points + widget.scene.plane_at_um, atol=1e-3)
    assert set(map(tuple, marks.in_ct.border_color)) == set(map(tuple, marks.on_slide.border_color))
    # A plane that moves along its normal leaves the points where they are seen; their colour changes.
    far = Section(truth.origin_um + 900 * truth.normal, truth.row, truth.column, truth.slide_to_section)
    marks.show_in(far)
    np.testing.assert_allclose(marks.in_ct.data, points + widget.scene.plane_at_um, atol=1e-3)
    assert set(map(tuple, marks.in_ct.border_color)).isdisjoint(map(tuple, marks.on_slide.border_color))
    marks.show_in(truth)
    widget.controls.sliders["shift_row_um"].setValue(widget.controls.pose.shift_row_um + 100)
    widget.controls.sliders["offset_um"].setValue(widget.controls.pose.offset_um + 400)
    settle()
    moved = widget.controls.pose.shift_row_um
    np.testing.assert_allclose(marks.in_ct.data[:, 0] - points[:, 0], 100, atol=0.5)
    assert moved != 0
    # Far from the plane, they are dark.
    assert not set(map(tuple, marks.in_ct.border_color)) & set(map(tuple, marks.on_slide.border_color))
    widget.view.choice.setCurrentIndex(1)
    assert marks.in_ct.data[:, 1].max() < widget.scene.width_um


def test_landmarks_are_moved_and_removed_in_the_layers(widget, truth, settle):
    page, marks = widget.landmark_page, widget.landmarks
    widget.set_section(truth, "manual")
    settle()
    points = np.array([[900.0, 1000.0], [3300.0, 1500.0], [1800.0, 3400.0]])
    volume = seen_in_volume_um(truth, points) + 10 * truth.normal
    marks.set_pairs(points, volume)
    moved = marks.in_ct.data.copy()
    moved[1] += 50
    marks.in_ct.data = moved
    np.testing.assert_allclose(marks.volume_um[[0, 2]], volume[[0, 2]], atol=1e-6)
    np.testing.assert_allclose(marks.volume_um[1], seen_in_volume_um(truth, points[1:2] + 50)[0], atol=0.01)
    marks.on_slide.selected_data = {0}
    marks.on_slide.remove_selected()
    np.testing.assert_allclose(marks.slide_um, points[1:])
    assert len(marks.volume_um) == 2
    marks.in_ct.selected_data = {1}
    marks.in_ct.remove_selected()
    np.testing.assert_allclose(marks.slide_um, points[1:2])
    page.table.selectRow(0)
    page.remove_button.click()
    assert marks.count == 0


def test_too_few_landmarks_are_refused(widget):
    widget.landmarks.set_pairs(np.zeros((2, 2)), np.zeros((2, 3)))
    assert not widget.landmark_page.fit_button.isEnabled()
    widget.attempt(widget.landmark_tool.fit)
    assert "at least three" in widget.message.text()
    widget.landmark_page.save_button.click()
    assert "“Table” is empty" in widget.message.text()
