"""Widgets that are closed with the X of their dock."""

import gc
import threading
import weakref

import pytest

pytest.importorskip("napari")
pytest.importorskip("qtpy")


@pytest.fixture(scope="module")
def dock(qapp):
    """Return a function that puts a widget in a dock, as the main window of napari does."""
    from qtpy.QtWidgets import QDockWidget, QMainWindow

    window = QMainWindow()

    def put(widget):
        made = QDockWidget("dock", window)
        made.setWidget(widget)
        return made

    yield put
    window.deleteLater()


@pytest.fixture
def close(qapp):
    """Return a function that does what napari does when the X is clicked."""
    from qtpy.QtCore import QCoreApplication, QEvent

    def click(dock):
        dock.widget().setParent(None)
        dock.deleteLater()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)

    return click


def test_the_function_is_called_once_and_the_widget_is_deleted(dock, close):
    from qtpy.QtWidgets import QWidget

    from tomostain.napari.closing import when_closed

    widget, calls = QWidget(), []
    deleted = []
    widget.destroyed.connect(lambda *_: deleted.append(True))
    when_closed(widget, lambda: calls.append(widget.parent()))
    docked = dock(widget)
    docked.setFloating(True)
    docked.setFloating(False)
    assert calls == []
    close(docked)
    assert calls == [None]
    assert deleted == [True]


def test_a_task_is_stopped_and_delivers_nothing(dock, close, qtbot):
    from qtpy.QtWidgets import QVBoxLayout, QWidget

    from tomostain.napari.closing import when_closed
    from tomostain.napari.tasks import TaskWidget

    widget, task = QWidget(), TaskWidget()
    QVBoxLayout(widget).addWidget(task)
    when_closed(widget, lambda: states.append(task.is_running))
    stopped, results, states = threading.Event(), [], []

    def work(progress, should_stop):
        while not should_stop():
            stopped.wait(0.01)
        stopped.set()
        return 1

    docked = dock(widget)
    task.start(work, on_result=results.append, on_error=results.append)
    close(docked)
    assert states == [False]
    assert stopped.wait(120)
    qtbot.wait(50)
    assert results == []


def test_previews_are_closed_with_their_widget_and_do_not_keep_it(qtbot):
    from qtpy.QtWidgets import QWidget

    from tomostain.napari.closing import close_previews
    from tomostain.napari.tasks import LatestOnly

    class Owner(QWidget):
        def __init__(self):
            super().__init__()
            self.preview = LatestOnly(self.work, self.show_result)
            close_previews(self, self.preview)

        def work(self, request):
            return request

        def show_result(self, result):
            raise AssertionError("a closed widget got a result")

    owner = Owner()
    preview = owner.preview
    owner.deleteLater()
    qtbot.waitUntil(lambda: preview._is_closed, timeout=120_000)
    preview.request(1)
    assert not preview.is_running
    other = Owner()
    reference = weakref.ref(other)
    del other
    gc.collect()
    assert reference() is None
