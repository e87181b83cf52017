"""The Stain widget: every control, the preview, the volume with cancel and resume."""

import numpy as np
import pytest

from tests.support.toys import grey_values, toy_model
from tomostain.errors import InputError
from tomostain.io import open_stained, write_stack

pytest.importorskip("napari")
pytest.importorskip("qtpy")

SHAPE = (12, 24, 28)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("stain")
    toy_model(made / "model")
    write_stack(made / "scan", grey_values(SHAPE), voxel_um=(5.0, 5.0, 5.0))
    return made


@pytest.fixture
def widget(viewer, qtbot, folder):
    from tomostain.napari.readers import read_path
    from tomostain.napari.stain import StainWidget

    for data, options, kind in read_path(str(folder / "scan")):
        viewer._add_layer_from_data(data, options, kind)
    made = StainWidget(viewer)
    qtbot.addWidget(made)
    made.controls.model.setCurrentText("other model folder …")
    made.controls.folder.set_path(folder / "model")
    made.controls.intensity.setCurrentText("as given below")
    made.controls.background.setValue(100)
    made.controls.bone.setValue(900)
    return made


def preview(widget, qtbot):
    widget.message.clear_text()
    widget.preview_button.click()
    qtbot.waitUntil(lambda: "Preview in" in widget.message.text(), timeout=120_000)


def test_the_defaults_are_those_of_the_verb(viewer, qtbot):
    from tomostain.cli.stain import StainVolumeOptions
    from tomostain.io import list_models
    from tomostain.napari.fields import option_help
    from tomostain.napari.stain import StainWidget
    from tomostain.stain import StainConfig, StainRequest

    widget = StainWidget(viewer)
    qtbot.addWidget(widget)
    controls = widget.controls
    names = [controls.model.itemText(i) for i in range(controls.model.count())]
    assert names[:-1] == [model.name for model in list_models()]
    assert controls.voxel.toolTip() == option_help(StainVolumeOptions, "voxel_um")
    with pytest.raises(InputError, match="“µCT layer”: no layer"):
        controls.settings()
    viewer.add_image(np.zeros((4, 4, 4)), units=("µm",) * 3)
    request = controls.settings().request
    usual = StainRequest("m", "v")
    assert request.config == StainConfig()
    for name in ("intensity", "device", "resample", "allow_voxel_mismatch", "noise_seed"):
        assert getattr(request, name) == getattr(usual, name), name


def test_every_control_reaches_the_request(widget, viewer, folder):
    controls = widget.controls
    controls.statistics.setCurrentText("volume")
    controls.device.setCurrentText("cpu")
    controls.gaussian.setValue(1.5)
    controls.seed.setValue(3)
    controls.resample.setChecked(True)
    controls.voxel.setText("4,5,6")
    settings = controls.settings()
    request = settings.request
    assert request.model == folder / "model"
    assert (request.config.statistics, request.config.gaussian_sigma) == ("volume", 1.5)
    assert (request.device, request.noise_seed, request.resample) == ("cpu", 3, True)
    assert (request.intensity.background, request.intensity.bone) == (100, 900)
    assert settings.volume.open().voxel_um == (4, 5, 6)
    controls.resample.setChecked(False)
    controls.mismatch.setChecked(True)
    assert controls.settings().request.allow_voxel_mismatch
    for text, value in (("normalised already", "normalised"), ("full range of the type", "range")):
        controls.intensity.setCurrentText(text)
        assert controls.settings().request.intensity == value
        assert not controls.bone.isEnabled()
    controls.voxel.setText("five")
    with pytest.raises(InputError, match="“Voxel size” five"):
        controls.settings()
    controls.folder.set_path(folder / "none")
    with pytest.raises(InputError, match="no such model folder"):
        controls.settings()
    controls.folder.set_path("")
    widget.preview_button.click()
    assert widget.message.text().startswith("“Model folder” is empty")


def test_a_preview_of_a_slice_follows_the_slider(widget, viewer, qtbot):
    viewer.dims.set_current_step(0, 5)
    preview(widget, qtbot)
    layer = viewer.layers["stain preview"]
    assert layer.data.shape == (1, 24, 28, 3)
    assert layer.translate[0] == 25
    widget.live.setChecked(True)
    viewer.dims.set_current_step(0, 8)
    qtbot.waitUntil(lambda: layer.translate[0] == 40, timeout=120_000)
    assert tuple(viewer.layers["scan"].translate) == (0, 0, 0)
    viewer.dims.order = (1, 0, 2)
    qtbot.waitUntil(lambda: layer.data.shape == (12, 1, 28, 3), timeout=120_000)
    before = layer.data.copy()
    widget.controls.bone.setValue(700)
    qtbot.waitUntil(lambda: not np.array_equal(layer.data, before), timeout=120_000)
    assert len(viewer.layers) == 2


