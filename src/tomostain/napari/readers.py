"""The readers: stained volumes, maps and labels of tomostain, datasets, pairs, specimens, and µCT volumes in µm.

napari offers a reader for every folder. This one accepts only folders that it knows, and of the files only formats that
napari does not read itself: a TIFF file stays with napari.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from napari import current_viewer
from napari.utils import Colormap

from tomostain.errors import InputError
from tomostain.io import Volume, open_slide, open_stained, open_volume
from tomostain.io.metadata.placement import Placement
from tomostain.io.volumes.registry import find_reader
from tomostain.io.volumes.slice_files import list_slices
from tomostain.napari.colours3d import follow_dimensions
from tomostain.napari.layers import LayerSource, placed
from tomostain.napari.lazy import LazyArray, channel_levels, shown, stained_levels, volume_levels
from tomostain.view.browser.grey_copy import grey_window

LayerData = tuple[Any, dict[str, Any], str]
Read = Callable[[Path], list[LayerData]]
FILES = (".h5", ".hdf5", ".nxs", ".nrrd", ".nhdr", ".mha", ".mhd", ".nii", ".nii.gz")
"""Volumes in one file that napari does not read itself."""
UNCERTAINTY_COLOURMAP = Colormap(
    [(1.0, 0.6, 0.0, 0.0), (1.0, 0.6, 0.0, 0.6), (1.0, 0.1, 0.1, 1.0)], name="uncertainty", controls=[0.0, 0.5, 1.0]
)
"""Transparent where the colours are certain, orange to red where they are unreliable."""


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Return a function that reads a path, or None if tomostain does not read it (the interface of npe2).

    Parameters
    ----------
    path : str or sequence of str
        A file or a folder. Several paths that are to be stacked are not read.

    Returns
    -------
    callable or None
        Takes the path and returns tuples of data, keyword arguments and type of a layer.
    """
    if not isinstance(path, str) or reader_of(Path(path)) is None:
        return None
    return read_path


def read_path(path: str | Sequence[str]) -> list[LayerData]:
    """Return the layers of a path; as `get_reader`.

    Raises
    ------
    InputError
        If it cannot be read, or is not a file of tomostain.
    """
    if not isinstance(path, str) and len(path) == 1:
        path = path[0]
    read = reader_of(Path(path)) if isinstance(path, str) else None
    if read is None or not isinstance(path, str):
        raise InputError(f"{path}: is not a volume, pair or dataset that tomostain reads")
    viewer = current_viewer()
    if viewer is not None:
        follow_dimensions(viewer)
    return read(Path(path))


def reader_of(path: Path) -> Read | None:
    """Return the function that reads a file or folder, or None if tomostain does not read it."""
    if not path.is_dir():
        if path.name in _MARKERS and path.is_file():
            return lambda file: _MARKERS[file.name](file.parent)
        return read_ct if path.name.lower().endswith(FILES) and path.is_file() else None
    for marker, read in _MARKERS.items():
        if (path / marker).is_file():
            return read
    attributes = _zarr_attributes(path)
    if attributes is not None and "tomostain" in attributes:
        return read_zarr
    return read_ct if _is_volume(path) else None


def _is_volume(folder: Path) -> bool:
    """Return whether a folder is an OME-Zarr of grey values in µm, or holds slices. No header of a slice is read."""
    try:
        if find_reader(folder) is None:
            return bool(list_slices(folder).files)
        open_volume(folder)
    except InputError:
        return False
    return True


def read_ct(path: Path) -> list[LayerData]:
    """Return the layer of a µCT volume. If the files state no voxel size, its units are pixels."""
    try:
        volume = open_volume(path)
    except InputError as error:
        if "`voxel_um`" not in str(error):
            raise
        volume = open_volume(path, voxel_um=1)
        options: dict[str, Any] = placed(LayerSource("ct", path, None), f"{path.name} (voxel size unknown)")
    else:
        options = placed(LayerSource("ct", path, volume.voxel_um), path.name) | _translation(volume.placement)
    data, multiscale = shown(volume_levels(volume))
    return [(data, options | ct_options(volume) | multiscale, "image")]


