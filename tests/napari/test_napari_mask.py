"""The widget Mask: painted pixels are written, and prepare and training leave them out."""

import numpy as np
import pytest

from tomostain.dataset.exclusion import load_exclude
from tomostain.dataset.pair import Pair, load_pair, save_pair

pytest.importorskip("napari")
pytest.importorskip("qtpy")


@pytest.fixture(scope="module")
def viewer(shared_viewer, empty):
    """Return the viewer for all tests of this module, with one widget."""
    empty()
    yield shared_viewer
    empty()


@pytest.fixture(scope="module")
def made(viewer):
    from tomostain.napari.mask import MaskWidget

    widget = MaskWidget(viewer)
    yield widget
    widget.deleteLater()


@pytest.fixture
def dataset(tmp_path):
    """Return a folder with two pairs, as a dataset has it."""
    mask = np.zeros((30, 40), bool)
    mask[5:25, 5:35] = True
    for name in ("A", "B"):
        ct = np.random.default_rng(0).integers(10000, 30000, (30, 40)).astype(np.uint16)
        save_pair(Pair(name, ct, np.full((30, 40, 3), 180, np.uint8), mask, 5.0), tmp_path / "pairs" / name)
    return tmp_path


@pytest.fixture
def widget(made, viewer, dataset):
    """Return the widget with the dataset open."""
    made.close_pair()
    viewer.layers.clear()
    made.message.clear_text()
    made.path.set_path(dataset)
    made.open_button.click()
    yield made
    made.close_pair()


@pytest.fixture
def answer(monkeypatch):
    """Return a function that sets the answer to the next questions, and the list of questions."""
    from qtpy.QtWidgets import QMessageBox

    asked = []

    def set_answer(name):
        reply = getattr(QMessageBox.StandardButton, name)
        monkeypatch.setattr(QMessageBox, "question", lambda *words: asked.append(words[2]) or reply)
        return asked

    return set_answer


def paint(widget, rows):
    layer = widget.pair.excluded
    layer.data_setitem(np.nonzero(np.arange(30)[:, None] * np.ones(40) < rows), 1)


def test_the_hull_is_shown_and_what_is_painted_is_saved(widget, viewer, dataset):
    assert [layer.name for layer in viewer.layers] == ["µCT of A", "Histology of A", "Mask of A", "Excluded of A"]
    np.testing.assert_array_equal(widget.pair.hull.data, load_pair(dataset / "pairs/A").mask)
    assert not widget.pair.hull.editable
    assert tuple(widget.pair.hull.scale) == (5, 5)
    paint(widget, 10)
    assert "25.0% of the mask is excluded, not saved yet" in widget.share.text()
    widget.save_button.click()
    folder = dataset / "pairs/A"
    assert f"Saved: {folder / 'exclude.tif'}" in widget.message.text()
    assert "not saved" not in widget.share.text()
    exclude = load_exclude(folder, (30, 40))
    np.testing.assert_array_equal(exclude, np.arange(30)[:, None] * np.ones(40) < 10)
    np.testing.assert_array_equal(load_pair(folder).mask, widget.pair.mask & ~exclude)


def test_a_saved_exclusion_is_shown_again_and_replaced_after_a_question(widget, dataset, answer):
    paint(widget, 10)
    widget.save_button.click()
    widget.close_pair()
    widget.open_button.click()
    assert widget.pair.drawn.sum() == 10 * 40
    paint(widget, 12)
    asked = answer("No")
    widget.save_button.click()
    assert "Replace" in asked[0]
    assert load_exclude(dataset / "pairs/A", (30, 40)).sum() == 10 * 40
    answer("Yes")
    widget.save_button.click()
    assert load_exclude(dataset / "pairs/A", (30, 40)).sum() == 12 * 40


def test_the_tools(widget, viewer):
    layer = widget.pair.excluded
    for text, mode in (("Polygon", "polygon"), ("Eraser", "erase"), ("Move", "pan_zoom"), ("Brush", "paint")):
        viewer.layers.selection.active = widget.pair.ct
        widget.modes[text].click()
        assert layer.mode == mode
        assert viewer.layers.selection.active is layer
    widget.brush.setValue(7)
    assert layer.brush_size == 7
    layer.paint((15, 20), 1)
    assert widget.pair.drawn.any()
    widget.undo_button.click()
    assert not widget.pair.drawn.any()
    paint(widget, 3)
    widget.clear_button.click()
    assert not widget.pair.drawn.any()
    assert not widget.pair.is_changed
    for row, seen in enumerate([(False, True), (True, False), (True, True)]):
        widget.shown.setCurrentIndex(row)
        assert (widget.pair.ct.visible, widget.pair.histology.visible) == seen
    widget.shown.setCurrentIndex(0)


