"""Volumes in HDF5: find the dataset of the volume, and read its slices."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.content import what_it_is
from tomostain.io.metadata.axes import AxesError
from tomostain.io.metadata.hdf5_tree import DAMAGED, Hdf5Tree
from tomostain.io.metadata.inside import MAX_BOMB_BYTES, check_packed_size, file_inside
from tomostain.io.metadata.nexus import Layout, layout
from tomostain.io.metadata.nexus_groups import preferred
from tomostain.io.metadata.projections import why_projections
from tomostain.io.volumes.base import Source
from tomostain.io.volumes.chunks import check_chunk
from tomostain.io.volumes.fill_value import without_fill_values
from tomostain.io.volumes.hdf5_missing import covered_by_parts, missing_in_hdf5, zero_unwritten
from tomostain.io.volumes.hdf5_virtual import virtual_parts
from tomostain.io.volumes.registry import register_reader
from tomostain.io.volumes.rescale import Rescale, rescale_of, rescaled, stated_rescale
from tomostain.io.volumes.signedness import with_stated_sign

if TYPE_CHECKING:
    import h5py

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".nxs", ".nx", ".he5")
_MAX_AXES = 5


@register_reader(suffixes=HDF5_SUFFIXES, label="HDF5", has_datasets=True)
def open_hdf5(path: Path, dataset: str | None = None) -> Source:
    """Open the volume in an HDF5 file: the named dataset or, if only one is three-dimensional, that one.

    Of several volumes, the one that the file shows by default is read (the attribute ``default``, or an entry of
    definition NXtomoproc). The axes are returned in the order (z, y, x); further axes of length 1, such as the channel
    axis of ilastik, are left out. Soft links and external links to files in the same folder are followed.

    Projections are not a volume: see `tomostain.io.metadata.projections`.

    Raises
    ------
    InputError
        If the file is damaged, the dataset is missing, its values are in a file outside of the folder, the order of its
        axes is ambiguous, or there is no or more than one volume (they are listed).
    """
    import h5py

    with suppress(ImportError):
        import hdf5plugin  # noqa: F401 (registers the compression filters of beamlines)
    with _damaged(path), h5py.File(path, "r") as file:
        tree = Hdf5Tree(path, file)
        try:
            values, axes = _named_dataset(path, tree, dataset) if dataset else _only_volume(path, tree)
            _check_parts(path, tree, values)
            shape, dtype = axes.shape or tuple(values.shape[axis] for axis in axes.order), values.dtype
            _check_stored(path, values)
            check_chunk(path, values)
            missing = missing_in_hdf5(values, axes.order[0])
            coverage = covered_by_parts(values) if missing and values.is_virtual else None
            rescale, attributes = _rescale(path, tree, values), dict(values.attrs)
            file_of, name = Path(values.file.filename), values.name
        finally:
            tree.close()

    def read(start: int, stop: int) -> NDArray[Any]:
        try:
            with h5py.File(file_of, "r") as file:
                stored = _opened(file, name)
                index: list[slice | int] = [0] * stored.ndim
                for axis in axes.order:
                    index[axis] = slice(None)
                index[axes.order[0]] = slice(start, stop)
                part = np.asarray(stored[tuple(index)])
                if coverage is not None:
                    coverage.zero_outside(part, index)
                elif missing and stored.fillvalue != 0:
                    zero_unwritten(stored, part, index)
                ranks = np.argsort(np.argsort(axes.order))  # the places of z, y, x among the axes that are read
                part = part.transpose([int(rank) for rank in ranks])
                return np.ascontiguousarray(part[:, : shape[1], : shape[2]])
        except DAMAGED as error:
            raise InputError(
                f"{path}: dataset {name} cannot be read ({_one_line(error)}); the file is damaged, or its compression "
                "needs hdf5plugin (pip install 'tomostain[io]')"
            ) from None

    source = Source(
        shape,
        dtype,
        axes.spacing,
        read,
        missing=missing,
        conflict=axes.conflict,
        unknown_unit=axes.unknown_unit,
        placement=axes.placement,
    )
    return rescaled(with_stated_sign(without_fill_values(path, source, attributes), attributes, name), rescale)


def _rescale(path: Path, tree: Hdf5Tree, dataset: "h5py.Dataset") -> Rescale:
    """Return the scale and offset of the values: attributes, or in NXdata numbers next to the signal."""
    rescale = stated_rescale(path, dict(dataset.attrs))
    if not rescale.is_identity:
        return rescale
    for name in tree.names(dataset):
        group = tree.groups.get(name.rpartition("/")[0])
        if group is None or group.attrs.get("NX_class") not in ("NXdata", b"NXdata"):
            continue
        key = name.rpartition("/")[2]
        for prefix in (f"{key}_", ""):
            slope, offset = (_number(tree.member(group, f"{prefix}{what}")) for what in ("scaling_factor", "offset"))
            if slope is not None or (prefix and offset is not None):
                return rescale_of(path, slope, offset, f"{prefix}scaling_factor")
    return rescale


def _number(member: Any) -> Any:
    return member[()] if getattr(member, "size", 0) == 1 else None


@contextmanager
def _damaged(path: Path) -> Iterator[None]:
    """Turn what h5py raises for a damaged file into one line."""
    try:
        yield
    except InputError:
        raise
    except (*DAMAGED, MemoryError, RecursionError) as error:
        advice = what_it_is(path) if "signature not found" in str(error) else ""
        raise InputError(
            f"{path}: cannot be read as HDF5 ({_one_line(error)}); {advice or 'the file is truncated or damaged'}"
        ) from None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _opened(file: "h5py.File", name: str) -> "h5py.Dataset":
    """Open a dataset; its external files are relative to the folder of its file, not to the working folder."""
    import h5py

    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    access.set_efile_prefix(str(Path(file.filename).resolve().parent).encode())
    return h5py.Dataset(h5py.h5d.open(file.id, name.encode(), access))


def _named_dataset(path: Path, tree: Hdf5Tree, name: str) -> "tuple[h5py.Dataset, Layout]":
    values = tree.dataset(name)
    if values is None:
        raise InputError(f"{path}: `dataset`: {name} is not in the file; {_listing(tree)}")
    if not 3 <= values.ndim <= _MAX_AXES or values.dtype.kind not in "biuf":
        raise InputError(f"{path}: `dataset`: {name} is {values.dtype} of shape {values.shape}, not a volume (z, y, x)")
    reason = why_projections(tree, values)
    if reason is not None and reason[1]:
        raise InputError(
            f"{path}: `dataset`: {name} holds {values.shape[0]} projections, not a volume ({reason[0]}); reconstruct it"
        )
    try:
        return values, layout(tree, values)
    except AxesError as error:
        if "projections" in str(error):
            raise InputError(
                f"{path}: `dataset`: {name} holds {values.shape[0]} projections, not a volume ({error}); reconstruct it"
            ) from None
        raise InputError(f"{path}: `dataset`: {name}: {error}") from None


def _only_volume(path: Path, tree: Hdf5Tree) -> "tuple[h5py.Dataset, Layout]":
    volumes: dict[str, tuple[h5py.Dataset, Layout]] = {}
    projections: dict[str, tuple[str, bool]] = {}
    others: dict[str, str] = {}
    for name, values in tree.datasets.items():
        if not 3 <= values.ndim <= _MAX_AXES or not values.size:
            continue
        reason = why_projections(tree, values)
        try:
            axes = layout(tree, values)
        except AxesError as error:
            if "projections" in str(error) or reason:
                projections[name] = reason or (str(error), True)
            else:
                others[name] = str(error)
            continue
        if reason is not None:
            projections[name] = reason
        else:
            volumes[name] = (values, axes)
    default = preferred(tree, {name: values for name, (values, _) in volumes.items()}) if len(volumes) > 1 else None
    if len(volumes) == 1 or default is not None:
        return volumes[default or next(iter(volumes))]
    if volumes:
        raise InputError(
            f"{path}: holds {len(volumes)} volumes ({', '.join(list(volumes)[:6])}); name one with `dataset`"
        )
    if projections:
        why, _ = next(iter(projections.values()))
        certain = all(is_certain for _, is_certain in projections.values())
        way_out = "" if certain else ", or name one with `dataset` if it is a volume"
        raise InputError(
            f"{path}: holds projections and no volume ({_listing(tree)}; {why}); reconstruct them first{way_out}"
        )
    flat = {name: why for name, why in others.items() if tree.datasets[name].ndim == 3}
    if len(others) == 1 or flat:
        name, why = next(iter((flat or others).items()))
        raise InputError(f"{path}: dataset {name}: {why}")
    unread = f"; not read: {'; '.join(tree.unread[:2])}" if tree.unread else ""
    raise InputError(f"{path}: holds no three-dimensional dataset; {_listing(tree)}{unread}")


def _listing(tree: Hdf5Tree) -> str:
    """Return the datasets of two and more dimensions as text, for an error message."""
    large = [f"{name} {'×'.join(map(str, item.shape))}" for name, item in tree.datasets.items() if item.ndim > 1]
    return f"found {', '.join(large[:6])}{', …' if len(large) > 6 else ''}" if large else "found no arrays"


def _check_parts(path: Path, tree: Hdf5Tree, dataset: "h5py.Dataset", depth: int = 0) -> None:
    """Raise if the values of a dataset are in files that are missing or outside of the folder.

    HDF5 would read such files wherever they are, and return zeros for missing ones.
    """
    import h5py

    holder = Path(dataset.file.filename)
    for name, _, _ in dataset.external or ():
        file_inside(holder, name, "data file", "copy it next to it")
    if not dataset.is_virtual:
        return
    parts = dict.fromkeys((part.file, part.dataset) for part in virtual_parts(dataset))
    if depth > 3:
        raise InputError(f"{path}: is virtual, of virtual parts nested more than 3 deep; store its values in one file")
    for part, name in parts:
        if part == ".":
            source = tree.dataset(name, dataset.file)
        else:
            way_out = "copy the folder of the parts next to it, or reconstruct again"
            source = tree.dataset(name, tree.open(file_inside(holder, part, "part", way_out)))
        if isinstance(source, h5py.Dataset) and source != dataset:
            _check_parts(path, tree, source, depth + 1)


def _check_stored(path: Path, dataset: "h5py.Dataset") -> None:
    """Raise if the large chunks of a dataset, each decoded as a whole, declare far more than the file holds."""
    if dataset.chunks is None or dataset.is_virtual:
        return
    chunk = int(np.prod(dataset.chunks, dtype=float)) * dataset.dtype.itemsize
    if chunk > MAX_BOMB_BYTES:
        written = max(1, int(dataset.id.get_num_chunks()))
        check_packed_size(path, chunk * written, int(dataset.id.get_storage_size()))
