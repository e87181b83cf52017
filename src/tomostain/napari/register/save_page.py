"""The page that loads a pose and saves the pair."""

from qtpy.QtWidgets import QCheckBox, QWidget

from tomostain.cli.register import SearchOptions
from tomostain.napari.fields import PathField, option_help
from tomostain.napari.register.parts import Form


class SavePage(QWidget):
    """Paths, options and buttons; `RegisterWidget` connects them."""

    def __init__(self) -> None:
        super().__init__()
        self.form = Form(self)
        self.start_path = PathField("file", "Pose", "YAML (*.yaml *.yml)")
        self.form.add("Pose file", self.start_path, "A pair.yaml, the YAML of a candidate, or of a phantom.", "init")
        self.load_button = self.form.button("Load pose", "Show the pose of this file.")
        self.pair_path = PathField("save", "Folder of the pair")
        self.form.add("Pair folder", self.pair_path, "Folder to write: ct.tif, histology.tif, mask.tif, pair.yaml.")
        self.refine = QCheckBox("Refine the pose first (about a minute)")
        self.form.add("", self.refine, "Search near the pose, then refine it at full resolution.")
        self.deform = QCheckBox("Deform the soft tissue")
        self.form.add("", self.deform, option_help(SearchOptions, "deform"))
        self.save_button = self.form.button("Accept and save", "Write the pair at the pose that is shown.")
