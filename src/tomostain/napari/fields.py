"""The parts that the widgets are built from: a form with tooltips, paths, layers, messages.

Defaults and help texts are those of the options of the command line. They are read from the verbs, never typed twice.
"""

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari.layers import Layer
from qtpy.QtCore import QSize, Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QScrollArea,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from tomostain.errors import InputError, InterruptedRunError
from tomostain.napari.tasks import STARTS_OVER, TaskWidget, when_destroyed

if TYPE_CHECKING:
    from napari import Viewer

_PARAMETER = re.compile(r"`([a-z][a-z0-9_]*)(?:=([^`\s]+))?`")
_OPTION = re.compile(r"--([a-z][a-z-]+)")
Level = Literal["info", "warning", "error"]
_COLOURS = {"info": "#3d8b37", "warning": "#c77f00", "error": "#c03a3a"}


def option_help(options: type | Callable[..., object], name: str) -> str:
    """Return the help text of an option of the command line, for a tooltip.

    Parameters
    ----------
    options : class or function
        An option group (`tomostain.cli.options.option_group`) or the function of a verb.
    name : str
        Name of the field or the parameter.

    Examples
    --------
    >>> from tomostain.cli.stain import VolumeOptions
    >>> option_help(VolumeOptions, "bone")
    'Grey value of bone (with Background; else estimated).'
    """
    text = str(getattr(_option(options, name), "help", None) or "")
    return _OPTION.sub(lambda match: _as_label(match[1].replace("-", "_")), text)


def option_default(options: type | Callable[..., object], name: str) -> object:
    """Return the default of an option of the command line; parameters as `option_help`.

    Examples
    --------
    >>> from tomostain.cli.section import SectionOptions
    >>> option_default(SectionOptions, "thickness_um")
    0.0
    """
    option = _option(options, name)
    return getattr(option, "default", option)


def _option(options: type | Callable[..., object], name: str) -> object:
    if dataclasses.is_dataclass(options):
        return {field.name: field.default for field in dataclasses.fields(options)}[name]
    return inspect.signature(options).parameters[name].default


def _as_label(name: str) -> str:
    words = name.replace("_um", "").replace("_px", "").replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def as_labels(message: str, labels: Mapping[str, str]) -> str:
    """Replace the names of Python parameters, in backticks, by the labels of a form.

    Parameters
    ----------
    message : str
        A message of the library, such as "give `voxel_um`".
    labels : mapping of str to str
        Label of each parameter that the form has. Other names stay as they are, without backticks.

    Examples
    --------
    >>> as_labels("scan: give `voxel_um`, or add `overwrite=True`", {"voxel_um": "Voxel size"})
    'scan: give “Voxel size”, or add overwrite=True'
    """

    def replace(match: re.Match[str]) -> str:
        name, value = match[1], match[2]
        label = f"“{labels[name]}”" if name in labels else name
        return f"{label}={value}" if value and name not in labels else f"{label} {value}" if value else label

    return _PARAMETER.sub(replace, message)


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


class PathField(QWidget):
    """A path: a line to type in and a button that opens a dialog.

    Parameters
    ----------
    mode : {"file", "folder", "save"}
        What the dialog asks for. "save" asks for a name that may not exist; an existing one is asked about later, with
        `confirm_overwrite`.
    caption : str
        Title of the dialog.
    pattern : str
        Names that the dialog shows, as Qt writes them, such as ``"CSV (*.csv)"``.

    Attributes
    ----------
    changed : signal
        Emitted when the text changes.
    """

    changed = Signal()

    def __init__(
        self, mode: Literal["file", "folder", "save"] = "file", caption: str = "Choose", pattern: str = ""
    ) -> None:
        super().__init__()
        self._mode, self._caption, self._pattern = mode, caption, pattern
        self.line = QLineEdit()
        self.line.textChanged.connect(lambda _: self.changed.emit())
        self.button = QPushButton("…")
        self.button.setMaximumWidth(32)
        self.button.setToolTip(caption)
        self.button.clicked.connect(self.browse)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.line, 1)
        layout.addWidget(self.button)

    @property
    def path(self) -> Path | None:
        """The path; None if the line is empty."""
        text = self.line.text().strip()
        return Path(text).expanduser() if text else None

    def set_path(self, path: Path | str | None) -> None:
        """Show a path."""
        self.line.setText("" if path is None else str(path))

    def required(self, label: str) -> Path:
        """Return the path.

        Raises
        ------
        InputError
            If the line is empty.
        """
        if self.path is None:
            raise InputError(f"“{label}” is empty: choose a path")
        return self.path

    def browse(self) -> None:
        """Ask for a path with a dialog."""
        start = str(self.path or "")
        if self._mode == "folder":
            chosen = QFileDialog.getExistingDirectory(self, self._caption, start)
        elif self._mode == "file":
            chosen, _ = QFileDialog.getOpenFileName(self, self._caption, start, self._pattern)
        else:
            chosen, _ = QFileDialog.getSaveFileName(
                self, self._caption, start, self._pattern, options=QFileDialog.Option.DontConfirmOverwrite
            )
        if chosen:
            self.set_path(chosen)