def ct_options(volume: Volume) -> dict[str, Any]:
    """Return how a µCT volume is shown: grey, with contrast limits from five slices."""
    return {"colormap": "gray", "contrast_limits": grey_window(volume), "rgb": False}


def read_zarr(path: Path) -> list[LayerData]:
    """Return the layer of an OME-Zarr that tomostain wrote: a stained volume, an uncertainty, labels or a map."""
    attributes = _zarr_attributes(path) or {}
    ome = attributes.get("ome", {})
    if "image-label" in ome:
        return [label_layer(path)]
    if len(ome.get("omero", {}).get("channels", ())) == 3:
        return read_stained(path)
    return [map_layer(path)]


def read_stained(path: Path) -> list[LayerData]:
    """Return the layer of a stained volume in colour, or of an uncertainty as a map."""
    stained = open_stained(path)
    levels: Sequence[LazyArray] = stained_levels(stained)
    about = stained.provenance.get("doubt")
    if isinstance(about, Mapping):
        source = LayerSource("uncertainty", path, stained.voxel_um)
        options = placed(source, _base(path), colormap=UNCERTAINTY_COLOURMAP, contrast_limits=(0, 255))
        levels, options["rgb"] = channel_levels(levels, 0), False
    else:
        options = placed(LayerSource("stained", path, stained.voxel_um), _base(path), rgb=True)
    data, multiscale = shown(levels)
    return [(data, options | multiscale | _translation(stained.placement), "image")]


def label_layer(path: Path) -> LayerData:
    """Return the Labels layer of a label volume, with the names and colours of the tissue classes."""
    from tomostain.measure.classes import COLOURS, TITLES, TissueClass

    volume = open_volume(path)
    options = placed(LayerSource("labels", path, volume.voxel_um), _base(path))
    colours: dict[int | None, Any] = {int(each): (*(np.array(COLOURS[each]) / 255), 1.0) for each in TissueClass}
    options["colormap"] = {None: (0, 0, 0, 0), 0: (0, 0, 0, 0)} | {n: c for n, c in colours.items() if n != 0}
    names = {int(each): TITLES[each] for each in TissueClass}
    options["features"] = {"index": list(names), "tissue": list(names.values())}
    data, multiscale = shown(volume_levels(volume))
    return data, options | multiscale | {"opacity": 0.5} | _translation(volume.placement), "labels"


def map_layer(path: Path) -> LayerData:
    """Return the layer of a map of lengths, such as the thickness of bone."""
    volume = open_volume(path)
    source = LayerSource("preview", path, volume.voxel_um)
    low, high = grey_window(volume)
    options = placed(source, _base(path), colormap="viridis", contrast_limits=(low, high))
    data, multiscale = shown(volume_levels(volume))
    return data, options | multiscale | _translation(volume.placement), "image"


def read_pair(folder: Path) -> list[LayerData]:
    """Return the layers of the folder of a pair: µCT, histology and mask of one section."""
    from tomostain.dataset.pair import load_pair

    pair = load_pair(folder)
    size = (pair.voxel_um,) * 2
    shown = {"contrast_limits": _limits(pair.ct), "colormap": "gray"}
    return [
        (pair.ct, placed(LayerSource("ct", None, size), f"{pair.id} µCT", **shown), "image"),
        (pair.histology, placed(LayerSource("histology", folder, size), f"{pair.id} histology", rgb=True), "image"),
        (_as_labels(pair.mask), _mask_options(LayerSource("mask", folder, size), f"{pair.id} mask"), "labels"),
    ]


