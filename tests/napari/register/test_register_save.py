"""The page that loads a pose and saves the pair."""

import numpy as np
import pytest
import yaml

from tests.support.register_widget import distance_um, ends
from tomostain.dataset.pair import load_pair
from tomostain.dataset.section_position import state_volume
from tomostain.errors import InputError
from tomostain.geometry.section import Section
from tomostain.prepare import prepare_specimens
from tomostain.register.preview import seen_in_volume_um

pytest.importorskip("napari")
pytest.importorskip("qtpy")


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


def test_a_pose_outside_names_the_field(widget, truth, specimen, tmp_path):
    values = yaml.safe_load((specimen / "truth" / "section.yaml").read_text())
    values["origin_um"] = (truth.origin_um + 90_000 * truth.normal).tolist()
    path = tmp_path / "far.yaml"
    path.write_text(yaml.safe_dump(values))
    widget.save_page.start_path.set_path(path)
    widget.save_page.load_button.click()
    assert widget.message.text().startswith("“Pose file”: the plane of the start pose")


def test_a_pose_in_a_region_is_shown_and_saved_in_the_whole_volume(widget, truth, qtbot, settle, tmp_path):
    volume, first = widget.inputs.volume, np.array((10, 4, 0))
    moved = Section(truth.origin_um - first * volume.voxel_um, truth.row, truth.column, truth.slide_to_section)
    path = tmp_path / "region.yaml"
    path.write_text(yaml.safe_dump(state_volume(moved, volume.region(tuple(first), volume.shape)).to_dict()))
    page = widget.save_page
    page.start_path.set_path(path)
    page.load_button.click()
    settle()
    assert distance_um(widget, truth) < 1e-6
    page.pair_path.set_path(tmp_path / "pair")
    with ends(widget, qtbot):
        page.save_button.click()
    saved = Section.from_dict(yaml.safe_load((tmp_path / "pair" / "pair.yaml").read_text()))
    points = np.array([[900.0, 1000.0], [3300.0, 1500.0]])
    np.testing.assert_allclose(seen_in_volume_um(saved, points), seen_in_volume_um(truth, points), atol=1e-3)
