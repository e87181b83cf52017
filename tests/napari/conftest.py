"""A viewer for the tests of the plugin; they are skipped, with a reason, where napari, Qt or a display is missing."""

import gc
import os
from importlib.util import find_spec
from pathlib import Path

import pytest


def reason_to_skip():
    """Return why no window can be opened; "" if one can."""
    missing = [name for name in ("napari", "qtpy", "pytestqt") if find_spec(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed; pip install 'tomostain[dev]'"
    if os.name == "posix" and os.uname().sysname == "Linux" and not os.environ.get("DISPLAY"):
        return "no display; install Xvfb and pytest-xvfb, or set DISPLAY"
    try:
        from qtpy import QtWidgets
    except Exception as error:  # no binding of Qt, or one of its libraries is missing
        return f"Qt cannot be loaded: {error}"
    return "" if QtWidgets.QWidget else "Qt has no widgets"


def pytest_collection_modifyitems(items):
    """Skip the tests of this folder if no window can be opened."""
    ours = [item for item in items if Path(__file__).parent in item.path.parents]
    reason = reason_to_skip() if ours else ""
    for item in ours if reason else ():
        item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def _own_settings(tmp_path_factory):
    """Settings of napari in a temporary file, so that those of the user are neither read nor written."""
    os.environ["NAPARI_CONFIG"] = str(tmp_path_factory.mktemp("napari") / "settings.yaml")


@pytest.fixture(scope="session")
def shared_viewer(qapp):
    """Return the only napari viewer of the process, which is not shown: a new one takes seconds."""
    import napari

    made = napari.Viewer(show=False)
    yield made
    made.close()


@pytest.fixture(scope="session")
def empty(shared_viewer):
    """Return a function that makes the viewer as it was at first."""

    def clear():
        shared_viewer.dims.ndisplay = 2
        shared_viewer.grid.enabled = False
        shared_viewer.layers.clear()
        shared_viewer.dims.order = tuple(range(shared_viewer.dims.ndim))
        shared_viewer.window.remove_dock_widget("all")

    return clear


@pytest.fixture
def viewer(shared_viewer, empty, qtbot):
    """Return the viewer without layers."""
    empty()
    yield shared_viewer
    empty()


@pytest.fixture(autouse=True)
def _cheap_collections():
    """Leave what exists out of garbage collections: napari collects whenever a layer is removed."""
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_dialogs(monkeypatch):
    """Fail instead of waiting for a person at a dialog; a test that expects one replaces the function."""
    if reason_to_skip():
        return
    from qtpy.QtWidgets import QFileDialog, QMessageBox

    def unexpected(*arguments, **options):
        raise AssertionError(f"an unexpected dialog opened: {arguments}")

    for name in ("getExistingDirectory", "getOpenFileName", "getSaveFileName"):
        monkeypatch.setattr(QFileDialog, name, unexpected)
    monkeypatch.setattr(QMessageBox, "question", unexpected)
