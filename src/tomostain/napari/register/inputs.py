"""The volume and the slide that are registered: layers of the viewer, or files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from napari.layers import Layer
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io import Slide, Volume, open_volume
from tomostain.io.metadata.units import check_length_um
from tomostain.io.slide_levels import slide_levels
from tomostain.napari.layers import source_of, volume_input, voxel_um_of
from tomostain.napari.stain_settings import is_ct
from tomostain.register.config import RegisterConfig
from tomostain.register.preview import PosePreview
from tomostain.register.single_image import open_slide_or_image

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Inputs:
    """What is registered."""

    volume: Volume
    slide: Slide
    config: RegisterConfig
    preview: PosePreview


def require_open(value: T | None) -> T:
    """Return what exists while a volume and a slide are open.

    Raises
    ------
    InputError
        If it is None.
    """
    if value is None:
        raise InputError("nothing is open: choose a volume and a slide, and press Open")
    return value


def is_volume_layer(layer: Layer) -> bool:
    """Whether a layer is a µCT volume: grey, with three axes that are all lengths or all in pixels.

    A stack of the pairs of a dataset is none, nor is the map of the uncertainty or a channel of a stain in 3D.
    """
    return is_ct(layer) and len({(1 * unit).check("[length]") for unit in layer.units}) == 1


def is_slide_layer(layer: Layer) -> bool:
    """Whether a layer is a colour image with two axes."""
    return type(layer).__name__ == "Image" and layer.ndim == 2 and layer.rgb and not _is_preview(layer)


def _is_preview(layer: Layer) -> bool:
    source = source_of(layer)
    return source is not None and source.kind == "preview"


@dataclass(frozen=True)
class RegisterVolumeOptions:
    """How the file of a volume is read.

    Attributes
    ----------
    voxel_um : float or sequence of float, optional
        Voxel size, or (z, y, x), µm, if file and layer do not state it.
    dataset : str, optional
        Path of the volume in an HDF5 file with several datasets.
    allow_missing : bool
        Fill slices of which data are missing with zeros.
    """

    voxel_um: float | Sequence[float] | None = None
    dataset: str | None = None
    allow_missing: bool = False


def volume_opener(
    layer: Layer | None, path: Path | None, options: RegisterVolumeOptions = RegisterVolumeOptions()
) -> Callable[[], Volume]:
    """Return a function that opens the volume that was chosen, in a thread. A path takes precedence over a layer.

    Parameters
    ----------
    layer : napari layer, optional
    path : Path, optional
    options : RegisterVolumeOptions
        Of a layer only the voxel size is used.

    Raises
    ------
    InputError
        If nothing is chosen, or the voxel size of the layer is unknown. The function raises it if the volume cannot be
        read, or is a single slice.
    """
    read: Callable[[], Volume]
    if path is not None:
        read = partial(
            open_volume,
            path,
            voxel_um=options.voxel_um,
            dataset=options.dataset,
            allow_missing=options.allow_missing,
        )
    elif layer is not None:
        read = volume_input(layer, options.voxel_um).open
    else:
        raise InputError("no volume: choose a layer or a file")

    def open_chosen() -> Volume:
        volume = read()
        if volume.shape[0] < 2:
            raise InputError(f"{volume.path}: is a single image; the command `register` finds the slide in its plane")
        return volume

    return open_chosen


def slide_opener(
    layer: Layer | None, path: Path | None, pixel_um: float | None = None, *, inverted: bool = False
) -> Callable[[], Slide]:
    """Return a function that opens the slide that was chosen, in a thread. A path takes precedence over a layer.

    The pixels of a layer are read when the slide is: only the level of its pyramid that is needed.

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
        If nothing is chosen, or the pixel size of the layer is unknown. The function raises it if the slide cannot be
        read.
    """
    source = None if layer is None else source_of(layer)
    if path is None and source is not None and source.path is not None and source.kind == "slide":
        path, pixel_um = source.path, pixel_um or (source.voxel_um[-1] if source.voxel_um else None)
    if path is not None:
        file = path
        return lambda: open_slide_or_image(file, pixel_um, inverted=inverted)
    if layer is None:
        raise InputError("no slide: choose a layer or a file")
    sizes = voxel_um_of(layer)
    size = pixel_um or (sizes[-1] if sizes else None)
    if size is None:
        raise InputError(
            f"layer '{layer.name}': its pixel size is unknown, because its units are pixels; give `pixel_um`",
            parameter="pixel_um",
        )
    levels, name = list(layer.data) if layer.multiscale else [layer.data], layer.name
    return lambda: _slide_of_levels(levels, size, name, inverted=inverted)


def _slide_of_levels(levels: Sequence[Any], pixel_um: float, name: str, *, inverted: bool) -> Slide:
    """Return a slide whose pixels are read from the levels of a layer, finest first, when they are needed."""
    finest = levels[0]
    if finest.dtype != np.uint8:
        raise InputError(f"layer '{name}': a slide has colours of 8 bits, found {finest.dtype}; convert it")
    length = check_length_um(pixel_um, "pixel_um")
    sizes = slide_levels([(int(each.shape[0]), int(each.shape[1])) for each in levels], length)

    def read(level: int) -> NDArray[np.uint8]:
        rgb: NDArray[np.uint8] = np.ascontiguousarray(np.asarray(levels[level][..., :3]))
        return 255 - rgb if inverted else rgb

    return Slide(Path(name), sizes[0][0], length, sizes, read)
