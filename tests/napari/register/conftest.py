"""The widget Register with a phantom whose pose is known."""

import pytest

from tomostain.phantom import PhantomConfig, write_specimen
from tomostain.register.hints import read_section

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


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
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
