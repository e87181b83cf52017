"""The controls of the Stain widget: model, volume, grey values, options. They become a `StainRequest`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from napari.layers import Image, Layer
from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QLineEdit, QSpinBox

from tomostain.cli.common import DEVICE, triple
from tomostain.cli.stain import ProcessOptions, SettingOptions, StainVolumeOptions, UncertaintyOptions
from tomostain.cli.stain import stain as verb
from tomostain.errors import InputError
from tomostain.imaging.intensity import IntensityReference
from tomostain.io import list_models
from tomostain.models import find_model
from tomostain.napari.fields import LayerBox, PathField, ToolWidget, option_default, option_help
from tomostain.napari.layers import LayerVolume, source_of, volume_input
from tomostain.stain import StainConfig, StainRequest
from tomostain.stain.request import Intensity

if TYPE_CHECKING:
    from napari import Viewer

OTHER = "other model folder …"
DEFAULT_MODEL = "builtin:phantom-tb"
INTENSITIES = {
    "estimate from the volume": "auto",
    "as given below": "given",
    "normalised already": "normalised",
    "full range of the type": "range",
}
"""Entries of the list of grey values, and what they mean."""


@dataclass(frozen=True)
class StainSettings:
    """What the controls state.

    Attributes
    ----------
    volume : LayerVolume
    request : StainRequest
        With a placeholder as its volume: `opened` puts the volume there, in the thread that reads it.
    """

    volume: LayerVolume
    request: StainRequest

    def opened(self) -> StainRequest:
        """Return the request with the volume opened."""
        return replace(self.request, volume=self.volume.open())


def is_ct(layer: Layer) -> bool:
    """Return whether a layer can be stained: a µCT volume of the plugin, or a grey Image layer with three axes."""
    source = source_of(layer)
    if not isinstance(layer, Image) or layer.rgb or layer.ndim != 3:
        return False
    return (
        source.kind == "ct" and source.path is not None if source is not None else "tomostain_3d" not in layer.metadata
    )


class GreyValue(QDoubleSpinBox):
    """A grey value of any size: 40000 of 16-bit volumes as well as 0.002 of attenuation coefficients."""

    def __init__(self) -> None:
        super().__init__()
        self.setDecimals(10)
        self.setRange(-1e9, 1e9)
        self.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
        self.setMinimumWidth(60)

    def textFromValue(self, value: float) -> str:
        """Return the number with six significant digits and without zeros at its end."""
        text = np.format_float_positional(value, precision=6, unique=True, fractional=False, trim="-")
        return text.replace(".", self.locale().decimalPoint())


class StainControls:
    """Adds the controls to a form and reads them.

    Parameters
    ----------
    tool : ToolWidget
        Whose form the controls are added to.
    viewer : napari.Viewer
    """

    def __init__(self, tool: ToolWidget, viewer: "Viewer") -> None:
        add = tool.add_row
        self.model, self.folder = QComboBox(), PathField("folder", "Model folder or run")
        for model in list_models():
            self.model.addItem(model.name, model.name)
            self.model.setItemData(self.model.count() - 1, "\n".join(model.describe()), 3)  # the tooltip
        self.model.addItem(OTHER, "")
        self.model.setCurrentIndex(max(self.model.findText(DEFAULT_MODEL), 0))
        self.volume = LayerBox(viewer, is_ct)
        self.voxel = QLineEdit()
        self.voxel.setPlaceholderText("as the layer states")
        self.intensity = QComboBox()
        for text, value in INTENSITIES.items():
            self.intensity.addItem(text, value)
        self.background, self.bone = GreyValue(), GreyValue()
        add("Model", self.model, parameter="model", tip=_argument("model"))
        add("Model folder", self.folder, tip=_argument("model"))
        add("µCT layer", self.volume, parameter="volume", tip="The volume that is stained.")
        add("Voxel size", self.voxel, parameter="voxel_um", tip=option_help(StainVolumeOptions, "voxel_um"))
        add("Grey values", self.intensity, parameter="normalise", tip=option_help(StainVolumeOptions, "normalise"))
        add("Background", self.background, parameter="background", tip=option_help(StainVolumeOptions, "background"))
        add("Bone", self.bone, parameter="bone", tip=option_help(StainVolumeOptions, "bone"))
        self._add_options(tool)
        self.intensity.currentIndexChanged.connect(self._enable)
        self.model.currentIndexChanged.connect(self._enable)
        self._enable()

    def _add_options(self, tool: ToolWidget) -> None:
        add = tool.add_row
        self.resample, self.mismatch = QCheckBox("resample"), QCheckBox("stain anyway")
        self.statistics, self.device = QComboBox(), QComboBox()
        self.statistics.addItems(get_args(StainConfig.model_fields["statistics"].annotation))
        self.statistics.setCurrentText(StainConfig().statistics)
        self.device.addItems(_devices())
        self.device.setEditable(True)
        self.gaussian = _number(0, 20, StainConfig().gaussian_sigma, 0.5)
        self.seed = QSpinBox()
        self.seed.setRange(0, 2**31 - 1)
        self.seed.setValue(int(str(option_default(UncertaintyOptions, "noise_seed"))))
        add("Other voxel size", self.resample, parameter="resample", tip=option_help(StainVolumeOptions, "resample"))
        tip = option_help(StainVolumeOptions, "allow_voxel_mismatch")
        add("", self.mismatch, parameter="allow_voxel_mismatch", tip=tip)
        add("Statistics", self.statistics, parameter="statistics", tip=option_help(SettingOptions, "statistics"))
        tip = option_help(SettingOptions, "gaussian_sigma")
        add("3D Gaussian", self.gaussian, parameter="gaussian_sigma", tip=tip)
        add("Noise seed", self.seed, parameter="noise_seed", tip=option_help(UncertaintyOptions, "noise_seed"))
        add("Device", self.device, parameter="device", tip=option_help(ProcessOptions, "device"))

    def changed(self, slot: Any) -> None:
        """Call a function when any control changes."""
        self.folder.changed.connect(slot)
        self.volume.changed.connect(slot)
        for line in (self.voxel,):
            line.editingFinished.connect(slot)
        for box in (self.model, self.intensity, self.statistics, self.device):
            box.currentIndexChanged.connect(slot)
        for number in (self.background, self.bone, self.gaussian, self.seed):
            number.valueChanged.connect(slot)
        for check in (self.resample, self.mismatch):
            check.toggled.connect(slot)

    @property
    def model_name(self) -> str:
        """The chosen model: ``builtin:NAME``, or a folder; "" if none is given."""
        return str(self.model.currentData() or self.folder.line.text().strip())

    def settings(self) -> StainSettings:
        """Return what the controls state.

        Raises
        ------
        InputError
            If a control has no valid value.
        """
        if not self.model_name:
            raise InputError("“Model folder” is empty: choose the folder of a model, or a built-in model")
        folder = find_model(self.model_name)
        if not folder.exists():
            raise InputError(f"{folder}: no such model folder", parameter="model")
        voxel = triple(self.voxel.text().strip() or None, "“Voxel size”")
        config = StainConfig(statistics=self.statistics.currentText(), gaussian_sigma=self.gaussian.value())
        request = StainRequest(
            model=folder,
            volume=Path(),
            config=config,
            intensity=self._intensity(),
            device=self.device.currentText(),
            resample=self.resample.isChecked(),
            allow_voxel_mismatch=self.mismatch.isChecked(),
            noise_seed=self.seed.value(),
        )
        return StainSettings(volume_input(self.volume.required("µCT layer"), voxel), request)

    def show_intensity(self, reference: IntensityReference | None) -> None:
        """Show the grey values that were found."""
        if reference is not None and self.intensity.currentData() != "given":
            for box, value in ((self.background, reference.background), (self.bone, reference.bone)):
                box.blockSignals(True)
                box.setValue(value)
                box.blockSignals(False)

    def _intensity(self) -> Intensity:
        chosen = self.intensity.currentData()
        if chosen == "given":
            return IntensityReference(background=self.background.value(), bone=self.bone.value())
        return "auto" if chosen == "auto" else "range" if chosen == "range" else "normalised"

    def _enable(self, *_: object) -> None:
        is_given = self.intensity.currentData() == "given"
        self.background.setEnabled(is_given)
        self.bone.setEnabled(is_given)
        self.folder.setEnabled(self.model.currentText() == OTHER)


def ensemble_of(text: str) -> list[Path]:
    """Return the models of a line: folders or built-in models, separated by semicolons.

    Examples
    --------
    >>> [path.name for path in ensemble_of("builtin:phantom-tb; builtin:phantom-he")]
    ['phantom-tb', 'phantom-he']
    """
    folders = [find_model(part.strip()) for part in text.split(";") if part.strip()]
    for folder in folders:
        if not folder.exists():
            raise InputError(f"{folder}: no such model folder", parameter="ensemble")
    return folders


def uncertainty_help(name: str) -> str:
    """Return the help of an option of the uncertainty."""
    return option_help(UncertaintyOptions, name)


def _argument(name: str) -> str:
    return option_help(verb, name)


def _devices() -> list[str]:
    """Return what the option for the device takes, without importing PyTorch."""
    return [str(DEVICE.default), "cpu", "cuda"]


def _number(low: float, high: float, value: float = 0.0, step: float = 100.0) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setDecimals(1)
    box.setRange(low, high)
    box.setSingleStep(step)
    box.setValue(value)
    box.setMinimumWidth(60)
    return box