class LayerBox(QComboBox):
    """A list of the layers of the viewer that fulfil a condition. It follows the viewer.

    Parameters
    ----------
    viewer : napari.Viewer
    accepts : callable
        Takes a layer and returns whether it is listed.
    optional : str
        Text of a first entry that stands for no layer; "" without such an entry.

    Attributes
    ----------
    changed : signal
        Emitted when another layer is chosen.
    """

    changed = Signal()

    def __init__(self, viewer: "Viewer", accepts: Callable[[Layer], bool], *, optional: str = "") -> None:
        super().__init__()
        self._layers, self._accepts, self._optional = viewer.layers, accepts, optional
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        for event in ("inserted", "removed", "reordered"):
            follow(self, getattr(viewer.layers.events, event), self.refresh)
        self._named: list[Layer] = []
        self._shown: Layer | None = None
        self.refresh()
        self.currentIndexChanged.connect(self._report)

    @property
    def layer(self) -> Layer | None:
        """The chosen layer, or None."""
        number = self.currentIndex() - bool(self._optional)
        return self._listed[number] if 0 <= number < len(self._listed) else None

    def choose(self, layer: Layer | None) -> None:
        """Choose a layer, if it is listed; None: no layer, if there is such an entry."""
        if layer is None:
            self.setCurrentIndex(0 if self._optional else -1)
        elif layer in self._listed:
            self.setCurrentIndex(self._listed.index(layer) + bool(self._optional))

    def required(self, label: str) -> Layer:
        """Return the layer.

        Raises
        ------
        InputError
            If none is chosen.
        """
        if self.layer is None:
            raise InputError(f"“{label}”: no layer is chosen; open or add one first")
        return self.layer

    def refresh(self, event: object = None) -> None:
        """Read the list of layers again."""
        before = getattr(self, "_shown", None)
        self.blockSignals(True)
        self.clear()
        self._listed = [layer for layer in self._layers if self._accepts(layer)]
        self.addItems(([self._optional] if self._optional else []) + [layer.name for layer in self._listed])
        for layer in self._listed:
            if layer not in self._named:
                follow(self, layer.events.name, self.refresh)
        self._named = list(self._listed)
        if before in self._listed:
            self.setCurrentIndex(self._listed.index(before) + bool(self._optional))
        self.blockSignals(False)
        self._report()

    def _report(self, index: int = 0) -> None:
        if self.layer is not self._shown:
            self._shown = self.layer
            self.changed.emit()


class Slider(QWidget):
    """A slider with a number next to it, which can be typed.

    Parameters
    ----------
    low, high, value : float
    unit : str
        Shown after the number.
    decimals : int

    Attributes
    ----------
    changed : signal
        Emitted when the value changes.
    """

    changed = Signal()

    def __init__(self, low: float, high: float, value: float = 0.0, unit: str = "", decimals: int = 1) -> None:
        super().__init__()
        self._steps = 10**decimals
        self.bar, self.number = QSlider(Qt.Orientation.Horizontal), QDoubleSpinBox()
        self.number.setDecimals(decimals)
        self.number.setSuffix(unit)
        self.number.setMinimumWidth(70)
        self.bar.setMinimumWidth(50)
        self._limit(low, high)
        self.number.setValue(value)
        self.bar.setValue(round(value * self._steps))
        self.number.valueChanged.connect(self._typed)
        self.bar.valueChanged.connect(lambda position: self.number.setValue(position / self._steps))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.bar, 1)
        layout.addWidget(self.number)

    @property
    def value(self) -> float:
        """The value."""
        return float(self.number.value())

    def set_value(self, value: float) -> None:
        """Set the value, within the limits."""
        self.number.setValue(value)

    def set_range(self, reach: float) -> None:
        """Set the limits to ± `reach`. A value inside stays."""
        self._limit(-reach, reach)

    def _limit(self, low: float, high: float) -> None:
        self.number.setRange(low, high)
        self.bar.setRange(round(low * self._steps), round(high * self._steps))

    def _typed(self, value: float) -> None:
        self.bar.blockSignals(True)
        self.bar.setValue(round(value * self._steps))
        self.bar.blockSignals(False)
        self.changed.emit()


def follow(widget: QWidget, emitter: Any, slot: Callable[..., object]) -> None:
    """Connect a method of a widget to an event of napari, until the widget is closed."""

    def call(event: object = None) -> None:
        slot(event)

    emitter.connect(call)
    when_destroyed(widget, lambda: emitter.disconnect(call))


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


def confirm_overwrite(parent: QWidget, path: Path) -> bool:
    """Return whether a path may be written: it does not exist, or the user agrees to replace it."""
    if not path.exists():
        return True
    question = f"{path} exists. Replace it?"
    buttons = QMessageBox.StandardButton
    answer = QMessageBox.question(parent, "Replace", question, buttons.Yes | buttons.No, buttons.No)
    return bool(answer == buttons.Yes)


def later(milliseconds: int, action: Callable[[], object], parent: QWidget) -> QTimer:
    """Return a timer that calls a function once, some time after its last ``start()``."""
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(lambda: action())
    return timer
