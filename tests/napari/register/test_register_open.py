"""The page that chooses volume and slide, and the layers that it shows."""

import numpy as np
import pytest

from tests.support.register_widget import ends, names

pytest.importorskip("napari")
pytest.importorskip("qtpy")


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
