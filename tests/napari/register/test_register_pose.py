"""The controls of the pose, the search and the view, on a phantom whose pose is known."""

import numpy as np
import pytest
import yaml

from tests.support.register_widget import bound_key, distance_um, ends
from tomostain.geometry.plane_pose import PlanePose

pytest.importorskip("napari")
pytest.importorskip("qtpy")


def test_every_slider_changes_plane_and_pose(widget, settle):
    controls = widget.controls
    for name in controls.sliders:
        before = widget.scene.plane.data.copy()
        controls.sliders[name].setValue(getattr(controls.pose, name) + 20)
        assert getattr(controls.pose, name) == pytest.approx(20)
        settle()
        assert not np.array_equal(np.nan_to_num(before), np.nan_to_num(widget.scene.plane.data)), name
    before = widget.section
    controls.face_down.setChecked(True)
    assert controls.pose.face_down
    controls.strains[0].setValue(2.0)
    assert controls.pose.strain == (0.02, 0, 0)
    settle()
    assert "Score" in widget.score_label.text()
    assert not np.allclose(before.column, widget.section.column)
    controls.base.setCurrentIndex(2)
    controls.base.activated.emit(2)
    assert (controls.pose.base, controls.pose.tilt_row_deg) == ("x", 0)


def test_the_truth_has_the_best_score(widget, truth, settle):
    first = widget.score
    widget.set_section(truth, "manual")
    settle()
    best = widget.score.total
    assert best > 1.2 > first.total
    assert distance_um(widget, truth) < 1e-6
    widget.controls.sliders["offset_um"].setValue(widget.controls.pose.offset_um + 300)
    settle()
    assert widget.score.total < best
    assert f"best so far {best:.2f}" in widget.score_label.text()
    widget.pose_page.best_button.click()
    settle()
    assert widget.score.total == pytest.approx(best)


def test_a_snap_goes_to_the_maximum(widget, truth, qtbot, settle):
    from dataclasses import replace

    widget.set_section(truth, "manual")
    pose = widget.controls.pose
    start = replace(pose, tilt_row_deg=pose.tilt_row_deg + 3, offset_um=pose.offset_um + 60)
    widget.set_section(widget.inputs.preview.to_section(start), "manual")
    assert distance_um(widget, truth) > 60
    with ends(widget, qtbot):
        widget.pose_page.snap_button.click()
        assert not widget.pose_page.find_button.isEnabled()
    settle()
    assert distance_um(widget, truth) < 40
    assert widget.pose_page.find_button.isEnabled()


@pytest.mark.parametrize("by", ["button", "key"])
def test_nudges_are_one_step(widget, viewer, settle, by):
    from tomostain.napari.register.controls import NUDGES

    controls = widget.controls
    controls.step_um.setValue(25)
    controls.step_deg.setValue(2)
    for text, key, name, sign, _ in NUDGES:
        before = getattr(controls.pose, name)
        if by == "button":
            controls.nudge_buttons[text].click()
        else:
            viewer.keymap[bound_key(viewer, key)](viewer)
        step = 25 if name.endswith("um") else 2
        assert getattr(controls.pose, name) - before == pytest.approx(sign * step), text
    settle()


def test_a_nudge_of_the_rotation_goes_around(widget, settle):
    widget.controls.step_deg.setValue(0.5)
    widget.controls.sliders["turn_deg"].setValue(179.9)
    widget.controls.nudge("turn_deg", 1)
    assert widget.controls.pose.turn_deg == pytest.approx(-179.6)
    widget.controls.sliders["tilt_row_deg"].setValue(90)
    widget.controls.nudge("tilt_row_deg", 1)
    assert widget.controls.pose.tilt_row_deg == 90
    settle()


def test_undo_redo_and_reset(widget, settle):
    page, controls = widget.pose_page, widget.controls
    assert not page.undo_button.isEnabled()
    controls.sliders["turn_deg"].setValue(10)
    settle()
    controls.sliders["turn_deg"].setValue(30)
    page.undo_button.click()  # before the slider has come to rest
    assert controls.pose.turn_deg == pytest.approx(10)
    page.redo_button.click()
    assert controls.pose.turn_deg == pytest.approx(30)
    assert not page.redo_button.isEnabled()
    page.undo_button.click()
    page.undo_button.click()
    assert controls.pose == PlanePose()
    page.redo_button.click()
    page.reset_button.click()
    assert controls.pose == PlanePose()
    page.undo_button.click()
    assert controls.pose.turn_deg == pytest.approx(10)
    settle()


def test_the_layouts(widget, settle):
    view, scene = widget.view, widget.scene
    view.choice.setCurrentIndex(1)
    assert scene.plane.translate[1] < scene.plane.scale[1]
    view.opacity.setValue(30)
    assert scene.plane.opacity == pytest.approx(0.3)
    whole = np.isnan(scene.plane.data).mean()
    view.choice.setCurrentIndex(2)
    assert scene.plane.opacity == 1
    assert np.isnan(scene.plane.data).mean() == pytest.approx((1 + whole) / 2, abs=0.05)
    squares = scene.plane.data
    view.squares.setValue(20)
    assert not np.array_equal(np.isnan(squares), np.isnan(scene.plane.data))
    view.choice.setCurrentIndex(0)
    assert scene.plane.translate[1] > scene.slide.extent.world[1][1]
    zoom = widget.viewer.camera.zoom
    widget.viewer.camera.zoom = 5 * zoom
    view.fit.click()
    assert widget.viewer.camera.zoom == pytest.approx(zoom, rel=0.01)


def test_the_search_finds_the_slide_and_gives_candidates(widget, truth, qtbot, settle, tmp_path):
    with ends(widget, qtbot):
        widget.pose_page.find_button.click()
    settle()
    assert distance_um(widget, truth) < 69
    page = widget.pose_page
    assert page.candidate_box.count() == len(widget.candidates) > 1
    assert "confidence" in widget.message.text()
    found = widget.section
    page.candidate_box.activated.emit(1)
    assert np.abs(widget.section.origin_um - found.origin_um).max() > 1
    page.candidate_box.activated.emit(0)
    np.testing.assert_allclose(widget.section.to_dict()["origin_um"], found.origin_um, atol=1e-6)
    # Saved unchanged, it is the pair of the search.
    widget.save_page.pair_path.set_path(tmp_path / "found")
    with ends(widget, qtbot):
        widget.save_page.save_button.click()
    values = yaml.safe_load((tmp_path / "found" / "pair.yaml").read_text())
    assert "pose" not in values
    assert values["registration"]["margin"] == pytest.approx(widget.location.evidence.margin, abs=1e-3)


def test_a_search_is_cancelled(widget, qtbot, monkeypatch):
    import tomostain.napari.register.widget as module

    def search(volume, slide, config, *, device, progress):
        while True:
            progress("searching", 1, 5)

    monkeypatch.setattr(module, "locate_section", search)
    before = widget.controls.pose
    widget.pose_page.find_button.click()
    assert not widget.save_page.save_button.isEnabled()
    qtbot.waitUntil(lambda: widget.task.bar.value() == 1, timeout=120_000)
    with ends(widget, qtbot):
        widget.task.cancel_button.click()
    assert "Stopped" in widget.message.text()
    assert widget.controls.pose == before
