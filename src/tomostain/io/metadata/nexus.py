"""Volumes in HDF5 as the programs of facilities write them: the order of the axes, and the voxel size.

Sources of the layouts:

- NeXus ``NXdata`` and ``NXtomoproc``: https://manual.nexusformat.org/classes/applications/NXtomoproc.html. A group of
  class NXdata has a signal and axes with units; NXtomoproc counts them x, y, z where the attribute ``axis`` says so.
- nabu (ESRF; 2026.1.2 was read, https://gitlab.esrf.fr/tomotools/nabu, ``nabu/io/writer.py`` and
  ``nabu/pipeline/fullfield/processconfig.py``): ``<entry>/reconstruction/results/data`` and, next to it,
  ``configuration/processing_options/reconstruction/voxel_size_cm`` (before 2023.1 ``pixel_size_cm``). That is the size
  before binning; ``configuration/nabu_config/dataset/binning`` and ``binning_z`` state how many pixels were binned.
- httomo (Diamond; https://github.com/DiamondLightSource/httomo, ``httomo/methods.py``, commit f766bda): ``/data``,
  ``/angles`` and ``/data_dims/detector_x_y``. Reconstructions are stored as (y, z, x): the vertical axis is the second
  (https://github.com/DiamondLightSource/httomolibgpu, ``recon/algorithm.py``). It writes no voxel size.
- ``element_size_um``, (z, y, x) in µm: ilastik and Fiji's HDF5 plugin. ``axistags``, JSON: vigra and ilastik
  (https://github.com/ukoethe/vigra, ``vigranumpy/lib/axistags.py``).
- MATLAB 7.3: ``V(row, column, slice)`` is stored as (slice, column, row), with the attribute ``MATLAB_class``.
- labels and scales of dimensions: the HDF5 Dimension Scale specification, also used by netCDF-4.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from tomostain.io.metadata.axes import AxesError, Order, letter_of, volume_order
from tomostain.io.metadata.dimensions import dimension_labels, dimension_scales, scale_name
from tomostain.io.metadata.hdf5_tree import Hdf5Tree
from tomostain.io.metadata.imaris import imaris_geometry, imaris_shape
from tomostain.io.metadata.nexus_groups import data_groups, signal_of, text_of, value_at
from tomostain.io.metadata.placement import Placement
from tomostain.io.metadata.positions import placement_along, step_um
from tomostain.io.metadata.units import Spacing, contradict, format_spacing, to_um, unknown_unit

if TYPE_CHECKING:
    import h5py

Places = list[tuple[str, int]]
_SILENT: Spacing = (None, None, None)
_CENTIMETRE_UM = 1e4


@dataclass(frozen=True)
class Layout:
    """The axes of a dataset that are z, y and x, and its stated voxel size.

    Attributes
    ----------
    order : tuple of int
        The axes z, y, x.
    spacing : Spacing
        Voxel size (z, y, x), µm.
    conflict : str
        What states the voxel size differently, as the beginning of a message; "" if nothing.
    unknown_unit : str
        A unit of positions along the axes that is not known.
    placement : Placement or None
        Where the volume lies, µm, by the positions along its axes.
    shape : tuple of int or None
        Size (z, y, x) of the image, where the array is padded; None if it is not.
    """

    order: Order = (0, 1, 2)
    spacing: Spacing = _SILENT
    conflict: str = ""
    unknown_unit: str = ""
    placement: Placement | None = None
    shape: tuple[int, int, int] | None = None


def layout(tree: Hdf5Tree, dataset: "h5py.Dataset") -> Layout:
    """Read the order of axes and the voxel size of a volume in an HDF5 file.

    Parameters
    ----------
    tree : Hdf5Tree
    dataset : h5py.Dataset
        With three axes or more.

    Returns
    -------
    Layout
        (z, y, x), as stored, unless the file states another order.

    Raises
    ------
    AxesError
        If the axes are not those of a volume, or the file names them in two ways.
    """
    if (shape := imaris_shape(dataset)) is not None:
        spacing, placement = imaris_geometry(tree, shape)
        return Layout(spacing=spacing, placement=placement, shape=shape)
    groups = [group for group in data_groups(tree) if signal_of(tree, group) == dataset]
    places = next((places for group in groups if (places := _axis_places(tree, group, dataset))), None)
    orders = {}
    for source, names in stated_names(tree, dataset).items():
        stated = volume_order(dataset.shape, names)
        if any(map(letter_of, names)):
            orders[source] = stated
    if places is not None:
        orders["the axes of its group"] = (places[0][1], places[1][1], places[2][1])
    if len(set(orders.values())) > 1:
        raise AxesError(f"the order of its axes is stated differently by {' and '.join(orders)}; correct one of them")
    if orders:
        order = next(iter(orders.values()))
    else:
        order = (1, 0, 2) if _is_httomo(tree, dataset) else volume_order(dataset.shape)
    sizes = _sizes(tree, dataset, order, groups, places)
    spacing = next(iter(sizes.values()), _SILENT)
    fields = [tree.member(group, name) for group in groups for name, _ in places or ()]
    scales = [next(iter(dimension_scales(dataset)[axis]), None) for axis in order]
    placement = placement_along([*fields, *scales], [dataset.shape[axis] for axis in order])
    return Layout(order, spacing, _conflict(sizes), _unknown_unit(tree, dataset, groups, places), placement)


def _sizes(
    tree: Hdf5Tree, dataset: "h5py.Dataset", order: Order, groups: "list[h5py.Group]", places: Places | None
) -> dict[str, Spacing]:
    """Return the voxel sizes that attributes, positions along the axes, and nabu's configuration state, by source."""
    stated = _element_size(dataset)
    # The attribute is (z, y, x). In another order of axes some programs write it as the axes are stored.
    is_plain = order == tuple(sorted(order)) or len(set(stated)) == 1
    if stated != _SILENT and not is_plain:
        return {}
    sizes = {"its attribute": stated}
    for group in groups if places is not None else ():
        z, y, x = (step_um(tree.member(group, name), dataset.shape[place]) for name, place in places or ())
        sizes[f"the positions in {group.name}"] = (z, y, x)
    z, y, x = (_scale_um(dataset, axis) for axis in order)
    sizes["the scales of its dimensions"] = (z, y, x)
    sizes["the configuration of nabu"] = _nabu_size(tree, dataset)
    return {source: size for source, size in sizes.items() if size != _SILENT}


