"""What the layers of the plugin show, and where it is stored: the link of napari's layers to volumes of tomostain."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from napari.layers import Layer

from tomostain.errors import InputError
from tomostain.io import Volume, open_stained, open_volume
from tomostain.io.ome_zarr.reader import StainedVolume

if TYPE_CHECKING:
    from napari import Viewer

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
    voxel_um : tuple of float or None
        Size of a voxel or pixel, in the order of the axes of the layer, µm; None if the file does not state it.
    """

    kind: Kind
    path: Path | None
    voxel_um: tuple[float, ...] | None

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
    place: dict[str, object] = {}
    if source.voxel_um is not None:
        place = {"scale": source.voxel_um, "units": (UNIT,) * len(source.voxel_um)}
    return {"name": name, **place, "metadata": {KEY: source}, **options}


def source_of(layer: Layer) -> LayerSource | None:
    """Return the source of a layer of the plugin; None for other layers."""
    source = layer.metadata.get(KEY)
    return source if isinstance(source, LayerSource) else None


def layers_of_kind(layers: Sequence[Layer], *kinds: Kind) -> list[Layer]:
    """Return the layers whose source is of one of these kinds, in the order of the list, such as ``viewer.layers``."""
    return [layer for layer in layers if (source := source_of(layer)) is not None and source.kind in kinds]


def remove_layers_of(viewer: "Viewer", paths: Sequence[Path]) -> None:
    """Remove the layers that read these files, because the files are replaced."""
    replaced = {path.resolve() for path in paths}
    for layer in list(viewer.layers):
        source = source_of(layer)
        if source is not None and source.path is not None and source.path.resolve() in replaced:
            viewer.layers.remove(layer)


def voxel_um_of(layer: Layer) -> tuple[float, ...] | None:
    """Return the voxel size of a layer in µm, in the order of its axes; None if its units are no lengths."""
    source = source_of(layer)
    if source is not None and source.voxel_um is not None:
        return source.voxel_um
    units = um_per_unit(layer)
    return (
        None if units is None else tuple(um * abs(float(scale)) for um, scale in zip(units, layer.scale, strict=True))
    )


def um_per_unit(layer: Layer) -> tuple[float, ...] | None:
    """Return how many µm the unit of each axis of a layer has; None if its units are no lengths."""
    quantities = [1 * unit for unit in layer.units]
    if not all(each.check("[length]") for each in quantities):
        return None
    return tuple(float(each.to("micrometer").magnitude) for each in quantities)


def file_of(layer: Layer) -> Path | None:
    """Return the file of a layer: of the plugin, or of napari's own readers if it holds a volume of the same shape."""
    source = source_of(layer)
    if source is not None:
        return source.path
    if layer.source.path is None or layer.ndim != 3:
        return None
    path, data = Path(layer.source.path), layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    try:
        return path if open_volume(path, voxel_um=1).shape == tuple(data.shape) else None
    except InputError:
        return None


@dataclass(frozen=True, eq=False)
class LayerVolume:
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


def volume_input(layer: Layer, voxel_um: float | Sequence[float] | None = None) -> LayerVolume:
    """Return what is needed to open the volume of a layer in a thread; as `volume_of_layer`."""
    source = source_of(layer)
    size_um = None if voxel_um is None else tuple(voxel_um) if isinstance(voxel_um, Sequence) else (voxel_um,) * 3
    is_ours = source is not None and source.kind == "ct" and source.path is not None
    if not is_ours and (getattr(layer, "rgb", True) or layer.ndim != 3):
        raise InputError(f"layer '{layer.name}': is not a greyscale volume; choose a µCT layer with axes z, y and x")
    size = size_um or voxel_um_of(layer)
    if size is None:
        raise InputError(
            f"layer '{layer.name}': its voxel size is unknown, because its units are pixels; give `voxel_um`",
            parameter="voxel_um",
        )
    path = file_of(layer)
    if path is not None:
        return LayerVolume(path, None, size, layer.name)
    return LayerVolume(None, layer.data[0] if layer.multiscale else layer.data, size, layer.name)


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