def read_dataset(folder: Path) -> list[LayerData]:
    """Return the layers of a dataset: all pairs as one stack, whose slider goes from pair to pair.

    Smaller pairs are padded. A pair is read when it is shown.
    """
    from tomostain.dataset.dataset import load_dataset
    from tomostain.dataset.pair import pair_shape

    dataset = load_dataset(folder)
    shapes = [pair_shape(dataset.folder(name)) for name in dataset.ids]
    rows, columns = (max(sides) for sides in zip(*shapes, strict=True))

    def stack(part: str, fill: int, channels: tuple[int, ...], dtype: type) -> LazyArray:
        def block(first: Sequence[int], end: Sequence[int]) -> np.ndarray[Any, Any]:
            result = np.full((end[0] - first[0], rows, columns, *channels), fill, dtype)
            for number, name in enumerate(dataset.ids[first[0] : end[0]]):
                image = getattr(dataset.load(name), part)
                result[number, : image.shape[0], : image.shape[1]] = image
            return result

        return LazyArray((len(dataset.ids), rows, columns, *channels), dtype, block, lazy_axes=1)

    size = (1.0, dataset.voxel_um, dataset.voxel_um)
    names = {"axis_labels": ("pair", "y", "x"), "units": ("pixel", "µm", "µm")}
    first = dataset.load(dataset.ids[0])
    grey = {"contrast_limits": _limits(first.ct), "colormap": "gray"}
    layers = [
        (stack("ct", 0, (), np.uint16), placed(LayerSource("ct", None, size), "µCT", **names, **grey), "image"),
        (
            stack("histology", 255, (3,), np.uint8),
            placed(LayerSource("histology", folder, size), "histology", rgb=True, **names),
            "image",
        ),
        (stack("mask", 0, (), np.uint8), _mask_options(LayerSource("mask", folder, size), "mask", **names), "labels"),
    ]
    for _, options, _ in layers:
        options["metadata"]["pairs"] = dataset.ids
    return layers


def read_specimen(folder: Path) -> list[LayerData]:
    """Return the layers of a phantom: its µCT volume, and its slide to the right of it."""
    layers = read_ct(folder / "volume")
    slide = open_slide(folder / "slide.ome.tif")
    levels = [slide.read(pixel_um)[0] for _, pixel_um in slide.levels]
    is_pyramid = len(levels) > 1
    size = (slide.pixel_um,) * 2
    width_um = open_volume(folder / "volume").shape[2] * layers[0][1]["scale"][2]
    options = placed(LayerSource("slide", folder / "slide.ome.tif", size), "slide", rgb=True, multiscale=is_pyramid)
    return [*layers, (levels if is_pyramid else levels[0], options | {"translate": (0.0, width_um * 1.05)}, "image")]


def read_measurement(folder: Path) -> list[LayerData]:
    """Return the layers of a measurement: the labels, and the maps, hidden."""
    from tomostain.measure.measurement import MAPS
    from tomostain.measure.result_files import LABELS

    layers = [label_layer(folder / LABELS)] if (folder / LABELS).is_dir() else []
    for name in MAPS:
        if (folder / name).is_dir():
            data, options, kind = map_layer(folder / name)
            layers.append((data, options | {"visible": not layers}, kind))
    if not layers:
        raise InputError(f"{folder}: holds no labels and no maps; measure a volume first")
    return layers


_MARKERS: Mapping[str, Read] = {
    "pair.yaml": read_pair,
    "dataset.yaml": read_dataset,
    "specimen.yaml": read_specimen,
    "measure.yaml": read_measurement,
}
"""The file that marks a folder of tomostain, and its reader."""


def _mask_options(source: LayerSource, name: str, **options: object) -> dict[str, Any]:
    colours = {None: (0, 0, 0, 0), 0: (0, 0, 0, 0), 1: (0.2, 0.8, 0.4, 1)}
    return placed(source, name, opacity=0.3, visible=False, colormap=colours, **options)


def _as_labels(mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return mask.astype(np.uint8)


def _limits(ct: np.ndarray[Any, Any]) -> tuple[float, float]:
    low, high = (float(value) for value in np.percentile(ct, (0.1, 99.9)))
    return low, high if high > low else low + 1


def _base(path: Path) -> str:
    from tomostain.io.output_folder import base_name

    return base_name(path)


def _translation(placement: Placement | None) -> dict[str, Any]:
    """Return where a layer begins. Turned axes are not shown, so that slices stay those of the volume."""
    return {} if placement is None or placement.is_turned else {"translate": placement.origin_um}


def _zarr_attributes(path: Path) -> dict[str, Any] | None:
    """Return the attributes of a Zarr 3 group; None if it is none."""
    file = path / "zarr.json"
    try:
        content = json.loads(file.read_bytes()[: 2**22]) if file.is_file() else {}
    except (OSError, ValueError):
        return None
    attributes = content.get("attributes") if isinstance(content, dict) else None
    return attributes if isinstance(attributes, dict) else None
