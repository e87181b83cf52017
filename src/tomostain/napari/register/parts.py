"""Small parts of the pages."""

from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QLabel, QPushButton, QWidget


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
