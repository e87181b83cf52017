"""The Compare widget: every view, sections of pairs, values under the pointer."""

import numpy as np
import pytest

from tomostain.dataset.pair import Pair, save_pair
from tomostain.io import create_stained, write_stack

pytest.importorskip("napari")
pytest.importorskip("qtpy")

SHAPE = (6, 24, 28)
RGB = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
GREY = np.random.default_rng(1).integers(0, 999, SHAPE, dtype=np.uint16)


@pytest.fixture
def widget(viewer, qtbot, tmp_path):
    from tomostain.napari.compare import CompareWidget
    from tomostain.napari.readers import read_path

    write_stack(tmp_path / "scan", GREY, voxel_um=(5.0,) * 3)
    writer = create_stained(tmp_path / "a.ome.zarr", SHAPE, 5.0, provenance={})
    for start, stop in writer.z_chunks():
        writer.write(start, RGB[start:stop])
    writer.finish()
    section = {"origin_um": [10.0, 0, 0], "row": [0, 1, 0], "column": [0, 0, 1]}
    pair = Pair("rat", GREY[2] + 10000, RGB[2] // 2, np.ones(SHAPE[1:], bool), 5.0, section=section)
    save_pair(pair, tmp_path / "pair")
    for name in ("scan", "a.ome.zarr", "pair"):
        for data, options, kind in read_path(str(tmp_path / name)):
            viewer._add_layer_from_data(data, options, kind)
    made = CompareWidget(viewer)
    qtbot.addWidget(made)
    made.histology.choose(None)
    made.ct.choose(viewer.layers["scan"])
    made.stained.choose(viewer.layers["a"])
    return made


def visible(viewer):
    return [layer.name for layer in viewer.layers if layer.visible]


def test_volumes_side_by_side_and_back(widget, viewer):
    before = visible(viewer)
    widget.start_button.click()
    assert visible(viewer) == ["scan", "a"]
    assert viewer.grid.enabled
    assert viewer.grid.shape == (1, 2)
    widget.end_button.click()
    assert set(visible(viewer)) == set(before)
    assert not viewer.grid.enabled


def test_an_overlay_with_opacity(widget, viewer):
    widget.start_button.click()
    widget.view.setCurrentText("overlay")
    assert not viewer.grid.enabled
    assert viewer.layers["a"].opacity == pytest.approx(0.5)
    widget.opacity.set_value(20)
    assert viewer.layers["a"].opacity == pytest.approx(0.2)
    assert viewer.layers["scan"].opacity == 1
    widget.end_button.click()
    assert viewer.layers["a"].opacity == 1


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1)])
def test_a_swipe_shows_the_upper_layer_right_of_the_line(widget, viewer, order):
    viewer.dims.order = (*range(viewer.dims.ndim - 3), *order)
    widget.start_button.click()
    widget.view.setCurrentText("swipe")
    assert widget.swipe.isEnabled()
    widget.swipe.set_value(25)
    swipe = viewer.layers["swipe"]
    assert visible(viewer) == ["scan", "swipe"]
    axis = order[-1]
    start = round(0.25 * SHAPE[axis])
    assert swipe.translate[axis] == start * 5
    np.testing.assert_array_equal(np.asarray(swipe.data[3]), np.take(RGB, range(start, SHAPE[axis]), axis)[3])
    widget.view.setCurrentText("side by side")
    assert "swipe" not in viewer.layers
    assert viewer.grid.enabled


def test_the_section_of_a_pair_is_cut_from_the_stained_volume(widget, viewer, qtbot):
    widget.histology.choose(viewer.layers["rat histology"])
    with qtbot.waitSignal(widget.task.finished, timeout=120_000):
        widget.start_button.click()
    assert visible(viewer) == ["section, µCT", "section, stain", "section, histology"]
    assert viewer.grid.shape == (1, 3)
    np.testing.assert_allclose(viewer.layers["section, stain"].data.astype(int), RGB[2].astype(int), atol=1)
    np.testing.assert_array_equal(viewer.layers["section, histology"].data, RGB[2] // 2)
    widget.view.setCurrentText("swipe")
    widget.swipe.set_value(50)
    assert viewer.layers["swipe"].data.shape == (24, 14, 3)
    assert visible(viewer) == ["section, stain", "swipe"]
    own = viewer.add_image(RGB[2], name="swipe")
    widget.end_button.click()
    assert own in viewer.layers
    assert not [layer.name for layer in viewer.layers if layer.name.startswith("section")]


def test_values_under_the_pointer(widget, viewer):
    widget.start_button.click()
    viewer.cursor.position = (10.0, 15.0, 20.0)
    for callback in viewer.mouse_move_callbacks:
        callback(viewer, None)
    red, green, blue = RGB[2, 3, 4]
    assert f"scan: {GREY[2, 3, 4]}" in widget.values.text()
    assert f"a: {red}, {green}, {blue}" in widget.values.text()
    assert "at 10, 15, 20 µm" in widget.values.text()


def test_what_cannot_be_compared_is_said(widget, viewer, qtbot, tmp_path):
    from tomostain.napari.layers import LayerSource, placed

    widget.stained.choose(None)
    widget.start_button.click()
    assert "choose a µCT and a stained layer" in widget.message.text()
    source = LayerSource("histology", None, (5.0, 5.0))
    picture = viewer.add_image(RGB[2], **placed(source, "picture", rgb=True))
    widget.histology.choose(picture)
    assert widget.histology.layer is not picture  # it was not read from the folder of a pair
    save_pair(Pair("b", GREY[2], RGB[2], np.ones(SHAPE[1:], bool), 5.0), tmp_path / "b")
    source = LayerSource("histology", tmp_path / "b", (5.0, 5.0))
    widget.histology.choose(viewer.add_image(RGB[2], **placed(source, "b", rgb=True)))
    widget.stained.choose(viewer.layers["a"])
    with qtbot.waitSignal(widget.task.finished, timeout=120_000):
        widget.start_button.click()
    assert "does not state where its section lies" in widget.message.text()
