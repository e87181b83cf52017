"""The parts that the widgets are built from: a form with tooltips, paths, layers, messages.

Defaults and help texts are those of the options of the command line. They are read from the verbs.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from tomostain.errors import InputError, InterruptedRunError
from tomostain.napari.layer_box import LayerBox
from tomostain.napari.option_texts import as_labels, option_default, option_help
from tomostain.napari.path_field import PathField, confirm_overwrite
from tomostain.napari.signals import follow, later
from tomostain.napari.slider import Slider
from tomostain.napari.tasks import STARTS_OVER, TaskWidget

if TYPE_CHECKING:
    from napari import Viewer

__all__ = [
    "LayerBox",
    "Message",
    "PathField",
    "Slider",
    "ToolWidget",
    "as_labels",
    "confirm_overwrite",
    "follow",
    "later",
    "option_default",
    "option_help",
]

Level = Literal["info", "warning", "error"]
_COLOURS = {"info": "#3d8b37", "warning": "#c77f00", "error": "#c03a3a"}


class Message(QLabel):
    """Text below the controls: a result, a warning or an error. Empty and hidden at first."""

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.clear_text()

    def say(self, text: str, level: Level = "info", *, add: bool = False) -> None:
        """Show a text. With `add` below the text that is shown."""
        self.setText(f"{self.text()}\n{text}" if add and self.text() else text)
        self.setStyleSheet(f"border-left: 3px solid {_COLOURS[level]}; padding-left: 6px;")
        self.show()

    def clear_text(self) -> None:
        """Show nothing."""
        self.setText("")
        self.hide()


class _WideEnough(QScrollArea):
    """A scroll area that is as wide as its content needs, so that only the height scrolls."""

    def minimumSizeHint(self) -> QSize:
        """Return the width of the content."""
        inside = self.widget()
        width = 0 if inside is None else inside.minimumSizeHint().width()
        return QSize(width + self.verticalScrollBar().sizeHint().width(), 120)

    def sizeHint(self) -> QSize:
        """Return a width that leaves room for the picture."""
        return QSize(self.minimumSizeHint().width(), 500)


class ToolWidget(QWidget):
    """Base of the widgets: a form that scrolls, below it the task and the messages.

    Parameters
    ----------
    viewer : napari.Viewer

    Attributes
    ----------
    form : QFormLayout
        Add rows with `add_row`.
    task : TaskWidget
    message : Message
    labels : dict of str to str
        Label of each parameter of the library that the form has, for error messages.
    stopped : str
        Shown after a request to stop.
    """

    stopped = STARTS_OVER

    def __init__(self, viewer: "Viewer") -> None:
        super().__init__()
        # napari gives plugins a proxy, of which each access returns other objects for the same layers.
        self.viewer: Viewer = getattr(viewer, "__wrapped__", viewer)
        self.labels: dict[str, str] = {}
        self._starters: list[QPushButton] = []
        inside = QWidget()
        column = QVBoxLayout(inside)
        self.form = QFormLayout()
        self.form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.DontWrapRows)
        self.task, self.message = TaskWidget(), Message()
        self.task.started.connect(lambda: self._set_busy(True))
        self.task.finished.connect(lambda: self._set_busy(False))
        column.addLayout(self.form)
        column.addWidget(self.task)
        column.addWidget(self.message)
        column.addStretch(1)
        self.scroll = _WideEnough()
        self.scroll.setWidgetResizable(True)
        self.scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        self.scroll.setWidget(inside)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.scroll)

    def add_row(self, label: str, field: QWidget, *, parameter: str = "", tip: str = "") -> QWidget:
        """Add a control with its label.

        Parameters
        ----------
        label : str
        field : QWidget
        parameter : str
            Name of the parameter of the library that it sets, for error messages.
        tip : str
            Tooltip, such as of `option_help`.

        Returns
        -------
        QWidget
            `field`.
        """
        text = QLabel(label)
        for each in (text, field):
            each.setToolTip(tip)
        if isinstance(field, QComboBox):
            field.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            field.setMinimumContentsLength(14)
        self.form.addRow(text, field)
        if parameter:
            self.labels[parameter] = label
        return field

    def add_button(
        self, text: str, clicked: Callable[[], object], *, tip: str = "", starts: bool = False
    ) -> QPushButton:
        """Add a button over the whole width. With `starts` it is disabled while the task runs.

        An `InputError` of `clicked` is shown in the message.
        """
        button = QPushButton(text)
        button.setToolTip(tip)
        button.clicked.connect(lambda *_: self.attempt(clicked))
        self.form.addRow(button)
        if starts:
            self._starters.append(button)
        return button

    def attempt(self, action: Callable[[], object]) -> None:
        """Call a function, and show its `InputError` in the message."""
        try:
            action()
        except InputError as error:
            self.show_error(error)

    def show_error(self, error: Exception) -> None:
        """Show an error in the message; one that the user cannot correct is raised too, for napari's own report."""
        if isinstance(error, InterruptedRunError):
            self.message.say(self.stopped, "warning")
            return
        text = as_labels(str(error), self.labels)
        label = self.labels.get(getattr(error, "parameter", None) or "", "")
        self.message.say(f"{label}: {text}" if label and label not in text else text, "error")
        if not isinstance(error, InputError):
            self.message.say(f"Internal error ({type(error).__name__}): {text}", "error")
            raise error

    def show_warning(self, text: str) -> None:
        """Add a warning to the message."""
        self.message.say(as_labels(text, self.labels), "warning", add=True)

    def _set_busy(self, is_busy: bool) -> None:
        for button in self._starters:
            button.setEnabled(not is_busy)
