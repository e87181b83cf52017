"""Connections to events of napari, and delayed calls."""

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QWidget

from tomostain.napari.main_thread import when_destroyed


def follow(widget: QWidget, emitter: Any, slot: Callable[..., object]) -> None:
    """Connect a method of a widget to an event of napari, until the widget is closed."""

    def call(event: object = None) -> None:
        slot(event)

    emitter.connect(call)
    when_destroyed(widget, lambda: emitter.disconnect(call))


def later(milliseconds: int, action: Callable[[], object], parent: QWidget) -> QTimer:
    """Return a timer that calls a function once, some time after its last ``start()``."""
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(lambda: action())
    return timer
