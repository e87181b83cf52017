"""The widget Register."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtWidgets import QLabel, QTabWidget

from tomostain.errors import InputError
from tomostain.geometry.plane_pose import PlanePose
from tomostain.geometry.section import Section
from tomostain.io import Slide, Volume
from tomostain.napari.closing import close_previews, when_closed
from tomostain.napari.fields import ToolWidget, confirm_overwrite, later
from tomostain.napari.register.controls import NUDGES
from tomostain.napari.register.history import PoseHistory
from tomostain.napari.register.landmark_page import LandmarkPage
from tomostain.napari.register.landmarks import Landmarks
from tomostain.napari.register.open_page import OpenPage
from tomostain.napari.register.pose_page import PosePage
from tomostain.napari.register.save_page import SavePage
from tomostain.napari.register.scene import RegisterScene
from tomostain.napari.register.view_page import ViewBar
from tomostain.napari.tasks import LatestOnly
from tomostain.progress import Progress, ShouldStop, raising_on_stop
from tomostain.register.config import RegisterConfig
from tomostain.register.files import register_opened, use_location
from tomostain.register.hints import (
    Hint,
    check_start,
    fit_section,
    landmark_errors_um,
    read_landmark_points,
    read_section,
    write_landmarks,
)
from tomostain.register.locate import SectionLocation, locate_section
from tomostain.register.pair_files import PairFolder
from tomostain.register.preview import PLANE_PX, PixelGrid, PosePreview, PoseScore
from tomostain.register.registration import Registration

if TYPE_CHECKING:
    from napari import Viewer

# Pixels of the plane when the sliders rest, and the time after which they do.
_REST_PX, _REST_MS = 900, 350


@dataclass(frozen=True, eq=False)
class Inputs:
    """What is registered."""

    volume: Volume
    slide: Slide
    config: RegisterConfig
    preview: PosePreview


@dataclass(frozen=True, eq=False)
class _Shown:
    """A pose that was computed for the view."""

    section: Section
    grid: PixelGrid
    values: NDArray[np.float32]
    score: PoseScore


class RegisterWidget(ToolWidget):
    """Place the section of a slide in a µCT volume.

    Open a volume and a slide, find the pose with the sliders, landmarks or the automatic search, and save the pair.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: "Viewer") -> None:
        super().__init__(napari_viewer)
        viewer = self.viewer
        self.inputs: Inputs | None = None
        self.scene: RegisterScene | None = None
        self.landmarks: Landmarks | None = None
        self.history = PoseHistory(PlanePose())
        self.candidates: tuple[Section, ...] = ()
        self.location: SectionLocation | None = None
        self.score: PoseScore | None = None
        self._best: tuple[float, PlanePose] | None = None
        self._origin = "manual"
        self.live: LatestOnly[tuple[PosePreview, Section, PixelGrid], _Shown] = LatestOnly(
            self._compute, self._show, self.show_error, deliver_all=True
        )
        close_previews(self, self.live)
        self._rest = later(_REST_MS, self._at_rest, self)
        self.open_page, self.pose_page = OpenPage(viewer), PosePage()
        self.landmark_page, self.save_page = LandmarkPage(), SavePage()
        self.controls = self.pose_page.controls
        self.tabs = QTabWidget()
        pages = (self.open_page, self.pose_page, self.landmark_page, self.save_page)
        for page, title in zip(pages, ("1 Open", "2 Pose", "3 Landmarks", "4 Save"), strict=True):
            self.tabs.addTab(page, title)
        for page in (self.open_page, self.save_page):
            self.labels |= page.form.labels
        self.labels["hint"] = "Pose file"
        self._connect()
        self.view = ViewBar()
        self.view.changed.connect(self._lay_out)
        self.view.fit.clicked.connect(lambda: self.scene and self.scene.fit_view())
        self.score_label = QLabel("")
        self.score_label.setWordWrap(True)
        self.score_label.setToolTip(
            "Correlation: µCT and the template of the slide. Detail: fine structure outside the screw, high in the "
            "right plane only. The search of tomostain ranks poses by their sum."
        )
        for part in (self.tabs, self.view, self.score_label):
            self.form.addRow(part)
        self._set_open(False)
        when_closed(self, self.close_scene)

    def _connect(self) -> None:
        """Connect the controls of the pages."""
        for button, action in (
            (self.open_page.open_button, self.open),
            (self.pose_page.find_button, self.find),
            (self.pose_page.snap_button, self.snap),
            (self.save_page.load_button, self.load_pose),
            (self.save_page.save_button, self.save),
        ):
            self._starters.append(button)
            button.clicked.connect(lambda *_, action=action: self.attempt(action))
        for button, action in (
            (self.open_page.close_button, self.close_scene),
            (self.pose_page.undo_button, self.undo),
            (self.pose_page.redo_button, self.redo),
            (self.pose_page.reset_button, self.reset),
            (self.pose_page.best_button, self.go_to_best),
        ):
            button.clicked.connect(lambda *_, action=action: self.attempt(action))
        self.pose_page.candidate_box.activated.connect(self.choose_candidate)
        self.controls.changed.connect(lambda pose: self._pose_changed(pose))
        page = self.landmark_page
        page.adding.connect(self._add_landmarks)
        page.removed.connect(lambda number: self.attempt(lambda: self._landmarks.remove(number)))
        for signal, action in (
            (page.fit, self.fit_landmarks),
            (page.clear, lambda: self._landmarks.set_pairs(np.zeros((0, 2)), np.zeros((0, 3)))),
            (page.load, self.load_landmarks),
            (page.save, self.save_landmarks),
        ):
            signal.connect(lambda action=action: self.attempt(action))

    # Opening

    def open(self) -> None:
        """Read the chosen volume and slide in the background, and show them."""
        config = self.open_page.config()
        open_volume, open_slide = self.open_page.openers()

        def work(progress: Progress, should_stop: ShouldStop) -> Inputs:
            volume, slide = open_volume(), open_slide()
            report = raising_on_stop(progress, should_stop, volume.path)
            return Inputs(volume, slide, config, PosePreview.open(volume, slide, config, report))

        self.task.start(work, label="reading", on_result=self.show_inputs, on_error=self.show_error)

    def show_inputs(self, inputs: Inputs) -> None:
        """Show a volume and a slide that were read."""
        self.close_scene()
        self.inputs, preview = inputs, inputs.preview
        self.scene = RegisterScene(self.viewer, preview)
        self.controls.set_reach(
            preview.reach_um, preview.volume_middle_um, float(inputs.preview.task.resolution.voxel_um.max())
        )
        near_um = 3 * float(max(inputs.volume.voxel_um))
        section = preview.to_section(PlanePose())
        self.landmarks = Landmarks(self.viewer, self.scene, section, near_um, self._list_landmarks)
        # Its contrast can be changed at once.
        self.viewer.layers.selection.active = self.scene.plane
        self._set_open(True)
        self._bind_keys()
        self._lay_out()
        self.scene.fit_view()
        self.tabs.setCurrentIndex(1)
        self.message.say(f"volume: {inputs.volume.describe()}")
        self.begin()

    def begin(self) -> None:
        """Begin at the first pose, without candidates and landmarks."""
        self.live.drop()
        self.history = PoseHistory(PlanePose())
        self.location = self.score = self._best = None
        self._set_candidates(())
        self._landmarks.set_pairs(np.zeros((0, 2)), np.zeros((0, 3)))
        self._go_to(self.history.current)

    def close_scene(self) -> None:
        """Remove the layers of this widget and show the others again."""
        self.live.drop()
        self._rest.stop()
        if self.landmarks is not None:
            self.landmarks.close()
        if self.scene is not None:
            self.scene.close()
            self._unbind_keys()
        self.scene = self.landmarks = self.inputs = self.location = self.score = self._best = None
        self._origin = "manual"
        self._set_candidates(())
        self.score_label.setText("")
        self._list_landmarks()
        self._set_open(False)

    # The pose

    @property
    def section(self) -> Section:
        """The pose that is shown."""
        return self.opened.preview.to_section(self.controls.pose)

    @property
    def opened(self) -> Inputs:
        """Volume and slide.

        Raises
        ------
        InputError
            If none are open.
        """
        if self.inputs is None:
            raise InputError("nothing is open: choose a volume and a slide, and press Open")
        return self.inputs

    def set_section(self, section: Section, origin: str) -> None:
        """Show a pose, as a new step of the history.

        Parameters
        ----------
        section : Section
        origin : str
            For `pair.yaml`: "search", "candidate", "landmarks", "refined", "file" or "manual".
        """
        self._push(self.opened.preview.to_pose(section, self.controls.pose.base), origin)

    def _push(self, pose: PlanePose, origin: str) -> None:
        self._settle()
        self.history.push(pose)
        self._go_to(pose, origin)

    def _go_to(self, pose: PlanePose, origin: str = "manual") -> None:
        self._origin = origin
        self.controls.set_pose(pose)
        self._update(at_rest=True)

    def _pose_changed(self, pose: PlanePose) -> None:
        self._origin = "manual"
        if self.inputs is not None:
            self._update()

    def _update(self, *, at_rest: bool = False) -> None:
        """Compute plane and score of the pose: coarse while a slider moves, finer when it rests."""
        preview = self.opened.preview
        grid = preview.grid.coarser(_REST_PX if at_rest else PLANE_PX)
        self.live.request((preview, self.section, grid))
        if not at_rest:
            self._rest.start()
        self._set_buttons()

    def _settle(self) -> None:
        """Add the pose that the sliders show to the history."""
        self._rest.stop()
        self.history.push(self.controls.pose)

    def _at_rest(self) -> None:
        if self.inputs is not None:
            self._settle()
            self._update(at_rest=True)

    @staticmethod
    def _compute(request: tuple[PosePreview, Section, PixelGrid]) -> _Shown:
        preview, section, grid = request
        return _Shown(section, grid, preview.plane(section, grid), preview.score(section))

    def _show(self, shown: _Shown) -> None:
        if self.scene is None or self.landmarks is None or self.inputs is None:
            return
        self.scene.show_plane(shown.values, shown.grid)
        self.landmarks.show_in(shown.section)
        self._list_landmarks()
        self.score = score = shown.score
        if self._best is None or score.total > self._best[0]:
            self._best = (score.total, self.inputs.preview.to_pose(shown.section, self.controls.pose.base))
        self.score_label.setText(
            f"Score {score.total:.2f} = correlation {score.correlation:.2f} + detail {score.detail:.2f}; "
            f"{score.overlap:.0%} of the tissue in the volume; best so far {self._best[0]:.2f}"
        )
        self._set_buttons()

    def undo(self) -> None:
        """Go back to the earlier pose."""
        self._settle()
        self._go_to(self.history.undo())

    def redo(self) -> None:
        """Go forward to the pose that was undone."""
        self._go_to(self.history.redo())

    def reset(self) -> None:
        """Go back to the first pose."""
        self._settle()
        self._go_to(self.history.reset())

    def go_to_best(self) -> None:
        """Go to the pose with the best score so far."""
        if self._best is not None:
            self._push(self._best[1], "manual")

    # Searching

    def find(self) -> None:
        """Search all orientations in the background."""
        inputs, device = self.opened, "auto"

        def work(progress: Progress, should_stop: ShouldStop) -> SectionLocation:
            report = raising_on_stop(progress, should_stop, "search")
            return locate_section(inputs.volume, inputs.slide, inputs.config, device=device, progress=report)

        self.task.start(
            work, label="searching", on_result=lambda place: self._found(place, inputs), on_error=self.show_error
        )

    def _found(self, location: SectionLocation, inputs: Inputs) -> None:
        if self.inputs is not inputs:
            return
        self.set_section(location.section, "search")
        self.location = location
        self._set_candidates(location.candidates)
        evidence = location.evidence
        text = f"confidence {evidence.confidence:.2f} ({evidence.describe()})"
        if evidence.sure:
            self.message.say(f"Found: {text}")
        else:
            self.message.say(f"Not sure: {text}. Compare the candidates, or set landmarks.", "warning")

    def _set_candidates(self, candidates: tuple[Section, ...]) -> None:
        self.candidates = candidates
        self.pose_page.set_candidates(len(candidates))

    def choose_candidate(self, number: int) -> None:
        """Show a candidate of the search."""
        if 0 <= number < len(self.candidates):
            self.pose_page.candidate_box.setCurrentIndex(number)
            self.set_section(self.candidates[number], "search" if number == 0 else "candidate")

    def snap(self) -> None:
        """Refine the pose to the next maximum of the correlation."""
        inputs, section = self.opened, self.section

        def work(progress: Progress, should_stop: ShouldStop) -> Section:
            return inputs.preview.snap(section)

        self.task.start(
            work,
            label="snapping",
            on_result=lambda best: self._show_result(best, "manual", inputs),
            on_error=self.show_error,
        )

    def _show_result(self, section: Section, origin: str, inputs: Inputs) -> None:
        """Show a pose that a task computed, unless its volume and slide were closed meanwhile."""
        if self.inputs is inputs:
            self.set_section(section, origin)

    def load_pose(self) -> None:
        """Read a pose from a file."""
        inputs = self.opened
        section = read_section(self.save_page.start_path.required("Pose file"))
        check_start(section, inputs.volume.shape, inputs.volume.voxel_um)
        self.set_section(section, "file")

    # Landmarks

    @property
    def _landmarks(self) -> Landmarks:
        if self.landmarks is None:
            raise InputError("nothing is open: choose a volume and a slide, and press Open")
        return self.landmarks

    def _add_landmarks(self, is_on: bool) -> None:
        if self.landmarks is not None:
            self.landmarks.add_mode(is_on)
            self._list_landmarks()

    def _list_landmarks(self) -> None:
        errors = None
        if self.landmarks is not None and self.landmarks.count:
            errors = landmark_errors_um(self.section, *self.landmarks.pairs)
        self.landmark_page.show_landmarks(self.landmarks, errors)

    def fit_landmarks(self) -> None:
        """Fit the pose to the landmarks."""
        pairs = self._landmarks.pairs
        section = fit_section(*pairs, strain=self.landmark_page.strain.isChecked())
        errors = landmark_errors_um(section, *pairs)
        self.set_section(section, "landmarks")
        self.message.say(
            f"Fitted to {len(errors)} pairs: mean error {errors.mean():.0f} µm, largest {errors.max():.0f} µm "
            f"(point {int(errors.argmax()) + 1})"
        )

    def load_landmarks(self) -> None:
        """Read landmarks from a table."""
        self._landmarks.set_pairs(*read_landmark_points(self.landmark_page.path.required("Table")))

    def save_landmarks(self) -> None:
        """Write the landmarks as a table."""
        path = self.landmark_page.path.required("Table")
        if confirm_overwrite(self, path):
            write_landmarks(path, *self._landmarks.pairs, overwrite=True)
            self.message.say(f"Saved: {path}")

    # Saving

    def save(self) -> None:
        """Write the pair at the pose that is shown, in the background."""
        inputs, section, origin = self.opened, self.section, self._origin
        path = self.save_page.pair_path.required("Pair folder")
        if not confirm_overwrite(self, path):
            return
        folder = PairFolder(path, overwrite=path.exists())
        config = inputs.config.model_copy(update={"deform": self.save_page.deform.isChecked() or inputs.config.deform})
        refine, location = self.save_page.refine.isChecked(), self.location
        is_search = location is not None and origin == "search" and not refine
        hint = Hint(accept=True) if is_search else Hint(section, accept=True, refine=refine, source=origin)

        def work(progress: Progress, should_stop: ShouldStop) -> Registration:
            report = raising_on_stop(progress, should_stop, path)
            if is_search and location is not None:
                # Unchanged since the search: the same files as of `tomostain register`.
                certain = Hint(accept=not location.evidence.sure)
                return use_location(inputs.volume, inputs.slide, location, config, hint=certain, folder=folder)
            return register_opened(inputs.volume, inputs.slide, config, hint=hint, folder=folder, progress=report)

        def saved(registration: Registration) -> None:
            if refine:
                self._show_result(registration.section, "refined", inputs)
            self._state_saved(registration, path)

        self.task.start(work, label="saving", on_result=saved, on_error=self.show_error)

    def _state_saved(self, registration: Registration, path: Path) -> None:
        evidence = registration.evidence
        lines = [
            f"Saved: {path}",
            f"confidence {evidence.confidence:.2f} ({evidence.describe()})",
            *registration.warnings,
            f"Check {path / 'qc.png'}. In the table of prepare: section = {path / 'pair.yaml'}",
        ]
        self.message.say("\n".join(lines), "info" if evidence.sure else "warning")

    # Parts

    def _lay_out(self) -> None:
        if self.scene is not None:
            view = self.view
            self.scene.set_layout(view.layout_name, opacity=view.opacity_value, squares=view.squares_value)
            if self.landmarks is not None:
                self.landmarks.show_in(self.section)

    def _bind_keys(self) -> None:
        for _, key, name, sign, _ in NUDGES:
            self.viewer.bind_key(key, self.controls.nudge_action(name, sign), overwrite=True)

    def _unbind_keys(self) -> None:
        for _, key, *_ in NUDGES:
            self.viewer.bind_key(key, None, overwrite=True)

    def _set_open(self, is_open: bool) -> None:
        """Enable the pages that need an open volume."""
        for number in (1, 2, 3):
            self.tabs.setTabEnabled(number, is_open)
        self.open_page.close_button.setEnabled(is_open)
        self.view.setVisible(is_open)
        self.score_label.setVisible(is_open)
        self._set_buttons()

    def _set_buttons(self) -> None:
        self.pose_page.undo_button.setEnabled(self.history.can_undo or self.controls.pose != self.history.current)
        self.pose_page.redo_button.setEnabled(self.history.can_redo)
        self.pose_page.best_button.setEnabled(self._best is not None)
