"""A list of layers of the viewer."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from napari.layers import Layer
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox

from tomostain.errors import InputError
from tomostain.napari.signals import follow

if TYPE_CHECKING:
    from napari import Viewer


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
