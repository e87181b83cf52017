"""The controls of the widget Register: its pages, the bar of the view and the score, and which of them are enabled."""

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel, QTabWidget, QWidget

from tomostain.napari.register.landmark_page import LandmarkPage
from tomostain.napari.register.live_pose import LivePose
from tomostain.napari.register.open_page import OpenPage
from tomostain.napari.register.pose_page import PosePage
from tomostain.napari.register.save_page import SavePage
from tomostain.napari.register.view_page import ViewBar

if TYPE_CHECKING:
    from napari import Viewer


class RegisterPages:
    """The controls, not connected yet.

    Parameters
    ----------
    viewer : napari.Viewer

    Attributes
    ----------
    tabs : QTabWidget
        Of the pages.
    view : ViewBar
    score_label : QLabel
    labels : dict of str to str
        Label of each parameter of the library that a page has, for error messages.
    """

    def __init__(self, viewer: "Viewer") -> None:
        self.open_page, self.pose_page = OpenPage(viewer), PosePage()
        self.landmark_page, self.save_page = LandmarkPage(), SavePage()
        self.tabs = QTabWidget()
        pages = (self.open_page, self.pose_page, self.landmark_page, self.save_page)
        for page, title in zip(pages, ("1 Open", "2 Pose", "3 Landmarks", "4 Save"), strict=True):
            self.tabs.addTab(page, title)
        self.labels = self.open_page.form.labels | self.save_page.form.labels | {"hint": "Pose file"}
        self.view = ViewBar()
        self.score_label = QLabel("")
        self.score_label.setWordWrap(True)
        self.score_label.setToolTip(
            "Correlation: µCT and the template of the slide. Detail: fine structure outside the screw, high in the "
            "right plane only. The search of tomostain ranks poses by their sum."
        )

    @property
    def rows(self) -> tuple[QWidget, ...]:
        """The controls from top to bottom."""
        return self.tabs, self.view, self.score_label

    def set_open(self, is_open: bool) -> None:
        """Enable the pages that need an open volume."""
        for number in (1, 2, 3):
            self.tabs.setTabEnabled(number, is_open)
        self.open_page.close_button.setEnabled(is_open)
        self.view.setVisible(is_open)
        self.score_label.setVisible(is_open)

    def enable_history(self, pose: LivePose) -> None:
        """Enable the buttons that go to another pose of the history."""
        self.pose_page.undo_button.setEnabled(pose.can_undo)
        self.pose_page.redo_button.setEnabled(pose.history.can_redo)
        self.pose_page.best_button.setEnabled(pose.best_score is not None)

    def show_score(self, pose: LivePose) -> None:
        """Show the score of the pose, and the best one so far."""
        score = pose.score
        if score is not None:
            self.score_label.setText(
                f"Score {score.total:.2f} = correlation {score.correlation:.2f} + detail {score.detail:.2f}; "
                f"{score.overlap:.0%} of the tissue in the volume; best so far {pose.best_score:.2f}"
            )
