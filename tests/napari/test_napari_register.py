"""The widget Register: every control, on a phantom whose pose is known."""

import numpy as np
import pytest
import yaml

from tomostain.dataset.pair import load_pair
from tomostain.errors import InputError
from tomostain.geometry.plane_pose import PlanePose
from tomostain.geometry.section import Section
from tomostain.phantom import PhantomConfig, write_specimen
from tomostain.prepare import prepare_specimens
from tomostain.register.hints import landmark_errors_um, read_section
from tomostain.register.preview import seen_in_volume_um

pytest.importorskip("napari")
pytest.importorskip("qtpy")

QUICK = "thorough: false\ncandidates: 50\nside: 16\nstep_deg: 20.0\nmax_voxels: 64\nmaterial: dense\n"


@pytest.fixture(scope="session")
def specimen(tmp_path_factory):
    values = {"seed": 21, "shape": (64, 64, 64), "voxel_um": 69.0, "pixel_um": 34.5}
    config = PhantomConfig.from_dict(values | {"laboratory": {"turn_deg": 200.0, "mirrored": True}})
    return write_specimen(config, tmp_path_factory.mktemp("napari") / "specimen")


@pytest.fixture(scope="module")
def viewer(shared_viewer, empty):
    """Return the viewer for all tests of this module, with one widget."""
    empty()
    yield shared_viewer
    empty()


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    path = tmp_path_factory.mktemp("settings") / "quick.yaml"
    path.write_text(QUICK)
    return path


@pytest.fixture(scope="module")
def made(viewer, specimen, settings):
    """Return the widget of the module."""
    from tomostain.napari.register.widget import RegisterWidget

    widget = RegisterWidget(viewer)
    yield widget
    widget.close_scene()
    widget.deleteLater()


@pytest.fixture
def tidy(made, qtbot, specimen, settings):
    """Return the widget with the paths of the phantom and all controls as at the start."""
    made.message.clear_text()
    page = made.open_page
    page.volume_path.set_path(specimen / "volume")
    page.slide_path.set_path(specimen / "slide.ome.tif")
    page.config_path.set_path(settings)
    for field in (page.voxel_um, page.pixel_um):
        field.setText("")
    page.material.setCurrentIndex(0)
    page.inverted.setChecked(False)
    made.view.choice.setCurrentIndex(0)
    made.save_page.refine.setChecked(False)
    made.save_page.deform.setChecked(False)
    made.landmark_page.add_button.setChecked(False)
    made.landmark_page.strain.setChecked(False)
    for path in (made.save_page.pair_path, made.save_page.start_path, made.landmark_page.path):
        path.set_path(None)
    yield made
    qtbot.waitUntil(lambda: not made.task.is_running and not made.live.is_running, timeout=120_000)


@pytest.fixture
def closed(tidy, viewer):
    """Return the widget before anything is opened."""
    tidy.close_scene()
    viewer.layers.clear()
    return tidy


@pytest.fixture(scope="module")
def read(specimen, settings):
    """Return what the widget reads when it opens the phantom: read once."""
    from tomostain.io import open_slide, open_volume
    from tomostain.napari.register.widget import Inputs
    from tomostain.register.config import RegisterConfig
    from tomostain.register.preview import PosePreview

    config = RegisterConfig.from_yaml(settings)
    volume, slide = open_volume(specimen / "volume"), open_slide(specimen / "slide.ome.tif")
    return Inputs(volume, slide, config, PosePreview.open(volume, slide, config))


@pytest.fixture
def widget(tidy, viewer, read, qtbot):
    """Return the widget with the phantom open, at the first pose. Its layers are made again only if they are gone."""
    if tidy.inputs is not read or not tidy.scene.is_open or len(viewer.layers) != 4:
        tidy.close_scene()
        viewer.layers.clear()
        tidy.show_inputs(read)
    tidy.begin()
    qtbot.waitUntil(lambda: tidy.score is not None and not tidy.live.is_running, timeout=120_000)
    return tidy


