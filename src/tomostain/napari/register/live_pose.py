"""The pose of the controls: its history, and the plane and the score that are computed while it changes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from qtpy.QtWidgets import QWidget

from tomostain.geometry.plane_pose import PlanePose
from tomostain.geometry.section import Section
from tomostain.napari.closing import close_previews
from tomostain.napari.fields import later
from tomostain.napari.register.controls import PoseControls
from tomostain.napari.register.history import PoseHistory
from tomostain.napari.register.inputs import require_open
from tomostain.napari.tasks import LatestOnly
from tomostain.register.preview import PLANE_PX, PixelGrid, PosePreview, PoseScore

# Pixels of the plane when the sliders rest, and the time after which they do.
_REST_PX, _REST_MS = 900, 350


@dataclass(frozen=True, eq=False)
class ShownPose:
    """A pose that was computed for the view.

    Attributes
    ----------
    section : Section
    grid : PixelGrid
        Of the plane.
    values : ndarray of float32
        The plane.
    score : PoseScore
    """

    section: Section
    grid: PixelGrid
    values: NDArray[np.float32]
    score: PoseScore


class LivePose:
    """The pose that the controls show, with its history and its score.

    Parameters
    ----------
    widget : QWidget
        The computation ends when it is destroyed.
    controls : PoseControls
    on_shown : callable
        Takes each `ShownPose` once it is computed.
    on_changed : callable
        Called when the pose or its history has changed.
    on_error : callable
        Takes an error of the computation.

    Attributes
    ----------
    preview : PosePreview or None
        Of the volume and the slide; None if none are open.
    history : PoseHistory
    origin : str
        For `pair.yaml`: how the pose was found.
    score : PoseScore or None
        Of the pose that was computed last.
    live : LatestOnly
        Computes plane and score.
    """

    def __init__(
        self,
        widget: QWidget,
        controls: PoseControls,
        *,
        on_shown: Callable[[ShownPose], None],
        on_changed: Callable[[], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self.preview: PosePreview | None = None
        self.history = PoseHistory(PlanePose())
        self.origin = "manual"
        self.score: PoseScore | None = None
        self._best: tuple[float, PlanePose] | None = None
        self._controls, self._on_shown, self._on_changed = controls, on_shown, on_changed
        self.live: LatestOnly[tuple[PosePreview, Section, PixelGrid], ShownPose] = LatestOnly(
            self._compute, self._computed, on_error, deliver_all=True
        )
        close_previews(widget, self.live)
        self._rest = later(_REST_MS, self._at_rest, widget)
        controls.changed.connect(lambda _: self._pose_changed())

    @property
    def section(self) -> Section:
        """The pose of the controls.

        Raises
        ------
        InputError
            If nothing is open.
        """
        return require_open(self.preview).to_section(self._controls.pose)

    @property
    def is_resting(self) -> bool:
        """Whether nothing is computed and no slider has moved just now."""
        return not self.live.is_running and not self._rest.isActive()

    @property
    def best_score(self) -> float | None:
        """The best score so far."""
        return None if self._best is None else self._best[0]

    @property
    def can_undo(self) -> bool:
        """Whether there is an earlier pose."""
        return self.history.can_undo or self._controls.pose != self.history.current

    def begin(self) -> None:
        """Forget the history and the scores. `go_to` shows the first pose."""
        self.live.drop()
        self.history = PoseHistory(PlanePose())
        self.score = self._best = None

    def stop(self) -> None:
        """Compute nothing more."""
        self.live.drop()
        self._rest.stop()

    def close(self) -> None:
        """Forget volume, slide and scores."""
        self.preview = self.score = self._best = None
        self.origin = "manual"

    def set_section(self, section: Section, origin: str) -> None:
        """Show a pose, as a new step of the history."""
        self._push(require_open(self.preview).to_pose(section, self._controls.pose.base), origin)

    def go_to(self, pose: PlanePose, origin: str = "manual") -> None:
        """Show a pose that is in the history."""
        self.origin = origin
        self._controls.set_pose(pose)
        self._update(at_rest=True)

    def undo(self) -> None:
        """Go back to the earlier pose."""
        self._settle()
        self.go_to(self.history.undo())

    def redo(self) -> None:
        """Go forward to the pose that was undone."""
        self.go_to(self.history.redo())

    def reset(self) -> None:
        """Go back to the first pose."""
        self._settle()
        self.go_to(self.history.reset())

    def go_to_best(self) -> None:
        """Go to the pose with the best score so far."""
        if self._best is not None:
            self._push(self._best[1], "manual")

    def _push(self, pose: PlanePose, origin: str) -> None:
        self._settle()
        self.history.push(pose)
        self.go_to(pose, origin)

    def _pose_changed(self) -> None:
        self.origin = "manual"
        if self.preview is not None:
            self._update()

    def _update(self, *, at_rest: bool = False) -> None:
        """Compute plane and score of the pose: coarse while a slider moves, finer when it rests."""
        preview = require_open(self.preview)
        grid = preview.grid.coarser(_REST_PX if at_rest else PLANE_PX)
        self.live.request((preview, self.section, grid))
        if not at_rest:
            self._rest.start()
        self._on_changed()

    def _settle(self) -> None:
        """Add the pose that the sliders show to the history."""
        self._rest.stop()
        self.history.push(self._controls.pose)

    def _at_rest(self) -> None:
        if self.preview is not None:
            self._settle()
            self._update(at_rest=True)

    @staticmethod
    def _compute(request: tuple[PosePreview, Section, PixelGrid]) -> ShownPose:
        preview, section, grid = request
        return ShownPose(section, grid, preview.plane(section, grid), preview.score(section))

    def _computed(self, shown: ShownPose) -> None:
        if self.preview is None:
            return
        self.score = shown.score
        if self._best is None or shown.score.total > self._best[0]:
            self._best = (shown.score.total, self.preview.to_pose(shown.section, self._controls.pose.base))
        self._on_shown(shown)