def _conflict(sizes: Mapping[str, Spacing]) -> str:
    """Return which of several stated sizes contradict each other."""
    for (first, size), (second, other) in pairwise(sizes.items()):
        if contradict(size, other):
            return f"{first} states voxels of {format_spacing(size)}, {second} of {format_spacing(other)}"
    return ""


def _unknown_unit(tree: Hdf5Tree, dataset: "h5py.Dataset", groups: "list[h5py.Group]", places: Places | None) -> str:
    """Return a unit of the positions along the axes that is not known."""
    scales = [scale for scales in dimension_scales(dataset) for scale in scales]
    fields = [tree.member(group, name) for group in groups for name, _ in places or ()]
    holders = [holder for holder in (*scales, *fields) if hasattr(holder, "attrs")]
    return unknown_unit(*(text_of(holder.attrs["units"]) for holder in holders if "units" in holder.attrs))


def stated_names(tree: Hdf5Tree, dataset: "h5py.Dataset") -> dict[str, list[str]]:
    """Return the names of all axes of a dataset, by what states them.

    They are stated by ``axistags`` (vigra, ilastik), by labels or scales of the dimensions, by the attribute ``axes``
    or similar of the dataset, or by ``axes`` of a group of class NXdata.
    """
    names = {
        "axistags": _axistags(dataset),
        "its dimension labels": _labels(dataset),
        "its attribute axes": _attribute_names(dataset, dataset),
    }
    for name in tree.names(dataset):
        group = tree.groups.get(name.rpartition("/")[0])
        if (
            group is not None
            and text_of(group.attrs.get("NX_class", "")) == "NXdata"
            and signal_of(tree, group) == dataset
        ):
            names["the axes of its group"] = _attribute_names(group, dataset)
    names = {source: axes for source, axes in names.items() if any(axes)}
    # MATLAB stores arrays with the first axis fastest, so HDF5 has its rows, columns and slices in the inverse order.
    if not names and "MATLAB_class" in dataset.attrs and dataset.ndim == 3:
        names["MATLAB"] = ["z", "x", "y"]
    return names


