"""What the page of the landmarks does: the landmarks are set, listed, fitted, loaded and saved."""

from typing import TYPE_CHECKING

import numpy as np

from tomostain.geometry.plane_pose import PlanePose
from tomostain.napari.fields import ToolWidget, confirm_overwrite
from tomostain.napari.register.inputs import Inputs, require_open
from tomostain.napari.register.landmark_page import LandmarkPage
from tomostain.napari.register.landmarks import Landmarks
from tomostain.napari.register.live_pose import LivePose
from tomostain.napari.register.scene import RegisterScene
from tomostain.register.hints import fit_section, landmark_errors_um, read_landmark_points, write_landmarks

if TYPE_CHECKING:
    from napari import Viewer


class LandmarkTool:
    """The landmarks of the open volume and slide, with their page.

    Parameters
    ----------
    widget : ToolWidget
        Shows messages and errors.
    page : LandmarkPage
        Is connected.
    pose : LivePose
        Is fitted to the landmarks.

    Attributes
    ----------
    landmarks : Landmarks or None
        None if nothing is open.
    """

    def __init__(self, widget: ToolWidget, page: LandmarkPage, pose: LivePose) -> None:
        self.landmarks: Landmarks | None = None
        self._widget, self._page, self._pose = widget, page, pose
        page.adding.connect(self._add)
        page.removed.connect(lambda number: widget.attempt(lambda: require_open(self.landmarks).remove(number)))
        for signal, action in ((page.fit, self.fit), (page.clear, self.clear), (page.load, self.load)):
            signal.connect(lambda action=action: widget.attempt(action))
        page.save.connect(lambda: widget.attempt(self.save))

    def open(self, viewer: "Viewer", scene: RegisterScene, inputs: Inputs) -> None:
        """Add the layers of the landmarks."""
        near_um = 3 * float(max(inputs.volume.voxel_um))
        section = inputs.preview.to_section(PlanePose())
        self.landmarks = Landmarks(viewer, scene, section, near_um, self.list_landmarks)

    def close(self) -> None:
        """Remove the layers of the landmarks."""
        if self.landmarks is not None:
            self.landmarks.close()
        self.landmarks = None

    def list_landmarks(self) -> None:
        """List the landmarks on the page, with their distances from the pose that is shown."""
        errors = None
        if self.landmarks is not None and self.landmarks.count:
            errors = landmark_errors_um(self._pose.section, *self.landmarks.pairs)
        self._page.show_landmarks(self.landmarks, errors)

    def clear(self) -> None:
        """Remove all landmarks."""
        require_open(self.landmarks).set_pairs(np.zeros((0, 2)), np.zeros((0, 3)))

    def fit(self) -> None:
        """Fit the pose to the landmarks."""
        pairs = require_open(self.landmarks).pairs
        section = fit_section(*pairs, strain=self._page.strain.isChecked())
        errors = landmark_errors_um(section, *pairs)
        self._pose.set_section(section, "landmarks")
        self._widget.message.say(
            f"Fitted to {len(errors)} pairs: mean error {errors.mean():.0f} µm, largest {errors.max():.0f} µm "
            f"(point {int(errors.argmax()) + 1})"
        )

    def load(self) -> None:
        """Read landmarks from a table."""
        require_open(self.landmarks).set_pairs(*read_landmark_points(self._page.path.required("Table")))

    def save(self) -> None:
        """Write the landmarks as a table."""
        path = self._page.path.required("Table")
        if confirm_overwrite(self._widget, path):
            write_landmarks(path, *require_open(self.landmarks).pairs, overwrite=True)
            self._widget.message.say(f"Saved: {path}")

    def _add(self, is_on: bool) -> None:
        if self.landmarks is not None:
            self.landmarks.add_mode(is_on)
            self.list_landmarks()
