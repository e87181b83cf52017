"""The widget Mask: exclusions of a pair, painted over its correspondence mask."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.notifications import show_error
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QMessageBox, QPushButton, QSlider, QWidget

from tomostain.dataset.exclusion import load_exclude, save_exclude
from tomostain.dataset.pair import load_pair
from tomostain.errors import InputError
from tomostain.io.images import read_mask
from tomostain.napari.closing import when_closed
from tomostain.napari.fields import PathField, ToolWidget, confirm_overwrite
from tomostain.napari.layers import LayerSource, placed

if TYPE_CHECKING:
    from napari import Viewer

_MASK_COLOUR, _EXCLUDE_COLOUR = "#3fb6a8", "#e0523f"
_MODES = {
    "Brush": ("paint", "Paint what is excluded."),
    "Polygon": ("polygon", "Click the corners of a region; a double click closes it."),
    "Eraser": ("erase", "Remove paint."),
    "Move": ("pan_zoom", "Move and zoom the picture."),
}
_SHOWN = ("Histology", "µCT", "Both")


@dataclass(eq=False)
class _PairLayers:
    """The pair that is shown, and its layers."""

    folder: Path
    mask: NDArray[np.bool_]
    saved: NDArray[np.bool_]
    ct: Image
    histology: Image
    hull: Labels
    excluded: Labels
    is_kept: bool = False

    @property
    def all(self) -> tuple[Layer, ...]:
        return self.ct, self.histology, self.hull, self.excluded

    @property
    def drawn(self) -> NDArray[np.bool_]:
        """What is painted now, shape (Y, X)."""
        return np.asarray(self.excluded.data) > 0

    @property
    def is_changed(self) -> bool:
        """Whether it differs from the file."""
        return not np.array_equal(self.drawn, self.saved)


class MaskWidget(ToolWidget):
    """Exclude regions of a pair from training and evaluation.

    The automatic mask is the intersection of the convex hulls of bone and implant in both images (paper section 2.8).
    What is painted is written as ``exclude.tif``.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: "Viewer") -> None:
        super().__init__(napari_viewer)
        self.pair: _PairLayers | None = None
        self._folders: list[Path] = []
        self._hidden: list[Layer] = []
        self._row = -1
        self.path = PathField("folder", "Folder of a pair or of a dataset")
        self.add_row("Pair or dataset", self.path, tip="The folder of a pair, or of a dataset with several pairs.")
        self.open_button = self.add_button("Open", self.open, tip="Show the pairs of this folder.")
        self.pairs = QComboBox()
        self.pairs.activated.connect(lambda row: self.attempt(lambda: self.choose(row)))
        self.add_row("Pair", self.pairs, tip="The pairs of the dataset.")
        self.shown = QComboBox()
        self.shown.addItems(_SHOWN)
        self.shown.currentIndexChanged.connect(lambda _: self._show_images())
        self.add_row("Show", self.shown, tip="The image under the mask.")
        self.modes: dict[str, QPushButton] = {}
        row = QWidget()
        layout = QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        for text, (_, tip) in _MODES.items():
            button = self.modes[text] = QPushButton(text)
            button.setToolTip(tip)
            button.clicked.connect(lambda *_, text=text: self.set_mode(text))
            layout.addWidget(button)
        self.form.addRow(row)
        self.brush = QSlider(Qt.Orientation.Horizontal)
        self.brush.setRange(1, 100)
        self.brush.setValue(10)
        self.brush.valueChanged.connect(self._set_brush)
        self.add_row("Brush, px", self.brush, tip="Diameter of brush and eraser.")
        self.undo_button = self.add_button("Undo", self.undo, tip="Undo the last stroke.")
        self.clear_button = self.add_button("Exclude nothing", self.clear, tip="Remove all paint of this pair.")
        self.share = QLabel("")
        self.share.setWordWrap(True)
        self.form.addRow(self.share)
        self.save_button = self.add_button("Save", self.save, tip="Write exclude.tif into the folder of the pair.")
        self.close_button = self.add_button("Close", self.leave, tip="Remove the layers of this widget.")
        self._set_open(False)
        when_closed(self, self._dock_closed)

    def open(self) -> None:
        """List the pairs of the folder, and show the first."""
        folder = self.path.required("Pair or dataset")
        folders = [folder] if (folder / "pair.yaml").is_file() else sorted(folder.glob("pairs/*/pair.yaml"))
        folders = [path.parent if path.name == "pair.yaml" else path for path in folders]
        if not folders:
            raise InputError(f"{folder}: contains no pair; choose a folder that register or prepare wrote")
        if self._may_leave():
            self.close_pair()
            self._folders, self._row = folders, -1
            self.pairs.clear()
            self.pairs.addItems([path.name for path in self._folders])
            self.choose(0)

    def choose(self, row: int) -> None:
        """Show a pair of the list. Unsaved paint is discarded only after a question."""
        if row != self._row and self._may_leave():
            self._row = row
            self._show_pair(self._folders[row])
        self.pairs.setCurrentIndex(self._row)

    def set_mode(self, text: str) -> None:
        """Choose a tool: "Brush", "Polygon", "Eraser" or "Move"."""
        if self.pair is not None and self.pair.excluded in self.viewer.layers:
            self.viewer.layers.selection.active = self.pair.excluded
            self.pair.excluded.mode = _MODES[text][0]

    def undo(self) -> None:
        """Undo the last stroke."""
        self._opened.excluded.undo()

    def clear(self) -> None:
        """Remove all paint."""
        layer = self._opened.excluded
        layer.data_setitem(np.nonzero(layer.data), 0)

    def save(self) -> None:
        """Write `exclude.tif`."""
        pair, path = self._opened, self._opened.folder / "exclude.tif"
        if confirm_overwrite(self, path):
            save_exclude(pair.folder, pair.drawn, overwrite=True)
            pair.saved = pair.drawn
            self._count()
            in_dataset = pair.folder.parent.name == "pairs"
            more = "" if in_dataset else "\nGive this path in the column “exclude” of the table of prepare."
            self.message.say(f"Saved: {path}{more}")

    def leave(self) -> None:
        """Remove the layers of this widget. Unsaved paint is discarded only after a question."""
        if self._may_leave():
            self.close_pair()
            self._row = -1

    def close_pair(self) -> None:
        """Remove the layers of this widget, and show the others again."""
        if self.pair is not None:
            for layer in self.pair.all[:-1] if self.pair.is_kept else self.pair.all:
                if layer in self.viewer.layers:
                    self.viewer.layers.remove(layer)
            for layer in self._hidden:
                layer.visible = True
        self.pair, self._hidden = None, []
        self._set_open(False)

    @property
    def _opened(self) -> _PairLayers:
        if self.pair is None:
            raise InputError("no pair is open: choose a folder, and press Open")
        return self.pair

    def _may_leave(self) -> bool:
        """Return whether the pair may be closed: nothing is unsaved, or the user agrees to discard it."""
        if self.pair is None or not self.pair.is_changed:
            return True
        buttons = QMessageBox.StandardButton
        question = f"The exclusion of {self.pair.folder.name} is not saved. Discard it?"
        answer = QMessageBox.question(self, "Discard", question, buttons.Yes | buttons.No, buttons.No)
        return bool(answer == buttons.Yes)

    def _dock_closed(self) -> None:
        """Offer to save the paint, and remove the layers. Paint that cannot be saved stays as a layer."""
        pair = self.pair
        if pair is not None and pair.is_changed and pair.excluded in self.viewer.layers:
            buttons = QMessageBox.StandardButton
            question = f"The exclusion of {pair.folder.name} is not saved. Save it?"
            if QMessageBox.question(self, "Save", question, buttons.Yes | buttons.No, buttons.Yes) == buttons.Yes:
                try:
                    save_exclude(pair.folder, pair.drawn, overwrite=True)
                except (InputError, OSError) as error:
                    show_error(f"{error}. The painted pixels stay in the layer {pair.excluded.name}.")
                    pair.is_kept = True
        self.close_pair()

    def _show_pair(self, folder: Path) -> None:
        self.close_pair()
        data, mask = load_pair(folder), read_mask(folder / "mask.tif")
        saved = load_exclude(folder, mask.shape)
        saved = np.zeros_like(mask) if saved is None else saved
        self._hidden = [layer for layer in self.viewer.layers if layer.visible]
        for layer in self._hidden:
            layer.visible = False
        add, size = self.viewer, (data.voxel_um,) * 2

        def options(kind: str, name: str) -> dict[str, object]:
            source = LayerSource(kind, folder, size)  # type: ignore[arg-type]
            return placed(source, f"{name} of {data.id}")

        ct = add.add_image(data.ct, colormap="gray", **options("preview", "µCT"))
        histology = add.add_image(data.histology, rgb=True, **options("histology", "Histology"))
        hull = add.add_labels(mask.astype(np.uint8), opacity=0.9, **options("mask", "Mask"))
        excluded = add.add_labels(saved.astype(np.uint8), opacity=0.6, **options("mask", "Excluded"))
        for layer, colour in ((hull, _MASK_COLOUR), (excluded, _EXCLUDE_COLOUR)):
            layer.colormap = DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", 1: colour})
        # An outline, so that the colours of the histology can be judged.
        hull.contour = 2
        hull.editable = False
        excluded.selected_label = 1
        self.pair = _PairLayers(folder, mask, saved, ct, histology, hull, excluded)
        for emitter in (excluded.events.labels_update, excluded.events.data, excluded.events.paint):
            emitter.connect(lambda event: self._count())
        self._set_brush(self.brush.value())
        self._set_open(True)
        self._show_images()
        self._count()
        self.set_mode("Brush")
        self.viewer.reset_view()

    def _show_images(self) -> None:
        """Show histology, µCT, or the µCT over the histology."""
        if self.pair is None:
            return
        name = self.shown.currentText()
        self.pair.ct.visible, self.pair.histology.visible = name != "Histology", name != "µCT"
        self.pair.histology.opacity = 0.5 if name == "Both" else 1.0

    def _set_brush(self, size: int) -> None:
        if self.pair is not None:
            self.pair.excluded.brush_size = size

    def _count(self) -> None:
        """State how much of the pair remains."""
        if self.pair is None:
            return
        mask, drawn = self.pair.mask, self.pair.drawn
        excluded = (mask & drawn).sum() / max(1, mask.sum())
        self.share.setText(
            f"The mask covers {mask.mean():.0%} of the image. {excluded:.1%} of the mask is excluded"
            f"{', not saved yet' if self.pair.is_changed else ''}."
        )

    def _set_open(self, is_open: bool) -> None:
        buttons = (self.undo_button, self.clear_button, self.save_button, self.close_button, *self.modes.values())
        for each in (*buttons, self.brush, self.shown, self.pairs):
            each.setEnabled(is_open)
        if not is_open:
            self.share.setText("")