def test_another_pair_is_chosen_and_paint_is_not_lost_silently(widget, answer):
    assert [widget.pairs.itemText(i) for i in range(2)] == ["A", "B"]
    paint(widget, 10)
    asked = answer("No")
    widget.pairs.activated.emit(1)
    assert "not saved" in asked[0]
    assert widget.pair.folder.name == widget.pairs.currentText() == "A"
    answer("Yes")
    widget.pairs.activated.emit(1)
    assert widget.pair.folder.name == widget.pairs.currentText() == "B"
    assert not widget.pair.drawn.any()


def test_a_single_pair_is_opened_and_the_table_is_named(widget, dataset, viewer, tmp_path):
    (tmp_path / "pairs/A").rename(tmp_path / "alone")
    widget.close_button.click()
    assert len(viewer.layers) == 0
    assert not widget.save_button.isEnabled()
    other = viewer.add_image(np.zeros((4, 4)))
    widget.path.set_path(tmp_path / "alone")
    widget.open_button.click()
    assert not other.visible
    paint(widget, 2)
    widget.save_button.click()
    assert "column “exclude”" in widget.message.text()
    widget.close_button.click()
    assert other.visible


def test_close_and_open_keep_unsaved_paint_unless_it_is_discarded(widget, answer, tmp_path):
    paint(widget, 10)
    asked = answer("No")
    widget.close_button.click()
    assert "not saved" in asked[0]
    assert widget.pair.drawn.sum() == 10 * 40
    # Neither a folder without pairs nor a refused one changes the list.
    (tmp_path / "empty").mkdir()
    widget.path.set_path(tmp_path / "empty")
    widget.open_button.click()
    assert "contains no pair" in widget.message.text()
    widget.path.set_path(tmp_path / "pairs/B")
    widget.open_button.click()
    assert widget.pair.folder.name == widget.pairs.currentText() == "A"
    answer("Yes")
    widget.pairs.activated.emit(1)
    assert widget.pair.folder == tmp_path / "pairs/B"
    paint(widget, 10)
    widget.close_button.click()
    assert widget.pair is None


def _close_dock(viewer, dataset):
    """Paint on a pair of a widget in a dock, and close the dock."""
    from qtpy.QtCore import QCoreApplication, QEvent

    from tomostain.napari.mask import MaskWidget

    viewer.layers.clear()
    other = viewer.add_image(np.zeros((4, 4)), name="mine")
    widget = MaskWidget(viewer)
    dock = viewer.window.add_dock_widget(widget, name="Mask")
    widget.path.set_path(dataset)
    widget.open_button.click()
    assert not other.visible
    yield widget
    dock.destroyOnClose()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    yield other.visible


def test_closing_the_dock_offers_to_save(made, viewer, dataset, answer, monkeypatch):
    import tomostain.napari.mask as module

    errors = []
    monkeypatch.setattr(module, "show_error", errors.append)
    made.close_pair()
    for reply, rows, kept in (("No", 10, ["mine"]), ("Yes", 30, ["mine", "Excluded of A"]), ("Yes", 10, ["mine"])):
        steps = _close_dock(viewer, dataset)
        paint(next(steps), rows)
        asked = answer(reply)
        assert next(steps)
        assert asked[-1] == "The exclusion of A is not saved. Save it?"
        assert [layer.name for layer in viewer.layers] == kept
        saved = load_exclude(dataset / "pairs/A", (30, 40))
        assert (saved is None) == (reply == "No" or rows == 30)
    assert len(asked) == 3
    assert saved.sum() == 10 * 40
    assert "removes the whole mask" in errors[0]
    assert len(errors) == 1


def test_mistakes_are_stated(widget, tmp_path):
    paint(widget, 30)
    widget.save_button.click()
    assert "removes the whole mask" in widget.message.text()
    widget.clear_button.click()
    (tmp_path / "empty").mkdir()
    widget.path.set_path(tmp_path / "empty")
    widget.open_button.click()
    assert "contains no pair" in widget.message.text()
    widget.path.set_path(None)
    widget.open_button.click()
    assert "“Pair or dataset” is empty" in widget.message.text()
    widget.close_pair()
    widget.attempt(widget.save)
    assert "no pair is open" in widget.message.text()
