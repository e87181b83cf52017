"""The page that chooses volume and slide."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QComboBox, QLineEdit, QWidget

from tomostain.cli.common import file_values, triple
from tomostain.cli.register import InputOptions, SearchOptions
from tomostain.io import Slide, Volume
from tomostain.napari.fields import LayerBox, PathField, option_help
from tomostain.napari.register.inputs import (
    RegisterVolumeOptions,
    is_slide_layer,
    is_volume_layer,
    slide_opener,
    volume_opener,
)
from tomostain.napari.register.parts import FileOrFolder, Form
from tomostain.register.config import RegisterConfig

if TYPE_CHECKING:
    from napari import Viewer

_MATERIALS = {"": "try both", "dense": "dense (Mg, Ti)", "light": "light (PEEK)"}


class OpenPage(QWidget):
    """Volume, slide, their sizes, and the settings of the registration.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    def __init__(self, viewer: "Viewer") -> None:
        super().__init__()
        self.volume_box = LayerBox(viewer, is_volume_layer, optional="(from a file)")
        self.volume_path = FileOrFolder("file", "µCT volume")
        self.slide_box = LayerBox(viewer, is_slide_layer, optional="(from a file)")
        self.slide_path = PathField("file", "Slide")
        for box in (self.volume_box, self.slide_box):
            box.setCurrentIndex(min(1, box.count() - 1))
        self.voxel_um, self.pixel_um = QLineEdit(), QLineEdit()
        for field in (self.voxel_um, self.pixel_um):
            field.setPlaceholderText("from the file")
        self.dataset, self.allow_missing = QLineEdit(), QCheckBox("Fill missing slices with zeros")
        self.dataset.setPlaceholderText("the only one")
        self.inverted = QCheckBox("The slide is stored inverted")
        self.material = QComboBox()
        for value, text in _MATERIALS.items():
            self.material.addItem(text, value)
        self.config_path = PathField("file", "Settings of register", "YAML (*.yaml *.yml)")
        self.form = Form(self)
        inputs, search = InputOptions, SearchOptions
        for label, field, tip, parameter in (
            ("Volume", self.volume_box, "A µCT layer of the viewer.", ""),
            ("or its file", self.volume_path, "A file, or a folder of slices.", ""),
            ("Voxel size, µm", self.voxel_um, option_help(inputs, "voxel_um"), "voxel_um"),
            ("Dataset", self.dataset, option_help(inputs, "dataset"), "dataset"),
            ("", self.allow_missing, option_help(inputs, "allow_missing"), "allow_missing"),
            ("Slide", self.slide_box, "A colour layer of the viewer.", ""),
            ("or its file", self.slide_path, "Whole-slide image of the section.", ""),
            ("Pixel size, µm", self.pixel_um, option_help(inputs, "pixel_um"), "pixel_um"),
            ("", self.inverted, option_help(inputs, "invert_histology"), ""),
            ("Implant", self.material, option_help(search, "material"), "material"),
            ("Settings", self.config_path, "YAML of register, such as the widget Normalise writes it.", "config"),
        ):
            self.form.add(label, field, tip, parameter)
        self.open_button = self.form.button("Open", "Read volume and slide for the live view.")
        self.close_button = self.form.button("Close", "Remove the layers of this widget, and show the others again.")

    def config(self) -> RegisterConfig:
        """Return the settings.

        Raises
        ------
        InputError
            If the file of settings cannot be read.
        """
        values = file_values(self.config_path.path)
        if self.material.currentData():
            values["material"] = self.material.currentData()
        return RegisterConfig.from_dict(values, source=str(self.config_path.path or "settings"))

    def openers(self) -> tuple[Callable[[], Volume], Callable[[], Slide]]:
        """Return functions that open volume and slide in a thread.

        Raises
        ------
        InputError
            If a size is not a number, or nothing is chosen.
        """
        sizes = triple(self.voxel_um.text().strip() or None, "Voxel size")
        pixels = triple(self.pixel_um.text().strip() or None, "Pixel size")
        options = RegisterVolumeOptions(sizes, self.dataset.text().strip() or None, self.allow_missing.isChecked())
        pixel_um = pixels[0] if pixels else None
        return (
            volume_opener(self.volume_box.layer, self.volume_path.path, options),
            slide_opener(self.slide_box.layer, self.slide_path.path, pixel_um, inverted=self.inverted.isChecked()),
        )
