"""Stained volumes in 3D: napari shows no colour volumes there, so three layers, red, green and blue, are added up.

Each shows its mean along the line of sight, as light that goes through a thick section.

In 2D a stained volume is one layer in colour. When the viewer changes to 3D, that layer is hidden and three layers of
its channels are shown instead; they are removed when the viewer changes back.
"""

from typing import TYPE_CHECKING, Any
from weakref import WeakSet, ref

from napari.layers import Layer

from tomostain.napari.layers import source_of
from tomostain.napari.lazy import channel_levels, shown

if TYPE_CHECKING:
    from napari import Viewer

CHANNELS = ("red", "green", "blue")
_OF = "tomostain_3d"
_following: "WeakSet[Any]" = WeakSet()


def follow_dimensions(viewer: "Viewer") -> None:
    """Show stained volumes of a viewer as three layers whenever it is in 3D. Calling it again changes nothing."""
    if viewer in _following:
        return
    _following.add(viewer)

    def update(event: object = None) -> None:
        show_for_dimensions(viewer)

    viewer.dims.events.ndisplay.connect(update)
    viewer.layers.events.inserted.connect(update)


def show_for_dimensions(viewer: "Viewer") -> None:
    """Show each stained volume as its viewer needs it: one layer in 2D, three layers in 3D."""
    channels = [layer for layer in viewer.layers if isinstance(layer.metadata.get(_OF), ref)]
    shown = [layer.metadata[_OF]() for layer in channels]
    if viewer.dims.ndisplay == 3:
        for layer in [each for each in viewer.layers if _is_colour_volume(each) and each.visible]:
            if not any(layer is each for each in shown):
                _add_channels(viewer, layer)
            layer.visible = False
        return
    for layer in channels:
        original = layer.metadata[_OF]()
        viewer.layers.remove(layer)
        if original in viewer.layers:
            original.visible = True


def _is_colour_volume(layer: Layer) -> bool:
    source = source_of(layer)
    return source is not None and source.kind == "stained" and bool(getattr(layer, "rgb", False)) and layer.ndim == 3


def _add_channels(viewer: "Viewer", layer: Layer) -> None:
    levels = list(layer.data) if layer.multiscale else [layer.data]
    for number, colour in enumerate(CHANNELS):
        data, multiscale = shown(channel_levels(levels, number))
        viewer.add_image(
            data,
            name=f"{layer.name} {colour}",
            colormap=colour,
            blending="additive",
            rendering="average",
            contrast_limits=(0, 255),
            **multiscale,
            scale=layer.scale,
            translate=layer.translate,
            units=layer.units,
            metadata={_OF: ref(layer)},  # not its name, which can change
        )