@pytest.fixture
def truth(specimen):
    return read_section(specimen / "truth" / "section.yaml")


@pytest.fixture
def settle(widget, qtbot):
    """Return a function that waits for the live view."""
    return lambda: qtbot.waitUntil(lambda: widget.pose.is_resting, timeout=120_000)


def ends(widget, qtbot):
    """Return a context that waits for the task of the widget."""
    return qtbot.waitSignal(widget.task.finished, timeout=120_000)


def distance_um(widget, truth):
    """Return the median distance of slide points from where they are."""
    points = np.random.default_rng(0).uniform(800, 3500, (50, 2))
    places = [seen_in_volume_um(section, points) for section in (widget.section, truth)]
    return np.median(np.linalg.norm(places[0] - places[1], axis=1))


def names(viewer):
    return [layer.name for layer in viewer.layers if layer.visible]


# Opening


def test_slide_and_plane_are_shown_side_by_side(closed, viewer, qtbot):
    widget = closed
    with ends(widget, qtbot):
        widget.open_page.open_button.click()
    qtbot.waitUntil(lambda: widget.score is not None, timeout=120_000)
    assert names(viewer) == ["Slide of Register", "µCT plane", "Landmarks on the slide", "Landmarks in the µCT"]
    slide, plane = widget.scene.slide, widget.scene.plane
    assert str(slide.units[0]) == "micrometer"
    slide_end = slide.extent.world[1][1]
    assert slide_end < plane.extent.world[0][1] < slide_end * 1.1
    np.testing.assert_allclose(np.diff(slide.extent.world, axis=0), np.diff(plane.extent.world, axis=0), rtol=0.02)
    assert widget.tabs.currentIndex() == 1
    assert "64 x 64 x 64 voxels" in widget.message.text()


def test_pages_need_an_open_volume(closed):
    assert [closed.tabs.isTabEnabled(i) for i in range(4)] == [True, False, False, False]
    closed.attempt(closed.snap)
    assert "nothing is open" in closed.message.text()
    closed.attempt(closed.landmark_tool.fit)
    assert "nothing is open" in closed.message.text()


def test_layers_of_the_viewer_can_be_chosen(closed, viewer, qtbot, specimen):
    from tomostain.io import open_slide, open_volume
    from tomostain.napari.layers import LayerSource, placed

    page = closed.open_page
    volume, slide = open_volume(specimen / "volume"), open_slide(specimen / "slide.ome.tif")
    ct = viewer.add_image(np.asarray(volume), scale=(0.069,) * 3, units=("mm",) * 3, name="my scan")
    source = LayerSource("slide", specimen / "slide.ome.tif", (34.5, 34.5))
    viewer.add_image(slide.read()[0], rgb=True, **placed(source, "my slide"))
    page.volume_path.set_path(None)
    page.slide_path.set_path(None)
    page.volume_box.choose(ct)
    page.slide_box.choose(viewer.layers["my slide"])
    page.open_button.click()
    qtbot.waitUntil(lambda: closed.score is not None, timeout=120_000)
    assert closed.inputs.volume.voxel_um == pytest.approx((69, 69, 69))
    assert closed.inputs.slide.pixel_um == 34.5
    assert "my scan" not in names(viewer)
    page.close_button.click()
    assert names(viewer) == ["my scan", "my slide"]
    assert not closed.tabs.isTabEnabled(1)


def test_what_is_missing_is_stated_with_the_label_of_the_field(closed, viewer, qtbot, specimen):
    page = closed.open_page
    page.volume_path.set_path(None)
    page.open_button.click()
    assert "no volume: choose" in closed.message.text()
    viewer.add_image(np.zeros((5, 6, 7)), name="pixels")
    page.volume_box.choose(viewer.layers["pixels"])
    page.open_button.click()
    assert "“Voxel size, µm”" in closed.message.text()
    page.voxel_um.setText("five")
    page.open_button.click()
    assert "Voxel size" in closed.message.text()
    page.voxel_um.setText("")
    page.volume_path.set_path(specimen / "truth" / "damaged.tif")
    with ends(closed, qtbot):
        page.open_button.click()
    assert closed.inputs is None
    assert closed.message.text()


