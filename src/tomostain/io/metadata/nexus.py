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
- ``element_size_um``, (z, y, x) in µm: ilastik and Fiji's HDF5 plugin.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tomostain.io.metadata.units import Spacing, to_um

if TYPE_CHECKING:
    import h5py

_SILENT: Spacing = (None, None, None)
_LONGEST_AXIS = 10**6
_CENTIMETRE_UM = 1e4


@dataclass(frozen=True)
class Layout:
    """The axes (0, 1, 2) of a dataset that are z, y and x, and its stated voxel size (z, y, x), µm."""

    order: tuple[int, int, int] = (0, 1, 2)
    spacing: Spacing = _SILENT


def layout(file: "h5py.File", dataset: "h5py.Dataset") -> Layout:
    """Read the order of axes and the voxel size of a volume in an open HDF5 file.

    Parameters
    ----------
    file : h5py.File
    dataset : h5py.Dataset
        Three-dimensional.

    Returns
    -------
    Layout
        (z, y, x), as stored, unless the file states another order.
    """
    stated = _element_size(dataset)
    if stated != _SILENT:
        return Layout(spacing=stated)
    if _is_httomo(file, dataset):
        return Layout(order=(1, 0, 2))
    for group in _nxdata(file):
        if _signal(group) == dataset:
            nexus = _nexus_layout(group, dataset)
            if nexus is not None:
                return nexus
    return Layout(spacing=_nabu_size(dataset))


def signals(file: "h5py.File") -> "dict[str, h5py.Dataset]":
    """Return the three-dimensional signals of all NXdata groups by their path, also those in other files."""
    all_signals = {f"{group.name}/{_signal_name(group)}".lstrip("/"): _signal(group) for group in _nxdata(file)}
    return {name: data for name, data in all_signals.items() if data is not None and data.ndim == 3}


def preferred(file: "h5py.File", candidates: "Mapping[str, h5py.Dataset]") -> str | None:
    """Return the volume of several that the file shows by default: by ``default``, else by its NXtomoproc."""
    for group in (_default_group(file), *_tomoproc_data(file)):
        shown = _signal(group) if group is not None else None
        names = [name for name, data in candidates.items() if shown is not None and data == shown]
        if names:
            return names[0]
    return None


def _text(value: object) -> str:
    """Return an attribute as text; h5py gives it as str, bytes or an array of one."""
    if isinstance(value, np.ndarray):
        value = value.flat[0] if value.size else ""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _member(group: "h5py.Group", path: str) -> "h5py.Group | h5py.Dataset | None":
    """Return the member of a group at a path; None if there is none or a link is broken."""
    try:
        return group.get(path)
    except (KeyError, OSError, ValueError):
        return None


def _nxdata(file: "h5py.File") -> "Iterator[h5py.Group]":
    """Yield the groups of class NXdata."""
    groups: list[Any] = []

    def visit(_: str, item: Any) -> None:
        if _text(item.attrs.get("NX_class", "")) == "NXdata" and hasattr(item, "keys"):
            groups.append(item)

    file.visititems(visit)
    yield from groups


def _signal_name(group: "h5py.Group") -> str:
    """Return the name of a group's signal: by its attribute, by the older one on the field, else ``data``."""
    if "signal" in group.attrs:
        return _text(group.attrs["signal"])
    marked = [key for key in group if (item := _member(group, key)) is not None and "signal" in item.attrs]
    return marked[0] if marked else "data"


def _signal(group: "h5py.Group") -> "h5py.Dataset | None":
    signal = _member(group, _signal_name(group))
    return signal if signal is not None and hasattr(signal, "dtype") and signal.dtype.kind in "biuf" else None


def _default_group(file: "h5py.File") -> "h5py.Group | None":
    """Follow the attributes ``default`` from the root to the group that a viewer shows first."""
    group = file
    for _ in range(8):
        if "default" not in group.attrs:
            return group
        group = _member(group, _text(group.attrs["default"]))
        if not hasattr(group, "keys"):
            return None
    return None


def _tomoproc_data(file: "h5py.File") -> "list[h5py.Group]":
    """Return the NXdata groups of the entries whose definition is NXtomoproc."""
    entries = [entry for entry in file.values() if hasattr(entry, "keys")]
    chosen = [entry for entry in entries if _text(_value(entry, "definition")) == "NXtomoproc"]
    return [group for group in _nxdata(file) if any(group.name.startswith(f"{e.name}/") for e in chosen)]


