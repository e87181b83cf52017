"""The manifest, as the menu of napari uses it: every widget opens, and foreign files stay with napari."""

import importlib
from pathlib import Path

import pytest

npe2 = pytest.importorskip("npe2")
pytest.importorskip("napari")
pytest.importorskip("qtpy")


@pytest.fixture
def manifest():
    import tomostain.napari

    return npe2.PluginManifest.from_file(Path(tomostain.napari.__file__).with_name("napari.yaml"))


def test_every_command_names_a_function_or_class_that_exists(manifest):
    assert manifest.name == "tomostain"
    for command in manifest.contributions.commands:
        module, _, name = command.python_name.partition(":")
        assert callable(getattr(importlib.import_module(module), name))
    patterns = {pattern for reader in manifest.contributions.readers for pattern in reader.filename_patterns}
    assert not patterns & {"*", "*.tif", "*.tiff", "*.png", "*.jpg"}


def test_every_widget_opens_with_the_viewer_that_napari_gives_it(manifest, viewer):
    manager = npe2.PluginManager.instance()
    if "tomostain" not in manager:
        manager.register(manifest)
    names = [each.display_name for each in manifest.contributions.widgets]
    assert {"Register", "Mask", "Normalise", "Stain", "Compare", "Measure"} <= set(names)
    for name in names:
        _, widget = viewer.window.add_plugin_dock_widget("tomostain", name)
        assert widget.viewer is viewer