def _axistags(dataset: "h5py.Dataset") -> list[str]:
    text = text_of(dataset.attrs.get("axistags", ""))
    if not text:
        return []
    try:
        names = [str(axis["key"]) for axis in json.loads(text)["axes"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise AxesError("its attribute axistags is damaged; correct or remove it") from None
    _check_count("axistags", names, dataset)
    return names


def _check_count(attribute: str, names: list[str], dataset: "h5py.Dataset") -> None:
    """Raise if an attribute names more or fewer axes than a dataset has."""
    if len(names) != dataset.ndim:
        raise AxesError(
            f"its attribute {attribute} names {len(names)} axes ({', '.join(names)[:60]}), but it has {dataset.ndim} "
            f"of lengths {', '.join(map(str, dataset.shape))}; correct or remove the attribute"
        )


def _labels(dataset: "h5py.Dataset") -> list[str]:
    """Return the label of each dimension or, where it has none, the name of its scale."""
    labelled = zip(dimension_labels(dataset), dimension_scales(dataset), strict=True)
    return [label or next(map(scale_name, scales), "") for label, scales in labelled]


def _attribute_names(holder: "h5py.Group | h5py.Dataset", dataset: "h5py.Dataset") -> list[str]:
    """Return the names in ``axes`` or a similar attribute: a list, "z:y:x" or "zyx"."""
    for key in ("axes", "axis_order", "axisorder", "dimension_names", "_ARRAY_DIMENSIONS"):
        value = holder.attrs.get(key)
        if value is None:
            continue
        texts = [text_of(axis) for axis in np.ravel(value)]
        is_list = len(texts) > 1
        if not is_list:
            plain = re.sub(r"[\[\]\"']", "", texts[0]).strip() if texts else ""
            is_list = bool(re.search(r"[:,;\s]", plain)) or set(plain.lower()) <= set("tczyx")
            texts = re.split(r"[:,;\s]+", plain) if re.search(r"[:,;\s]", plain) else list(plain)
        if len(texts) == dataset.ndim:
            return [text.strip() for text in texts]
        # The axes of a group of NeXus may be those of its images only.
        if holder == dataset and is_list and any(map(letter_of, texts)):
            _check_count(key, [text.strip() for text in texts], dataset)
    return []


def _scale_um(dataset: "h5py.Dataset", axis: int) -> float | None:
    """Return the step of the scale of a dimension, µm."""
    steps = (step_um(scale, dataset.shape[axis]) for scale in dimension_scales(dataset)[axis])
    return next((step for step in steps if step is not None), None)


def _axis_places(tree: Hdf5Tree, group: "h5py.Group", dataset: "h5py.Dataset") -> Places | None:
    """Return the name of the field, and the axis of the dataset it belongs to, for z, y and x; None unless all three.

    The attribute ``axes`` of the group or, in older files, of the signal states the order, else ``axis`` of the fields.
    """
    named = {name: place for place, name in enumerate(_attribute_names(group, dataset))}
    named = named or {name: place for place, name in enumerate(_attribute_names(dataset, dataset))}
    fields = dict(tree.members(group))
    if not named:
        numbered = {key: item.attrs["axis"] for key, item in fields.items() if "axis" in item.attrs}
        named = {
            key: int(np.ravel(place)[0]) - 1 for key, place in numbered.items() if str(np.ravel(place)[0]).isdigit()
        }
    if not named:
        # No order is stated: take that of most programs or, if only that fits, that of NXtomoproc.
        sizes = {
            key: field.shape for key in "zyx" if (field := fields.get(key)) is not None and hasattr(field, "shape")
        }
        for names in ("zyx", "xyz"):
            if [sizes.get(key) for key in names] == [(size,) for size in dataset.shape]:
                named = {key: place for place, key in enumerate(names)}
                break
    _check_indices(group, named)
    axes = {letter: (key, place) for key, place in named.items() if (letter := letter_of(key))}
    axes = {letter: (key, place) for letter, (key, place) in axes.items() if 0 <= place < dataset.ndim}
    is_complete = set(axes) == set("zyx") and len({place for _, place in axes.values()}) == 3
    return [axes[letter] for letter in "zyx"] if is_complete else None


def _check_indices(group: "h5py.Group", places: Mapping[str, int]) -> None:
    """Raise if ``<axis>_indices`` of a group of class NXdata states another axis than its position in ``axes``."""
    for name, place in places.items():
        stated = np.ravel(group.attrs.get(f"{name}_indices", place))
        if stated.dtype.kind in "iu" and stated.size == 1 and stated[0] != place:
            raise AxesError(
                f"axes names {name[:40]} as axis {place}, but {name[:40]}_indices states {stated[0]}; correct one of "
                "them"
            )


def _is_httomo(tree: Hdf5Tree, dataset: "h5py.Dataset") -> bool:
    is_here = dataset.name == "/data" and dataset.ndim == 3 and "angles" in tree.file
    return is_here and tree.member(tree.file, "data_dims/detector_x_y") is not None


def _element_size(dataset: "h5py.Dataset") -> Spacing:
    """Read the voxel size from ``element_size_um`` (z, y, x) or ``voxel_um``, on the dataset or its group."""
    for holder in (dataset, dataset.parent):
        for key in ("element_size_um", "voxel_um", "voxel_size_um"):
            if key in holder.attrs:
                sizes = _three(holder.attrs[key])
                if sizes is not None:
                    z, y, x = (to_um(size, "µm") for size in sizes)
                    return z, y, x
    return _SILENT


def _nabu_size(tree: Hdf5Tree, dataset: "h5py.Dataset") -> Spacing:
    """Read nabu's voxel size in cm and multiply it by the binning, which nabu does not include."""
    if not dataset.name.endswith("/results/data"):
        return _SILENT
    configuration = tree.member(dataset.parent.parent, "configuration")
    if configuration is None or not hasattr(configuration, "keys"):
        return _SILENT
    for key in ("voxel_size_cm", "pixel_size_cm"):
        sizes = _three(value_at(tree, configuration, f"processing_options/reconstruction/{key}"))
        if sizes is not None:
            across = _three(value_at(tree, configuration, "nabu_config/dataset/binning")) or (1.0, 1.0, 1.0)
            along = _three(value_at(tree, configuration, "nabu_config/dataset/binning_z")) or (1.0, 1.0, 1.0)
            factors = (along[0], across[1], across[2])
            z, y, x = (to_um(s * f * _CENTIMETRE_UM, "µm") for s, f in zip(sizes, factors, strict=True))
            return z, y, x
    return _SILENT


def _three(value: object) -> tuple[float, float, float] | None:
    """Return one or three numbers as three; None for anything else."""
    if value is None:
        return None
    try:
        z, y, x = (float(v) for v in np.broadcast_to(np.asarray(value, dtype=float).squeeze(), (3,)))
    except (TypeError, ValueError):
        return None
    return z, y, x