def test_the_estimated_grey_values_are_shown(viewer, qtbot, folder):
    from tomostain.napari.stain import StainWidget

    grey = np.full((3, 64, 64), 1000, np.float32) + np.random.default_rng(0).normal(0, 10, (3, 64, 64))
    grey[:, 16:48, 16:48] += 4000
    viewer.add_image(grey.astype(np.uint16), scale=(5,) * 3, units=("µm",) * 3)
    widget = StainWidget(viewer)
    qtbot.addWidget(widget)
    widget.controls.model.setCurrentText("other model folder …")
    widget.controls.folder.set_path(folder / "model")
    preview(widget, qtbot)
    assert widget.controls.background.value() == pytest.approx(1000, abs=50)
    assert widget.controls.bone.value() == pytest.approx(5000, abs=50)
    assert not widget.controls.bone.isEnabled()


def test_an_oblique_plane_is_shown_next_to_the_volume(widget, viewer, qtbot):
    assert not widget.offset.isEnabled()
    widget.kind.setCurrentText("oblique plane")
    widget.tilt_row.number.setValue(30)
    widget.tilt_column.bar.setValue(100)
    assert widget.tilt_column.value == 10
    preview(widget, qtbot)
    ct, stain = viewer.layers["oblique plane, µCT"], viewer.layers["oblique plane, stain"]
    assert ct.data.shape == stain.data.shape[:2]
    assert 28 * 5 < ct.translate[1] < stain.translate[1]
    first = ct.data.copy()
    widget.live.setChecked(True)
    widget.offset.set_value(20)
    qtbot.waitUntil(lambda: not np.array_equal(viewer.layers["oblique plane, µCT"].data, first), timeout=120_000)
    widget.offset.set_value(1e6)
    assert widget.offset.value == pytest.approx(np.linalg.norm([60, 120, 140]) / 2, abs=10)
    qtbot.waitUntil(lambda: "misses the volume" in widget.message.text(), timeout=120_000)


def test_the_model_stays_loaded(widget, qtbot, monkeypatch):
    from tomostain.stain import StainRequest

    loads, load = [], StainRequest.load_model
    monkeypatch.setattr(
        StainRequest, "load_model", lambda self, *a, **k: loads.append(self.model) or load(self, *a, **k)
    )
    preview(widget, qtbot)
    preview(widget, qtbot)
    widget.controls.bone.setValue(800)
    preview(widget, qtbot)
    assert sum(not hasattr(model, "network") for model in loads) == 1  # the others are given the loaded one


def test_a_volume_is_stained_with_its_uncertainty(widget, viewer, qtbot, folder, tmp_path, monkeypatch):
    from tomostain.napari.layers import layers_of_kind

    widget.stain_button.click()
    assert widget.message.text() == "“Stained volume” is empty: choose a path"
    toy_model(folder / "fold1", seed=1)
    widget.out.set_path(tmp_path / "a.ome.zarr")
    widget.uncertainty.set_path(tmp_path / "u.ome.zarr")
    widget.ensemble.setText(str(folder / "fold1"))
    with qtbot.waitSignal(widget.task.finished, timeout=120_000):
        widget.stain_button.click()
        assert not widget.stain_button.isEnabled()
    assert "Stained:" in widget.message.text(), widget.message.text()
    assert [layer.name for layer in layers_of_kind(viewer.layers, "stained", "uncertainty")] == ["a", "u"]
    assert open_stained(tmp_path / "a.ome.zarr").shape == SHAPE
    monkeypatch.setattr("tomostain.napari.stain.confirm_overwrite", lambda parent, path: False)
    widget.stain_button.click()
    assert not widget.task.is_running


