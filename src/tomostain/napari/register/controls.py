"""Sliders, fields and buttons of a pose."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QGridLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible, QLabeledDoubleSlider

from tomostain.geometry.plane_pose import PlanePose
from tomostain.register.config import RegisterConfig

if TYPE_CHECKING:
    from napari import Viewer

# Field of `PlanePose`: label, unit, tooltip.
_ANGLES = {
    "tilt_row_deg": ("Tilt up/down", "°", "Tilt of the plane about the direction of the rows of the start plane."),
    "tilt_column_deg": ("Tilt left/right", "°", "Tilt of the plane about the direction of its columns."),
    "turn_deg": ("Rotation", "°", "Rotation within the plane: the µCT turns clockwise on the slide."),
}
_LENGTHS = {
    "offset_um": ("Offset", "µm", "Distance of the plane from the middle of the volume, along its normal."),
    "shift_column_um": ("Shift right", "µm", "The µCT moves to the right on the slide."),
    "shift_row_um": ("Shift down", "µm", "The µCT moves down on the slide."),
}
_STRAINS = ("Scale of rows", "Scale of columns", "Shear")
_BASES = {"z": "xy: slices along z", "y": "zx: slices along y", "x": "zy: slices along x"}
_TILT_DEG, _TURN_DEG = 90.0, 180.0
# Nudges: text, key, field, sign.
NUDGES = (
    ("↑", "Shift-Up", "shift_row_um", -1, (0, 1)),
    ("↓", "Shift-Down", "shift_row_um", 1, (2, 1)),
    ("←", "Shift-Left", "shift_column_um", -1, (1, 0)),
    ("→", "Shift-Right", "shift_column_um", 1, (1, 2)),
    ("⟲", "Control-Shift-PageUp", "turn_deg", -1, (0, 0)),
    ("⟳", "Control-Shift-PageDown", "turn_deg", 1, (0, 2)),
    ("offset −", "Shift-PageUp", "offset_um", -1, (2, 0)),
    ("offset +", "Shift-PageDown", "offset_um", 1, (2, 2)),
    ("tilt ↑", "Control-Shift-Up", "tilt_row_deg", -1, (0, 3)),
    ("tilt ↓", "Control-Shift-Down", "tilt_row_deg", 1, (0, 4)),
    ("tilt ←", "Control-Shift-Left", "tilt_column_deg", -1, (1, 3)),
    ("tilt →", "Control-Shift-Right", "tilt_column_deg", 1, (1, 4)),
)


class PoseControls(QWidget):
    """Controls of a `PlanePose`.

    Attributes
    ----------
    changed : signal
        Emitted with the new pose when the user changes it, not by `set_pose`.
    """

    changed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._pose = PlanePose()
        self._middle_um: NDArray[np.float64] = np.zeros(3)
        self.base = QComboBox()
        for name, text in _BASES.items():
            self.base.addItem(text, name)
        self.base.setToolTip("The plane that the tilts are counted from. A choice sets the tilts to 0.")
        self.base.activated.connect(lambda _: self._rebase())
        self.face_down = QCheckBox("Slide lies face down (mirrored)")
        self.face_down.setToolTip("Show the plane from behind, for a section that was mounted upside down.")
        self.face_down.toggled.connect(lambda on: self._set("face_down", on))
        self.sliders: dict[str, QLabeledDoubleSlider] = {}
        self.strains: list[QDoubleSpinBox] = []
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        form = QFormLayout()
        form.addRow("Start plane", self.base)
        for name, (label, unit, tip) in (_ANGLES | _LENGTHS).items():
            form.addRow(f"{label}, {unit}", self._slider(name, tip))
        form.addRow(self.face_down)
        layout.addLayout(form)
        layout.addWidget(self._strain_fields())
        layout.addWidget(self._nudges())
        self.set_reach(1000.0, np.zeros(3))

    @property
    def pose(self) -> PlanePose:
        """The pose that is shown."""
        return self._pose

    def set_pose(self, pose: PlanePose) -> None:
        """Show a pose."""
        self._pose = pose
        for name, slider in self.sliders.items():
            blocked = slider.blockSignals(True)
            slider.setValue(getattr(pose, name))
            slider.blockSignals(blocked)
        for widget, value in ((self.base, self.base.findData(pose.base)), (self.face_down, pose.face_down)):
            blocked = widget.blockSignals(True)
            widget.setCurrentIndex(value) if widget is self.base else widget.setChecked(value)
            widget.blockSignals(blocked)
        for field, strain in zip(self.strains, pose.strain, strict=True):
            blocked = field.blockSignals(True)
            field.setValue(100 * strain)
            field.blockSignals(blocked)

    def set_reach(self, reach_um: float, middle_um: NDArray[np.float64], step_um: float = 10.0) -> None:
        """Set the range of the sliders in µm, the middle of the volume, and the step of the nudges."""
        self._middle_um = middle_um
        for name, slider in self.sliders.items():
            if name in _LENGTHS:
                blocked = slider.blockSignals(True)
                slider.setRange(-reach_um, reach_um)
                slider.blockSignals(blocked)
        self.step_um.setValue(step_um)

    def nudge(self, name: str, sign: int) -> None:
        """Change a field of the pose by one step."""
        step = self.step_deg.value() if name in _ANGLES else self.step_um.value()
        value = getattr(self._pose, name) + sign * step
        if name == "turn_deg":
            value = (value + _TURN_DEG) % (2 * _TURN_DEG) - _TURN_DEG
        slider = self.sliders[name]
        self._set(name, float(np.clip(value, slider.minimum(), slider.maximum())))

    def nudge_action(self, name: str, sign: int) -> Callable[..., None]:
        """Return a function that nudges, for a button or a key of the viewer. It ignores its arguments."""
        return lambda *_: self.nudge(name, sign)

    def bind_keys(self, viewer: "Viewer") -> None:
        """Let keys of the viewer nudge the pose."""
        for _, key, name, sign, _ in NUDGES:
            viewer.bind_key(key, self.nudge_action(name, sign), overwrite=True)

    def unbind_keys(self, viewer: "Viewer") -> None:
        """Free these keys again."""
        for _, key, *_ in NUDGES:
            viewer.bind_key(key, None, overwrite=True)

    def _slider(self, name: str, tip: str) -> QLabeledDoubleSlider:
        slider = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        slider.setDecimals(1)
        if name in _ANGLES:
            reach = _TURN_DEG if name == "turn_deg" else _TILT_DEG
            slider.setRange(-reach, reach)
            slider.setSingleStep(0.5)
        slider.setToolTip(tip)
        slider.valueChanged.connect(partial(self._set, name))
        self.sliders[name] = slider
        return slider

    def _strain_fields(self) -> QCollapsible:
        fold = QCollapsible("Size of the slide")
        inside = QWidget()
        form = QFormLayout(inside)
        largest = 200 * float(RegisterConfig.model_fields["max_strain"].default)
        for number, label in enumerate(_STRAINS):
            field = QDoubleSpinBox()
            field.setRange(-largest, largest)
            field.setDecimals(2)
            field.setSingleStep(0.1)
            field.setSuffix(" %")
            field.setToolTip("Strain of the histology: preparation shrinks or stretches a section, and shears it.")
            field.valueChanged.connect(partial(self._set_strain, number))
            self.strains.append(field)
            form.addRow(label, field)
        fold.addWidget(inside)
        return fold

    def _nudges(self) -> QWidget:
        box = QWidget()
        grid = QGridLayout(box)
        grid.setContentsMargins(0, 0, 0, 0)
        self.nudge_buttons: dict[str, QPushButton] = {}
        for text, key, name, sign, (row, column) in NUDGES:
            button = QPushButton(text)
            button.setToolTip(f"One step. Key in the viewer: {key.replace('-', '+')}")
            button.setAutoRepeat(True)
            button.clicked.connect(self.nudge_action(name, sign))
            self.nudge_buttons[text] = button
            grid.addWidget(button, row, column)
        self.step_um, self.step_deg = QDoubleSpinBox(), QDoubleSpinBox()
        for field, unit, largest, step in ((self.step_um, " µm", 10_000.0, 5.0), (self.step_deg, "°", 45.0, 0.1)):
            field.setRange(0.1, largest)
            field.setDecimals(1)
            field.setSingleStep(step)
            field.setSuffix(unit)
            field.setToolTip("Step of the buttons and of the keys.")
        self.step_deg.setValue(0.5)
        grid.addWidget(QLabel("Steps"), 3, 0)
        grid.addWidget(self.step_um, 3, 1, 1, 2)
        grid.addWidget(self.step_deg, 3, 3, 1, 2)
        return box

    def _set(self, name: str, value: float | bool) -> None:
        """Change a field of the pose. Angles turn about the middle of the slide."""
        if name in _LENGTHS:
            pose = replace(self._pose, **{name: float(value)})  # type: ignore[arg-type]
        else:
            pose = self._pose.rotated(self._middle_um, **{name: value})  # type: ignore[arg-type]
        self.set_pose(pose)
        self.changed.emit(pose)

    def _set_strain(self, number: int, percent: float) -> None:
        strain = list(self._pose.strain)
        strain[number] = percent / 100
        self.set_pose(replace(self._pose, strain=(strain[0], strain[1], strain[2])))
        self.changed.emit(self._pose)

    def _rebase(self) -> None:
        angles = {"base": self.base.currentData(), "tilt_row_deg": 0.0, "tilt_column_deg": 0.0}
        self.set_pose(self._pose.rotated(self._middle_um, **angles))
        self.changed.emit(self._pose)
