"""A label that scales its picture to the width of the window."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QLabel, QSizePolicy

Rgb = NDArray[np.uint8]


class PictureLabel(QLabel):
    """A picture that becomes as wide as its panel, but no wider than it is."""

    def __init__(self) -> None:
        super().__init__()
        self._whole = QPixmap()
        self.setMinimumWidth(1)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.hide()

    def show_picture(self, rgb: Rgb) -> None:
        """Show an image (rows, columns, 3)."""
        height, width = rgb.shape[:2]
        image = QImage(np.ascontiguousarray(rgb).tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
        self._whole = QPixmap.fromImage(image)
        self.show()
        self.setPixmap(self._whole)
        self._fit()

    def resizeEvent(self, event: Any) -> None:
        """Scale the picture."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        width = min(max(self.width(), 100), self._whole.width())
        if width and width != self.pixmap().width():
            self.setPixmap(self._whole.scaledToWidth(width, Qt.TransformationMode.SmoothTransformation))
