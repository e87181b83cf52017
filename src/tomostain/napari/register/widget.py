"""The widget Register."""

from typing import TYPE_CHECKING

from tomostain.dataset.section_position import section_in_volume
from tomostain.geometry.section import Section
from tomostain.napari.closing import when_closed
from tomostain.napari.fields import ToolWidget, confirm_overwrite
from tomostain.napari.register.inputs import Inputs, require_open
from tomostain.napari.register.landmark_tool import LandmarkTool
from tomostain.napari.register.landmarks import Landmarks
from tomostain.napari.register.live_pose import LivePose, ShownPose
from tomostain.napari.register.pages import RegisterPages
from tomostain.napari.register.pair_to_save import PairToSave
from tomostain.napari.register.renamed_methods import RenamedMethods
from tomostain.napari.register.scene import RegisterScene
from tomostain.napari.tasks import LatestOnly
from tomostain.progress import Progress, ShouldStop, raising_on_stop
from tomostain.register.hints import check_start, read_section
from tomostain.register.locate import SectionLocation, locate_section
from tomostain.register.pair_files import PairFolder
from tomostain.register.preview import PosePreview, PoseScore
from tomostain.register.registration import Registration

if TYPE_CHECKING:
    from napari import Viewer


class RegisterWidget(RenamedMethods, ToolWidget):
    """Place the section of a slide in a µCT volume.

    Open a volume and a slide, find the pose with the sliders, landmarks or the automatic search, and save the pair.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: "Viewer") -> None:
        super().__init__(napari_viewer)
        self.inputs: Inputs | None = None
        self.scene: RegisterScene | None = None
        self.candidates: tuple[Section, ...] = ()
        self.location: SectionLocation | None = None
        self.pages = pages = RegisterPages(self.viewer)
        self.labels |= pages.labels
        self.open_page, self.pose_page = pages.open_page, pages.pose_page
        self.landmark_page, self.save_page = pages.landmark_page, pages.save_page
        self.controls = self.pose_page.controls
        self.tabs, self.view, self.score_label = pages.tabs, pages.view, pages.score_label
        self.pose = LivePose(
            self, self.controls, on_shown=self._show, on_changed=self._set_buttons, on_error=self.show_error
        )
        self.landmark_tool = LandmarkTool(self, self.landmark_page, self.pose)
        self._connect()
        self.view.changed.connect(self._lay_out)
        self.view.fit.clicked.connect(lambda: self.scene and self.scene.fit_view())
        for row in pages.rows:
            self.form.addRow(row)
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
            (self.pose_page.undo_button, self.pose.undo),
            (self.pose_page.redo_button, self.pose.redo),
            (self.pose_page.reset_button, self.pose.reset),
            (self.pose_page.best_button, self.pose.go_to_best),
        ):
            button.clicked.connect(lambda *_, action=action: self.attempt(action))
        self.pose_page.candidate_box.activated.connect(self.choose_candidate)

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
        self.inputs, self.pose.preview, preview = inputs, inputs.preview, inputs.preview
        self.scene = RegisterScene(self.viewer, preview)
        self.controls.set_reach(
            preview.reach_um, preview.volume_middle_um, float(inputs.preview.task.resolution.voxel_um.max())
        )
        self.landmark_tool.open(self.viewer, self.scene, inputs)
        # Its contrast can be changed at once.
        self.viewer.layers.selection.active = self.scene.plane
        self._set_open(True)
        self.controls.bind_keys(self.viewer)
        self._lay_out()
        self.scene.fit_view()
        self.tabs.setCurrentIndex(1)
        self.message.say(f"volume: {inputs.volume.describe()}")
        self.begin()

    def begin(self) -> None:
        """Begin at the first pose, without candidates and landmarks."""
        self.pose.begin()
        self.location = None
        self._set_candidates(())
        self.landmark_tool.clear()
        self.pose.go_to(self.pose.history.current)

    def close_scene(self) -> None:
        """Remove the layers of this widget and show the others again."""
        self.pose.stop()
        self.landmark_tool.close()
        if self.scene is not None:
            self.scene.close()
            self.controls.unbind_keys(self.viewer)
        self.pose.close()
        self.scene = self.inputs = self.location = None
        self._set_candidates(())
        self.score_label.setText("")
        self.landmark_tool.list_landmarks()
        self._set_open(False)

    # The pose

    @property
    def section(self) -> Section:
        """The pose that is shown."""
        return self.pose.section

    @property
    def opened(self) -> Inputs:
        """Volume and slide.

        Raises
        ------
        InputError
            If none are open.
        """
        return require_open(self.inputs)

    @property
    def landmarks(self) -> Landmarks | None:
        """The landmarks; None if nothing is open."""
        return self.landmark_tool.landmarks

    @property
    def score(self) -> PoseScore | None:
        """The score of the pose that was computed last."""
        return self.pose.score

    @property
    def live(self) -> LatestOnly:
        """Computes plane and score of the pose."""
        return self.pose.live

    def set_section(self, section: Section, origin: str) -> None:
        """Show a pose, as a new step of the history.

        Parameters
        ----------
        section : Section
        origin : str
            For `pair.yaml`: "search", "candidate", "landmarks", "refined", "file" or "manual".
        """
        self.pose.set_section(section, origin)

    def _show(self, shown: ShownPose) -> None:
        if self.scene is None or self.landmarks is None:
            return
        self.scene.show_plane(shown.values, shown.grid)
        self.landmarks.show_in(shown.section)
        self.landmark_tool.list_landmarks()
        self.pages.show_score(self.pose)
        self._set_buttons()

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
        """Read a pose from a file. It may state another copy of the volume, such as a region."""
        inputs = self.opened
        section = section_in_volume(read_section(self.save_page.start_path.required("Pose file")), inputs.volume)
        check_start(section, inputs.volume.shape, inputs.volume.voxel_um)
        self.set_section(section, "file")

    # Saving

    def save(self) -> None:
        """Write the pair at the pose that is shown, in the background."""
        inputs, section, page = self.opened, self.section, self.save_page
        path = page.pair_path.required("Pair folder")
        if not confirm_overwrite(self, path):
            return
        pair = PairToSave(
            inputs,
            section,
            self.pose.origin,
            PairFolder(path, overwrite=path.exists()),
            refine=page.refine.isChecked(),
            deform=page.deform.isChecked(),
            location=self.location,
        )

        def saved(registration: Registration) -> None:
            if pair.refine:
                self._show_result(registration.section, "refined", inputs)
            self.message.say(pair.describe(registration), "info" if registration.evidence.sure else "warning")

        self.task.start(pair.write, label="saving", on_result=saved, on_error=self.show_error)

    # Parts

    def _lay_out(self) -> None:
        if self.scene is not None:
            view = self.view
            self.scene.set_layout(view.layout_name, opacity=view.opacity_value, squares=view.squares_value)
            if self.landmarks is not None:
                self.landmarks.show_in(self.section)

    def _set_open(self, is_open: bool) -> None:
        self.pages.set_open(is_open)
        self._set_buttons()

    def _set_buttons(self) -> None:
        self.pages.enable_history(self.pose)
