"""What the layers of the plugin show, and where it is stored: the link between napari's layers and our volumes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from napari.layers import Layer

from tomostain.errors import InputError
from tomostain.io import Volume, open_stained, open_volume
from tomostain.io.ome_zarr.reader import StainedVolume

KEY = "tomostain"
"""Key of the source in the metadata of a layer."""
Kind = Literal["ct", "stained", "slide", "histology", "mask", "labels", "uncertainty", "preview"]
"""What a layer shows."""
UNIT = "µm"


@dataclass(frozen=True)
class LayerSource:
    """What a layer shows, and the file it was read from.

    Attributes
    ----------
    kind : str
        One of `Kind`.
    path : Path or None
        File or folder; None if the layer exists in memory only.
    voxel_um : tuple of float
        Size of a voxel or pixel, in the order of the axes of the layer, µm.
    """

    kind: Kind
    path: Path | None
    voxel_um: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind '{self.kind}': expected one of {', '.join(get_args(Kind))}")


def placed(source: LayerSource, name: str, **options: object) -> dict[str, object]:
    """Return the keyword arguments of a layer: name, scale and units in µm, and the source as metadata.

    Parameters
    ----------
    source : LayerSource
    name : str
        Name in the list of layers.
    **options
        More keyword arguments of the layer. They take precedence.

    Examples
    --------
    >>> placed(LayerSource("ct", None, (5.0, 5.0, 5.0)), "µCT", visible=False)["scale"]
    (5.0, 5.0, 5.0)
    """
    units = (UNIT,) * len(source.voxel_um)
    return {"name": name, "scale": source.voxel_um, "units": units, "metadata": {KEY: source}, **options}


def source_of(layer: Layer) -> LayerSource | None:
    """Return the source of a layer of the plugin; None for other layers."""
    source = layer.metadata.get(KEY)
    return source if isinstance(source, LayerSource) else None


def layers_of_kind(layers: Sequence[Layer], *kinds: Kind) -> list[Layer]:
    """Return the layers whose source is of one of these kinds, in the order of the list, such as ``viewer.layers``."""
    return [layer for layer in layers if (source := source_of(layer)) is not None and source.kind in kinds]


def voxel_um_of(layer: Layer) -> tuple[float, ...] | None:
    """Return the voxel size of a layer in µm, in the order of its axes; None if its units are no lengths."""
    source = source_of(layer)
    if source is not None:
        return source.voxel_um
    factors = []
    for unit, scale in zip(layer.units, layer.scale, strict=True):
        quantity = 1 * unit
        if not quantity.check("[length]"):
            return None
        factors.append(float(quantity.to("micrometer").magnitude) * abs(float(scale)))
    return tuple(factors)


@dataclass(frozen=True, eq=False)
class VolumeInput:
    """A greyscale volume that is opened later, in the thread that reads it.

    Attributes
    ----------
    path : Path or None
        Its file or folder.
    array : array or None
        Its values, if it has no file.
    voxel_um : tuple of float
        (z, y, x), µm.
    name : str
    """

    path: Path | None
    array: Any
    voxel_um: tuple[float, ...]
    name: str

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for inputs of the same volume."""
        return self.path, id(self.array), self.voxel_um

    def open(self) -> Volume:
        """Open the volume; nothing is read yet."""
        if self.path is not None:
            return open_volume(self.path, voxel_um=self.voxel_um)
        return Volume.from_array(self.array, self.voxel_um, self.name)


def volume_of_layer(layer: Layer, voxel_um: float | Sequence[float] | None = None) -> Volume:
    """Return the greyscale volume that a layer shows; nothing is read yet.

    Parameters
    ----------
    layer : napari layer
        A µCT layer of the plugin, whose file is opened, or any greyscale Image layer with three axes.
    voxel_um : float or sequence of float, optional
        Voxel size, or (z, y, x), µm. It takes precedence over the units and the scale of the layer.

    Raises
    ------
    InputError
        If the layer is not a greyscale volume, or its voxel size is unknown.
    """
    return volume_input(layer, voxel_um).open()


def volume_input(layer: Layer, voxel_um: float | Sequence[float] | None = None) -> VolumeInput:
    """Return what is needed to open the volume of a layer in a thread; as `volume_of_layer`."""
    source = source_of(layer)
    given = None if voxel_um is None else tuple(voxel_um) if isinstance(voxel_um, Sequence) else (voxel_um,) * 3
    if source is not None and source.kind == "ct" and source.path is not None:
        return VolumeInput(source.path, None, given or source.voxel_um, layer.name)
    if getattr(layer, "rgb", True) or layer.ndim != 3:
        raise InputError(f"layer '{layer.name}': is not a greyscale volume; choose a µCT layer with axes z, y and x")
    size = given or voxel_um_of(layer)
    if size is None:
        raise InputError(
            f"layer '{layer.name}': its voxel size is unknown, because its units are pixels; give `voxel_um`",
            parameter="voxel_um",
        )
    return VolumeInput(None, layer.data[0] if layer.multiscale else layer.data, size, layer.name)


def stained_of_layer(layer: Layer) -> StainedVolume:
    """Return the stained volume that a layer shows.

    Raises
    ------
    InputError
        If the layer was not read from a stained volume.
    """
    source = source_of(layer)
    if source is None or source.path is None or source.kind not in ("stained", "uncertainty"):
        raise InputError(
            f"layer '{layer.name}': was not read from a stained volume; open one with the reader of tomostain"
        )
    return open_stained(source.path)