def test_a_stopped_volume_is_continued(widget, viewer, qtbot, tmp_path, monkeypatch):
    from tomostain.io.ome_zarr.plan import unfinished
    from tomostain.stain import stain

    viewer.add_image(grey_values((40, 24, 28)), name="long", scale=(5,) * 3, units=("µm",) * 3)
    widget.controls.volume.choose(viewer.layers["long"])
    out = tmp_path / "a.ome.zarr"
    widget.out.set_path(out)

    def cancelled(request, *, progress, should_stop):
        def listener(label, done, total):
            progress(label, done, total)
            if done:
                widget.task._run.stop.set()

        return stain(request, progress=listener, should_stop=should_stop)

    with monkeypatch.context() as patch:
        patch.setattr("tomostain.napari.stain.stain", cancelled)
        with qtbot.waitSignal(widget.task.finished, timeout=120_000):
            widget.stain_button.click()
    assert widget.message.text() == "Stopped. Run it again to continue."
    assert unfinished(out)
    with qtbot.waitSignal(widget.task.finished, timeout=120_000):
        widget.stain_button.click()
    assert "Stained:" in widget.message.text(), widget.message.text()
    assert open_stained(out).shape == (40, 24, 28)


def test_errors_name_the_controls_and_warnings_are_shown(widget, qtbot, tmp_path):
    widget.controls.voxel.setText("9")
    widget.preview_button.click()
    qtbot.waitUntil(lambda: "trained at 5 µm" in widget.message.text(), timeout=120_000)
    assert "“Other voxel size”" in widget.message.text()
    assert "--" not in widget.message.text()
    widget.out.set_path(tmp_path / "a.ome.zarr")
    with qtbot.waitSignal(widget.task.finished, timeout=120_000):
        widget.stain_button.click()
    assert "trained at 5 µm" in widget.message.text()


def test_small_grey_values_are_kept(widget):
    from tomostain.imaging.intensity import IntensityReference

    controls = widget.controls
    controls.intensity.setCurrentText("estimate from the volume")
    controls.show_intensity(IntensityReference(background=0.0012, bone=0.25))
    assert (controls.background.value(), controls.bone.value()) == (0.0012, 0.25)
    assert controls.background.text() == "0.0012"
    controls.bone.setValue(40000)
    assert controls.bone.text() == "40000"


def test_the_built_in_model_is_chosen_and_a_slice_is_refused_in_3d(viewer, qtbot, folder):
    from tomostain.napari.stain import StainWidget

    widget = StainWidget(viewer)
    qtbot.addWidget(widget)
    assert widget.controls.model_name == "builtin:phantom-tb"
    viewer.dims.ndisplay = 3
    widget.preview_button.click()
    assert "in 2D only" in widget.message.text()
    assert not widget.latest.is_running


def test_complete_and_stopped_outputs_are_not_replaced_together(widget, viewer, tmp_path, monkeypatch):
    widget.out.set_path(tmp_path / "a.ome.zarr")
    widget.uncertainty.set_path(tmp_path / "u.ome.zarr")
    for name in "au":
        (tmp_path / f"{name}.ome.zarr").mkdir()
    monkeypatch.setattr("tomostain.napari.stain.unfinished", lambda path: path.name.startswith("a"))
    widget.stain_button.click()
    assert "is not finished: choose another path" in widget.message.text()
    assert not widget.task.is_running


def test_an_oblique_plane_is_that_of_register():
    from tomostain.geometry.plane_pose import PlanePose
    from tomostain.napari.stain_preview import pose_cut

    size = (100.0, 200.0, 300.0)
    for tilt in (44.0, 46.0):
        pose = PlanePose("z", 10.0, tilt, offset_um=5.0)
        cut = pose_cut(pose, size, 5.0)
        down, right = cut.places_um[1, 0] - cut.places_um[0, 0], cut.places_um[0, 1] - cut.places_um[0, 0]
        np.testing.assert_allclose(np.stack((down, right), axis=1) / 5, pose.rotation[:, :2], atol=1e-9)
    with pytest.raises(InputError, match="misses the volume"):
        pose_cut(PlanePose("z", 0, 0, offset_um=1000.0), size, 5.0)


def test_layers_in_mm_are_placed_in_um(widget, viewer):
    from tomostain.napari.stain import _unit_um

    layer = viewer.add_image(grey_values((12, 24, 28)), scale=(0.005,) * 3, units=("mm",) * 3)
    assert _unit_um(layer) == pytest.approx([1000] * 3)
    widget._scale_offset(layer)
    low, high = widget.offset.number.minimum(), widget.offset.number.maximum()
    assert high == -low == pytest.approx(np.linalg.norm([60, 120, 140]) / 2, abs=10)
