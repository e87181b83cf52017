"""How slide and µCT plane are placed: side by side, overlay or checkerboard."""

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QLabel, QSlider, QVBoxLayout, QWidget

from tomostain.napari.register.parts import new_button, row_of
from tomostain.napari.register.scene import LAYOUTS, Layout

_SQUARES = (2, 40)


class ViewBar(QWidget):
    """A choice of the layout, with the opacity of the overlay or the number of squares.

    Attributes
    ----------
    changed : signal
        Emitted when a control changes.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.choice = QComboBox()
        for layout in LAYOUTS:
            self.choice.addItem(layout.capitalize(), layout)
        self.choice.setToolTip("Slide and µCT next to each other, the µCT over the slide, or squares of both in turn.")
        self.choice.currentIndexChanged.connect(lambda _: self._chosen())
        self.opacity, self.squares = QSlider(Qt.Orientation.Horizontal), QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setValue(50)
        self.opacity.setToolTip("Opacity of the µCT.")
        self.squares.setRange(*_SQUARES)
        self.squares.setValue(8)
        self.squares.setToolTip("Squares along the longest side.")
        for slider in (self.opacity, self.squares):
            slider.valueChanged.connect(lambda _: self.changed.emit())
        self.fit = new_button("Fit", "Zoom so that slide and µCT fill the canvas.")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(row_of(QLabel("View"), self.choice, self.opacity, self.squares, self.fit))
        self._chosen()

    @property
    def layout_name(self) -> Layout:
        """The chosen layout."""
        name: Layout = self.choice.currentData()
        return name

    @property
    def opacity_value(self) -> float:
        """Opacity of the µCT in the overlay, 0 to 1."""
        return self.opacity.value() / 100

    @property
    def squares_value(self) -> int:
        """Squares of the checkerboard along the longest side."""
        return int(self.squares.value())

    def _chosen(self) -> None:
        self.opacity.setVisible(self.layout_name == "overlay")
        self.squares.setVisible(self.layout_name == "checkerboard")
        self.changed.emit()
