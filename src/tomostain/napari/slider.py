"""A slider with a number."""

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QSlider, QWidget


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
