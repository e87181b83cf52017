"""A field for a path, and the question whether an existing one is replaced."""

from pathlib import Path
from typing import Literal

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QMessageBox, QPushButton, QWidget

from tomostain.errors import InputError


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


def confirm_overwrite(parent: QWidget, path: Path) -> bool:
    """Return whether a path may be written: it does not exist, or the user agrees to replace it."""
    if not path.exists():
        return True
    question = f"{path} exists. Replace it?"
    buttons = QMessageBox.StandardButton
    answer = QMessageBox.question(parent, "Replace", question, buttons.Yes | buttons.No, buttons.No)
    return bool(answer == buttons.Yes)
