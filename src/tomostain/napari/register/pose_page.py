"""The page of the pose: search, candidates, sliders, undo."""

from qtpy.QtWidgets import QComboBox, QWidget

from tomostain.napari.register.controls import PoseControls
from tomostain.napari.register.parts import Form, new_button, row_of


class PosePage(QWidget):
    """Buttons and controls; `RegisterWidget` connects them."""

    def __init__(self) -> None:
        super().__init__()
        self.form = Form(self)
        self.find_button = self.form.button("Find automatically", "Search all orientations. It takes about a minute.")
        self.snap_button = self.form.button("Snap to the best pose nearby", "Climb to the next maximum of the score.")
        self.candidate_box = QComboBox()
        self.form.add("Candidates", self.candidate_box, "The best poses of the search, best first.")
        self.controls = PoseControls()
        self.form.add("", self.controls)
        self.undo_button = new_button("Undo", "Back to the earlier pose.")
        self.redo_button = new_button("Redo", "Forward to the pose that was undone.")
        self.reset_button = new_button("Reset", "Back to the first pose.")
        self.best_button = new_button("Best", "The pose with the best score so far.")
        self.form.add("", row_of(self.undo_button, self.redo_button, self.reset_button, self.best_button))
        self.set_candidates(0)

    def set_candidates(self, count: int) -> None:
        """List this number of candidates."""
        self.candidate_box.clear()
        self.candidate_box.addItems([f"{i} of {count}" for i in range(1, count + 1)])
        self.candidate_box.setEnabled(count > 0)