def test_sizes_material_and_inversion_are_used(closed, qtbot):
    page = closed.open_page
    page.voxel_um.setText("70")
    page.pixel_um.setText("35")
    page.material.setCurrentIndex(2)
    page.inverted.setChecked(False)
    page.config_path.set_path(None)
    page.open_button.click()
    qtbot.waitUntil(lambda: closed.score is not None, timeout=120_000)
    assert closed.inputs.volume.voxel_um == (70, 70, 70)
    assert closed.inputs.slide.pixel_um == 35
    assert closed.inputs.config.material == "light"
    opened = page.openers()
    page.inverted.setChecked(True)
    inverted = page.openers()[1]().read()[0]
    np.testing.assert_array_equal(inverted, 255 - opened[1]().read()[0])


@pytest.mark.parametrize("has_file", [True, False])
def test_a_slide_layer_can_be_stored_inverted(closed, viewer, specimen, has_file):
    from tomostain.io import open_slide
    from tomostain.napari.layers import LayerSource, placed

    rgb = open_slide(specimen / "slide.ome.tif").read()[0]
    source = LayerSource("slide", specimen / "slide.ome.tif" if has_file else None, (34.5, 34.5))
    viewer.add_image(rgb, rgb=True, **placed(source, "my slide"))
    closed.open_page.slide_path.set_path(None)
    closed.open_page.slide_box.choose(viewer.layers["my slide"])
    closed.open_page.inverted.setChecked(True)
    np.testing.assert_array_equal(closed.open_page.openers()[1]().read()[0], 255 - rgb)


class _Level:
    """A level of a pyramid that counts how often it is read."""

    def __init__(self, values):
        self.values, self.shape, self.dtype, self.ndim, self.reads = values, values.shape, values.dtype, 3, 0

    def __getitem__(self, index):
        self.reads += 1
        return self.values[index]