def _nexus_layout(group: "h5py.Group", dataset: "h5py.Dataset") -> Layout | None:
    """Read z, y, x from the axes of an NXdata group; None unless all three are named."""
    places = _axis_places(group, dataset)
    if places is None:
        return None
    z, y, x = (_step_um(_member(group, name), dataset.shape[place]) for name, place in places)
    return Layout((places[0][1], places[1][1], places[2][1]), (z, y, x))


def _axis_places(group: "h5py.Group", dataset: "h5py.Dataset") -> list[tuple[str, int]] | None:
    """Return the name of the field, and the axis of the dataset it belongs to, for z, y and x."""
    named = _named_axes(group, dataset)
    fields = {key: _member(group, key) for key in group}
    if not named:
        numbered = {
            key: item.attrs["axis"] for key, item in fields.items() if item is not None and "axis" in item.attrs
        }
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
    axes = {letter: (key, place) for key, place in named.items() if (letter := _letter(key)) and 0 <= place < 3}
    is_complete = set(axes) == set("zyx") and len({place for _, place in axes.values()}) == 3
    return [axes[letter] for letter in "zyx"] if is_complete else None


def _named_axes(group: "h5py.Group", dataset: "h5py.Dataset") -> dict[str, int]:
    """Read the attribute ``axes``, a list or "z:y:x", of the group or, in older files, of the signal."""
    for holder in (group, dataset):
        axes = holder.attrs.get("axes")
        if axes is None:
            continue
        texts = [_text(axis) for axis in np.ravel(axes)]
        names = texts[0].strip("[]").replace(",", ":").split(":") if len(texts) == 1 else texts
        return {name.strip(): place for place, name in enumerate(names)}
    return {}


def _letter(name: str) -> str:
    """Return z, y or x of an axis of this name, or of ``voxel_z`` and similar names; else ""."""
    last = name.lower().rsplit("_", 1)[-1]
    return last if last in ("z", "y", "x") else ""


def _step_um(axis: "h5py.Dataset | None", size: int) -> float | None:
    """Return the step of evenly spaced positions in µm; None without a unit or if they are uneven."""
    if axis is None or getattr(axis, "shape", None) != (size,) or not 1 < size <= _LONGEST_AXIS:
        return None
    if axis.dtype.kind not in "iuf":
        return None
    positions = np.asarray(axis[()], dtype=float)
    step = (positions[-1] - positions[0]) / (size - 1)
    if not np.allclose(np.diff(positions), step, rtol=0.01, atol=0):
        return None
    return to_um(abs(float(step)), _text(axis.attrs.get("units", "")))


def _is_httomo(file: "h5py.File", dataset: "h5py.Dataset") -> bool:
    return dataset.name == "/data" and "angles" in file and _member(file, "data_dims/detector_x_y") is not None


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


def _nabu_size(dataset: "h5py.Dataset") -> Spacing:
    """Read nabu's voxel size in cm and multiply it by the binning, which nabu does not include."""
    if not dataset.name.endswith("/results/data"):
        return _SILENT
    configuration = _member(dataset.parent.parent, "configuration")
    if configuration is None:
        return _SILENT
    for key in ("voxel_size_cm", "pixel_size_cm"):
        sizes = _three(_value(configuration, f"processing_options/reconstruction/{key}"))
        if sizes is not None:
            across = _three(_value(configuration, "nabu_config/dataset/binning")) or (1.0, 1.0, 1.0)
            along = _three(_value(configuration, "nabu_config/dataset/binning_z")) or (1.0, 1.0, 1.0)
            factors = (along[0], across[1], across[2])
            z, y, x = (to_um(s * f * _CENTIMETRE_UM, "µm") for s, f in zip(sizes, factors, strict=True))
            return z, y, x
    return _SILENT


def _value(group: "h5py.Group", path: str) -> object:
    member = _member(group, path)
    return member[()] if member is not None and hasattr(member, "dtype") and member.size <= 3 else None


def _three(value: object) -> tuple[float, float, float] | None:
    """Return one or three numbers as three; None for anything else."""
    if value is None:
        return None
    try:
        z, y, x = (float(v) for v in np.broadcast_to(np.asarray(value, dtype=float).squeeze(), (3,)))
    except (TypeError, ValueError):
        return None
    return z, y, x
