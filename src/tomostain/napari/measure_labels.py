"""Layers of the viewer as inputs of the widget Measure, and the legend of the tissue classes."""

from pathlib import Path

from napari.layers import Labels, Layer
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from tomostain.errors import InputError
from tomostain.measure.classes import COLOURS, TITLES, TissueClass
from tomostain.napari.layers import file_of, source_of, voxel_um_of


def legend() -> QWidget:
    """Return the tissue classes with their colours. A border shows white and black on any background."""
    widget = QWidget()
    grid = QGridLayout(widget)
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setVerticalSpacing(1)
    for row, each in enumerate(TissueClass):
        swatch = QLabel()
        swatch.setFixedSize(13, 13)
        red, green, blue = COLOURS[each]
        swatch.setStyleSheet(f"background: rgb({red},{green},{blue}); border: 1px solid #8a8a8a;")
        grid.addWidget(swatch, row, 0)
        grid.addWidget(QLabel(f"{int(each)} {TITLES[each]}"), row, 1)
    grid.setColumnStretch(1, 1)
    return widget


def is_label_layer(layer: Layer) -> bool:
    """Return whether a layer holds labels."""
    source = source_of(layer)
    return isinstance(layer, Labels) and layer.ndim == 3 and (source is None or source.kind == "labels")


def path_of(layer: Layer | None) -> Path | None:
    """Return the file of a layer; None without a layer, or if it exists in memory only."""
    source = None if layer is None else source_of(layer)
    return None if source is None else source.path


def stored_labels(layer: Layer) -> tuple[Path, tuple[float, ...] | None]:
    """Return the file of a µCT layer, and its voxel size if the file may not state it.

    Raises
    ------
    InputError
        If it has no file, or its voxel size is unknown.
    """
    source, path = source_of(layer), file_of(layer)
    if path is None:
        raise InputError(f"layer '{layer.name}': has no file that tomostain reads; save the volume and open it again")
    if source is not None and source.voxel_um is not None:
        return path, None
    size = voxel_um_of(layer)
    if size is None and source is not None:
        raise InputError(f"layer '{layer.name}': its voxel size is unknown; set the scale and the units of the layer")
    return path, size
