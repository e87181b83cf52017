"""The page of the landmarks: add, fit, list, load and save."""

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QLabel, QPushButton, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from tomostain.napari.fields import PathField
from tomostain.napari.register.landmarks import Landmarks
from tomostain.napari.register.parts import new_button, row_of

_COLUMNS = ("Point", "On slide", "In µCT", "Error, µm")
MIN_PAIRS = 3


class LandmarkPage(QWidget):
    """Controls of the landmarks.

    Attributes
    ----------
    adding, fit, clear, load, save : signal
        Emitted when the user asks for it; `adding` with True or False.
    removed : signal
        Emitted with the number of a point, from 0.
    """

    adding = Signal(bool)
    fit = Signal()
    clear = Signal()
    load = Signal()
    save = Signal()
    removed = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.add_button = QPushButton("Add landmarks by clicks")
        self.add_button.setCheckable(True)
        self.add_button.setToolTip("Click a point on the slide, then the same point in the µCT, and so on.")
        self.add_button.toggled.connect(self.adding.emit)
        self.prompt = QLabel("")
        self.prompt.setWordWrap(True)
        self.table = QTableWidget(0, len(_COLUMNS))
        self.table.setHorizontalHeaderLabels(_COLUMNS)
        self.table.verticalHeader().hide()
        self.table.horizontalHeader().setStretchLastSection(True)
        self.table.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.setMinimumHeight(150)
        self.strain = QCheckBox("Also scale and shear the slide")
        self.strain.setToolTip("Fit an affine. With fewer than five points their errors deform the slide.")
        self.fit_button = new_button("Fit the pose", "Least squares through three or more pairs.")
        self.remove_button = new_button("Remove", "Remove the selected pair, or the last one.")
        self.clear_button = new_button("Clear", "Remove all landmarks.")
        self.path = PathField("save", "Landmarks", "CSV (*.csv)")
        self.path.setToolTip("Table of landmarks, as the command register reads it.")
        self.load_button = new_button("Load", "Read landmarks from the table.")
        self.save_button = new_button("Save", "Write the landmarks as a table.")
        for button, action in (
            (self.fit_button, self.fit.emit),
            (self.remove_button, self._remove),
            (self.clear_button, self.clear.emit),
            (self.load_button, self.load.emit),
            (self.save_button, self.save.emit),
        ):
            button.clicked.connect(lambda *_, action=action: action())
        column = QVBoxLayout(self)
        for part in (
            *(self.add_button, self.prompt, self.table, row_of(self.remove_button, self.clear_button), self.strain),
            *(self.fit_button, row_of(QLabel("Table"), self.path), row_of(self.load_button, self.save_button)),
        ):
            column.addWidget(part)
        column.addStretch(1)
        self.show_landmarks(None)

    def show_landmarks(self, landmarks: Landmarks | None, errors_um: NDArray[np.float64] | None = None) -> None:
        """List the landmarks, with the distance of each pair from the pose that is shown.

        Parameters
        ----------
        landmarks : Landmarks, optional
            None if nothing is open.
        errors_um : ndarray, shape (N,), optional
            Of the complete pairs.
        """
        slide, volume = (0, 0) if landmarks is None else (len(landmarks.slide_um), len(landmarks.volume_um))
        self.table.setRowCount(max(slide, volume))
        for row in range(max(slide, volume)):
            error = "" if errors_um is None or row >= len(errors_um) else f"{errors_um[row]:.0f}"
            cells = (str(row + 1), "yes" if row < slide else "", "yes" if row < volume else "", error)
            for number, text in enumerate(cells):
                self.table.setItem(row, number, QTableWidgetItem(text))
        pairs = min(slide, volume)
        self.fit_button.setEnabled(pairs >= MIN_PAIRS)
        for button in (self.remove_button, self.clear_button):
            button.setEnabled(max(slide, volume) > 0)
        self.save_button.setEnabled(pairs > 0)
        self.prompt.setText(self._prompt(landmarks, pairs))

    def _prompt(self, landmarks: Landmarks | None, pairs: int) -> str:
        if landmarks is not None and landmarks.is_adding:
            place = "on the slide" if landmarks.next_place == "slide" else "in the µCT"
            return f"Click point {pairs + 1} {place}."
        missing = MIN_PAIRS - pairs
        return f"{missing} more {'pair' if missing == 1 else 'pairs'} for a fit." if missing > 0 else f"{pairs} pairs."

    def _remove(self) -> None:
        rows = self.table.selectionModel().selectedRows()
        self.removed.emit(rows[0].row() if rows else self.table.rowCount() - 1)
