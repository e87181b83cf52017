"""Groups of a NeXus file: the signals, and the volume that the file shows by default."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tomostain.io.metadata.hdf5_tree import Hdf5Tree

if TYPE_CHECKING:
    import h5py


def signals(tree: Hdf5Tree) -> "dict[str, h5py.Dataset]":
    """Return the signals of all NXdata groups by their path, also those in other files."""
    groups = {name: group for name, group in tree.groups.items() if group in data_groups(tree)}
    by_path = {
        f"{name}/{_signal_name(tree, group)}".lstrip("/"): signal_of(tree, group) for name, group in groups.items()
    }
    return {name: data for name, data in by_path.items() if data is not None and data.ndim >= 3}


def preferred(tree: Hdf5Tree, candidates: "Mapping[str, h5py.Dataset]") -> str | None:
    """Return the volume of several that the file shows by default: by ``default``, else by its NXtomoproc."""
    for group in (_default_group(tree), *_tomoproc_data(tree)):
        shown = signal_of(tree, group) if group is not None else None
        names = [name for name, data in candidates.items() if shown is not None and data == shown]
        if names:
            return names[0]
    return None


def text_of(value: object) -> str:
    """Return an attribute as text; h5py gives it as str, bytes or an array of one."""
    if isinstance(value, np.ndarray):
        value = value.flat[0] if value.size else ""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def data_groups(tree: Hdf5Tree) -> "list[h5py.Group]":
    """Return the groups of class NXdata."""
    return [group for group in tree.groups.values() if text_of(group.attrs.get("NX_class", "")) == "NXdata"]


def _signal_name(tree: Hdf5Tree, group: "h5py.Group") -> str:
    """Return the name of a group's signal: by its attribute, by the older one on the field, else ``data``."""
    if "signal" in group.attrs:
        return text_of(group.attrs["signal"])
    marked = [key for key, item in tree.members(group) if "signal" in item.attrs]
    return marked[0] if marked else "data"


def signal_of(tree: Hdf5Tree, group: "h5py.Group") -> "h5py.Dataset | None":
    """Return the signal of a group; None if it is missing or holds no numbers."""
    signal = tree.member(group, _signal_name(tree, group))
    return signal if signal is not None and hasattr(signal, "dtype") and signal.dtype.kind in "biuf" else None


def _default_group(tree: Hdf5Tree) -> "h5py.Group | None":
    """Follow the attributes ``default`` from the root to the group that a viewer shows first."""
    group: Any = tree.file
    for _ in range(8):
        if "default" not in group.attrs:
            return group
        group = tree.member(group, text_of(group.attrs["default"]))
        if not hasattr(group, "keys"):
            return None
    return None


def _tomoproc_data(tree: Hdf5Tree) -> "list[h5py.Group]":
    """Return the NXdata groups of the entries whose definition is NXtomoproc."""
    entries = [item for name, item in tree.groups.items() if name and "/" not in name]
    chosen = [entry for entry in entries if text_of(value_at(tree, entry, "definition")) == "NXtomoproc"]
    return [group for group in data_groups(tree) if any(group.name.startswith(f"{e.name}/") for e in chosen)]


def value_at(tree: Hdf5Tree, group: "h5py.Group", path: str) -> object:
    """Return the value of a small member of a group; None if there is none."""
    member = tree.member(group, path)
    return member[()] if member is not None and hasattr(member, "dtype") and member.size <= 3 else None
