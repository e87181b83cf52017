"""Widgets that are closed with the X of their dock.

napari only takes such a widget out of its dock. It would live on: with its task, its layers and its keys.
"""

import weakref
from collections.abc import Callable

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QWidget

from tomostain.napari.main_thread import when_destroyed
from tomostain.napari.tasks import LatestOnly, TaskWidget


class _DockWatch(QObject):
    """Event filter of a widget: notices when the widget is taken out of its dock.

    Parameters
    ----------
    widget : QWidget
    function : callable
    """

    def __init__(self, widget: QWidget, function: Callable[[], object]) -> None:
        super().__init__(widget)
        self._function: Callable[[], object] | None = function
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Close the widget when it loses its parent."""
        if event is not None and event.type() == QEvent.Type.ParentChange and isinstance(watched, QWidget):
            function = self._function
            if watched.parent() is None and function is not None:
                self._function = None
                for task in watched.findChildren(TaskWidget):
                    task.drop()
                try:
                    function()
                finally:
                    watched.deleteLater()
        return False


def when_closed(widget: QWidget, function: Callable[[], object]) -> None:
    """Call a function when the user closes the dock of a widget with its X, and delete the widget after that.

    The tasks in the widget are asked to stop before the call, and deliver nothing more. The function removes what the
    widget added to the viewer. It is not called when the viewer is closed.

    Parameters
    ----------
    widget : QWidget
        The widget that napari puts in a dock.
    function : callable
        May use the widget.
    """
    _DockWatch(widget, function)


def close_previews(widget: QWidget, *previews: LatestOnly) -> None:
    """Close previews when their widget is destroyed. Their references do not keep the widget alive.

    Parameters
    ----------
    widget : QWidget
    *previews : LatestOnly
    """
    for reference in [weakref.ref(each) for each in previews]:

        def close(reference: "weakref.ref[LatestOnly]" = reference) -> None:
            preview = reference()
            if preview is not None:
                preview.close()

        when_destroyed(widget, close)
