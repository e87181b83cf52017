"""Small parts of the pages."""

from typing import Literal

from qtpy.QtWidgets import QFileDialog, QFormLayout, QHBoxLayout, QLabel, QPushButton, QWidget

from tomostain.napari.fields import PathField


class FileOrFolder(PathField):
    """A path of a file or of a folder: a line to type in and a button for each dialog.

    Parameters
    ----------
    mode, caption, pattern : str
        See `PathField`.
    """

    def __init__(self, mode: Literal["file", "folder", "save"] = "file", caption: str = "", pattern: str = "") -> None:
        super().__init__(mode, caption, pattern)
        self.folder_button = new_button("Folder …", f"{caption}: a folder of slices")
        self.folder_button.clicked.connect(self._browse_folder)
        layout = self.layout()
        if layout is not None:
            layout.addWidget(self.folder_button)

    def _browse_folder(self) -> None:
        """Ask for a folder with a dialog."""
        chosen = QFileDialog.getExistingDirectory(self, self._caption, str(self.path or ""))
        if chosen:
            self.set_path(chosen)


class Form:
    """A form on a page.

    Parameters
    ----------
    page : QWidget

    Attributes
    ----------
    labels : dict of str to str
        Label of each parameter of the library that the form has, for error messages.
    """

    def __init__(self, page: QWidget) -> None:
        self.labels: dict[str, str] = {}
        self._layout = QFormLayout(page)
        self._layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)

    def add(self, label: str, field: QWidget, tip: str = "", parameter: str = "") -> None:
        """Add a field with its label, tooltip, and the parameter of the library that it sets."""
        if tip:
            field.setToolTip(tip)
        if not label:
            self._layout.addRow(field)
            return
        text = QLabel(label)
        text.setToolTip(tip)
        self._layout.addRow(text, field)
        if parameter:
            self.labels[parameter] = label

    def button(self, text: str, tip: str) -> QPushButton:
        """Add a button over the whole width, and return it."""
        button = new_button(text, tip)
        self._layout.addRow(button)
        return button


def row_of(*widgets: QWidget) -> QWidget:
    """Return a row of widgets."""
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget)
    return row


def new_button(text: str, tip: str) -> QPushButton:
    """Return a button."""
    button = QPushButton(text)
    button.setToolTip(tip)
    return button