def test_only_the_level_of_a_slide_layer_that_is_needed_is_read():
    from types import SimpleNamespace

    from tomostain.napari.register.inputs import slide_opener

    levels = [_Level(np.full((64 // n, 96 // n, 3), 10 * n, np.uint8)) for n in (1, 2, 4)]
    layer = SimpleNamespace(metadata={}, name="scan", data=levels, multiscale=True, units=(), scale=())
    slide = slide_opener(layer, None, 2.0)()
    assert [level.reads for level in levels] == [0, 0, 0]
    assert slide.levels == (((64, 96), 2.0), ((32, 48), 4.0), ((16, 24), 8.0))
    rgb, pixel_um = slide.read(5.0)
    assert (pixel_um, rgb.shape, rgb.max()) == (4.0, (32, 48, 3), 20)
    assert [level.reads for level in levels] == [0, 1, 0]
    layer.data = [levels[0].values.astype(np.float32)]
    with pytest.raises(ValueError, match="8 bits, found float32"):
        slide_opener(layer, None, 2.0)()


def test_only_volumes_of_a_scan_are_listed(closed, viewer):
    from tomostain.napari.layers import LayerSource, placed

    values = np.zeros((4, 5, 6), np.uint8)
    viewer.add_image(values, name="pixels")
    viewer.add_image(values, name="lengths", units=("µm",) * 3)
    viewer.add_image(values, name="stack", units=("pixel", "µm", "µm"))
    viewer.add_image(values, name="channel", metadata={"tomostain_3d": True})
    viewer.add_image(values, **placed(LayerSource("uncertainty", None, (5.0,) * 3), "map"))
    box = closed.open_page.volume_box
    assert [box.itemText(i) for i in range(box.count())] == ["(from a file)", "pixels", "lengths"]


def test_dataset_missing_slices_and_a_folder_are_chosen(closed, tmp_path, monkeypatch):
    import h5py
    from qtpy.QtWidgets import QFileDialog

    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["raw/a"] = np.zeros((4, 5, 6), np.uint16)
        file.create_dataset("raw/b", (4, 8, 8), np.uint16, chunks=(1, 8, 8))[:2] = 7
    page = closed.open_page
    page.volume_path.set_path(tmp_path / "scan.h5")
    page.voxel_um.setText("5")
    page.dataset.setText("raw/b")
    try:
        with pytest.raises(ValueError, match="missing"):
            np.asarray(page.openers()[0]())
        page.allow_missing.setChecked(True)
        assert np.asarray(page.openers()[0]()).max(axis=(1, 2)).tolist() == [7, 7, 0, 0]
    finally:
        page.dataset.setText("")
        page.allow_missing.setChecked(False)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *words: str(tmp_path))
    page.volume_path.folder_button.click()
    assert page.volume_path.path == tmp_path


# The pose


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
            viewer.keymap[_bound(viewer, key)](viewer)
        step = 25 if name.endswith("um") else 2
        assert getattr(controls.pose, name) - before == pytest.approx(sign * step), text
    settle()


def _bound(viewer, key):
    from napari.utils.key_bindings import coerce_keybinding

    return coerce_keybinding(key)


def test_a_nudge_of_the_rotation_goes_around(widget, settle):
    widget.controls.step_deg.setValue(0.5)
    widget.controls.sliders["turn_deg"].setValue(179.9)
    widget.controls.nudge("turn_deg", 1)
    assert widget.controls.pose.turn_deg == pytest.approx(-179.6)
    widget.controls.sliders["tilt_row_deg"].setValue(90)
    widget.controls.nudge("tilt_row_deg", 1)
    assert widget.controls.pose.tilt_row_deg == 90
    settle()


def test_keys_are_free_again_after_closing(widget, viewer):
    assert _bound(viewer, "Shift-Up") in viewer.keymap
    widget.open_page.close_button.click()
    assert _bound(viewer, "Shift-Up") not in viewer.keymap
    assert len(viewer.layers) == 0


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


# The search


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


# Landmarks


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


# Saving


def test_a_manual_pose_is_saved_and_prepare_accepts_it(widget, truth, specimen, qtbot, settle, tmp_path, monkeypatch):
    page = widget.save_page
    page.start_path.set_path(specimen / "truth" / "section.yaml")
    page.load_button.click()
    settle()
    assert distance_um(widget, truth) < 1e-6
    widget.controls.nudge("offset_um", 1)
    page.save_button.click()
    assert "“Pair folder” is empty" in widget.message.text()
    out = tmp_path / "pair"
    page.pair_path.set_path(out)
    with ends(widget, qtbot):
        page.save_button.click()
    assert f"Saved: {out}" in widget.message.text()
    values = yaml.safe_load((out / "pair.yaml").read_text())
    assert values["pose"] == {"from": "manual", "refined": False}
    points = np.array([[900.0, 1000.0], [3300.0, 1500.0]])
    saved = seen_in_volume_um(Section.from_dict(values), points)
    np.testing.assert_allclose(saved, seen_in_volume_um(widget.section, points), atol=1e-6)
    table = tmp_path / "specimens.csv"
    table.write_text(f"specimen,volume,slide,section\nA,{specimen}/volume,{specimen}/slide.ome.tif,pair/pair.yaml\n")
    dataset = prepare_specimens(table, tmp_path / "dataset")
    np.testing.assert_array_equal(load_pair(dataset.path / "pairs" / "A").mask, load_pair(out).mask)
    # It is replaced only after a question.
    from qtpy.QtWidgets import QMessageBox

    written = (out / "pair.yaml").stat().st_mtime_ns
    asked = []
    monkeypatch.setattr(QMessageBox, "question", lambda *a: asked.append(a) or QMessageBox.StandardButton.No)
    page.save_button.click()
    assert len(asked) == 1
    assert (out / "pair.yaml").stat().st_mtime_ns == written


def test_refinement_and_deformation_are_asked_for(widget, truth, qtbot, settle, tmp_path, monkeypatch):
    import tomostain.napari.register.pair_to_save as module

    calls = []

    def register(volume, slide, config, *, hint, folder, progress):
        calls.append((config, hint, folder))
        raise InputError("not now")

    monkeypatch.setattr(module, "register_opened", register)
    widget.set_section(truth, "landmarks")
    page = widget.save_page
    page.refine.setChecked(True)
    page.deform.setChecked(True)
    page.pair_path.set_path(tmp_path / "pair")
    with ends(widget, qtbot):
        page.save_button.click()
    config, hint, folder = calls[0]
    assert config.deform
    assert (hint.refine, hint.accept, hint.source) == (True, True, "landmarks")
    assert folder.path == tmp_path / "pair"
    assert widget.message.text() == "not now"


def test_a_refined_pose_is_shown_and_saved_again(widget, truth, qtbot, settle, tmp_path, monkeypatch):
    from types import SimpleNamespace

    import tomostain.napari.register.pair_to_save as module

    calls = []
    moved = Section(truth.origin_um + 40, truth.row, truth.column, truth.slide_to_section)
    evidence = SimpleNamespace(confidence=0.5, sure=True, describe=lambda: "clear")

    def register(volume, slide, config, *, hint, folder, progress):
        calls.append(hint)
        return SimpleNamespace(section=moved, evidence=evidence, warnings=())

    def use(*arguments, **options):
        raise AssertionError("the pose of the search was written")

    monkeypatch.setattr(module, "register_opened", register)
    monkeypatch.setattr(module, "use_location", use)
    widget._found(SimpleNamespace(section=truth, candidates=(truth,), evidence=evidence), widget.inputs)
    page = widget.save_page
    page.pair_path.set_path(tmp_path / "pair")
    page.refine.setChecked(True)
    with ends(widget, qtbot):
        page.save_button.click()
        # Only the choice at the start counts.
        page.refine.setChecked(False)
    settle()
    assert distance_um(widget, moved) < 1e-6
    with ends(widget, qtbot):
        page.save_button.click()
    assert [(hint.refine, hint.source) for hint in calls] == [(True, "search"), (False, "refined")]
    points = np.array([[900.0, 1000.0], [3300.0, 1500.0], [1800.0, 3400.0]])
    places = [seen_in_volume_um(section, points) for section in (calls[1].start, moved)]
    np.testing.assert_allclose(places[0], places[1], atol=1e-6)


def test_results_of_what_was_closed_are_not_shown(widget, truth, qtbot, monkeypatch):
    from tomostain.register.preview import PosePreview

    monkeypatch.setattr(PosePreview, "snap", lambda self, section: truth)
    with ends(widget, qtbot):
        widget.pose_page.snap_button.click()
        widget.open_page.close_button.click()
    assert widget.inputs is None
    assert len(widget.viewer.layers) == 0
    assert "nothing is open" not in widget.message.text()


def test_a_pose_outside_names_the_field(widget, truth, specimen, tmp_path):
    values = yaml.safe_load((specimen / "truth" / "section.yaml").read_text())
    values["origin_um"] = (truth.origin_um + 90_000 * truth.normal).tolist()
    path = tmp_path / "far.yaml"
    path.write_text(yaml.safe_dump(values))
    widget.save_page.start_path.set_path(path)
    widget.save_page.load_button.click()
    assert widget.message.text().startswith("“Pose file”: the plane of the start pose")


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
    assert _bound(viewer, "Shift-Up") in viewer.keymap

    def work(progress, should_stop):
        while not should_stop():
            pass

    widget.task.start(work, on_result=results.append)
    dock.destroyOnClose()
    assert names(viewer) == ["mine"]
    assert _bound(viewer, "Shift-Up") not in viewer.keymap
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
