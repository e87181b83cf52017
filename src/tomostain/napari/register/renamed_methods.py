"""Older methods of the widget Register, which its parts have now."""

import warnings

from tomostain.deprecation import renamed_method
from tomostain.napari.register.history import PoseHistory
from tomostain.napari.register.live_pose import LivePose


class RenamedMethods:
    """Methods of the widget that moved to its attributes `pose` and `landmark_tool`, with a deprecation warning."""

    pose: LivePose

    undo = renamed_method("pose.undo")
    redo = renamed_method("pose.redo")
    reset = renamed_method("pose.reset")
    go_to_best = renamed_method("pose.go_to_best")
    fit_landmarks = renamed_method("landmark_tool.fit")
    load_landmarks = renamed_method("landmark_tool.load")
    save_landmarks = renamed_method("landmark_tool.save")

    @property
    def history(self) -> PoseHistory:
        """The older name of ``pose.history``."""
        warnings.warn("RegisterWidget.history is now pose.history", DeprecationWarning, stacklevel=2)
        return self.pose.history
