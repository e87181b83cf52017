"""The volume and the slide that are registered: layers of the viewer, or files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from napari.layers import Layer

from tomostain.errors import InputError
from tomostain.io import Slide, Volume, open_slide, open_volume
from tomostain.napari.layers import source_of, volume_of_layer, voxel_um_of
from tomostain.register.single_image import open_slide_or_image


def is_volume_layer(layer: Layer) -> bool:
    """Whether a layer is a greyscale image with three axes."""
    return type(layer).__name__ == "Image" and layer.ndim == 3 and not layer.rgb and not _is_preview(layer)


def is_slide_layer(layer: Layer) -> bool:
    """Whether a layer is a colour image with two axes."""
    return type(layer).__name__ == "Image" and layer.ndim == 2 and layer.rgb and not _is_preview(layer)


def _is_preview(layer: Layer) -> bool:
    source = source_of(layer)
    return source is not None and source.kind == "preview"


def chosen_volume(layer: Layer | None, path: Path | None, voxel_um: float | Sequence[float] | None) -> Volume:
    """Open the volume that was chosen. A path takes precedence over a layer.

    Parameters
    ----------
    layer : napari layer, optional
    path : Path, optional
    voxel_um : float or sequence of float, optional
        Voxel size, or (z, y, x), µm, if file and layer do not state it.

    Raises
    ------
    InputError
        If nothing is chosen, the volume cannot be read, or it is a single slice.
    """
    if path is not None:
        volume = open_volume(path, voxel_um=voxel_um)
    elif layer is not None:
        volume = volume_of_layer(layer, voxel_um)
    else:
        raise InputError("no volume: choose a layer or a file")
    if volume.shape[0] < 2:
        raise InputError(f"{volume.path}: is a single image; `tomostain register` finds the slide in its plane")
    return volume


def chosen_slide(layer: Layer | None, path: Path | None, pixel_um: float | None, *, inverted: bool = False) -> Slide:
    """Open the slide that was chosen. A path takes precedence over a layer.

    Parameters
    ----------
    layer : napari layer, optional
    path : Path, optional
    pixel_um : float, optional
        Pixel size, µm, if file and layer do not state it.
    inverted : bool
        The slide is stored inverted.

    Raises
    ------
    InputError
        If nothing is chosen, or the slide cannot be read.
    """
    source = None if layer is None else source_of(layer)
    if path is None and source is not None and source.path is not None and source.kind == "slide":
        return open_slide(source.path, pixel_um=pixel_um or source.voxel_um[-1])
    if path is not None:
        return open_slide_or_image(path, pixel_um, inverted=inverted)
    if layer is None:
        raise InputError("no slide: choose a layer or a file")
    sizes = voxel_um_of(layer)
    size = pixel_um or (sizes[-1] if sizes else None)
    if size is None:
        raise InputError(
            f"layer '{layer.name}': its pixel size is unknown, because its units are pixels; give `pixel_um`",
            parameter="pixel_um",
        )
    image = np.asarray(layer.data[0] if layer.multiscale else layer.data)
    return Slide.from_array(np.ascontiguousarray(image[..., :3]), size, layer.name)
