"""Volumes in HDF5: find the dataset of the volume, and read its slices."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.metadata.nexus import layout, preferred, signals
from tomostain.io.volumes.base import Source
from tomostain.io.volumes.registry import register_reader

if TYPE_CHECKING:
    import h5py

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".nxs", ".nx", ".he5")
_ANGLES = ("theta", "rotation_angle", "angles", "angle")
_NOT_VOLUMES = ("_dark", "_white", "_flat", "darks", "flats")


@register_reader(suffixes=HDF5_SUFFIXES, label="HDF5", has_datasets=True)
def open_hdf5(path: Path, dataset: str | None = None) -> Source:
    """Open the volume in an HDF5 file: the named dataset or, if only one is three-dimensional, that one.

    Of several volumes, the one that the file shows by default is read (the attribute ``default``, or an entry of
    definition NXtomoproc). The axes are returned in the order (z, y, x).

    Projections are not a volume: a dataset is refused if its ``axes`` attribute begins with theta, or if it is stored
    next to as many rotation angles as it has images (data-exchange and NXtomo files).

    Raises
    ------
    InputError
        If the file is damaged, the dataset is missing, or there is no or more than one volume (they are listed).
    """
    import h5py

    with suppress(ImportError):
        import hdf5plugin  # noqa: F401 (registers the compression filters of beamlines)
    try:
        with h5py.File(path, "r") as file:
            name = _named_dataset(path, file, dataset) if dataset else _only_volume(path, file)
            values = file[name]
            _check_parts(path, values)
            axes = layout(file, values)
            shape, dtype = tuple(values.shape[axis] for axis in axes.order), values.dtype
    except OSError as error:
        raise InputError(f"{path}: cannot be read as HDF5 ({error}); the file is truncated or damaged") from None

    def read(start: int, stop: int) -> NDArray[Any]:
        try:
            with h5py.File(path, "r") as file:
                index = [slice(None)] * 3
                index[axes.order[0]] = slice(start, stop)
                return np.ascontiguousarray(file[name][tuple(index)].transpose(axes.order))
        except OSError as error:
            raise InputError(
                f"{path}: dataset {name} cannot be read ({str(error)[:120]}); the file is damaged, or its compression "
                "needs hdf5plugin (pip install 'tomostain[io]')"
            ) from None

    return Source(shape, dtype, axes.spacing, read)


def _named_dataset(path: Path, file: "h5py.File", name: str) -> str:
    import h5py

    values = file.get(name)
    if not isinstance(values, h5py.Dataset):
        raise InputError(f"{path}: `dataset`: {name} is not in the file; {_listing(file)}")
    if values.ndim != 3 or values.dtype.kind not in "biuf":
        raise InputError(f"{path}: `dataset`: {name} is {values.dtype} of shape {values.shape}, not a volume (z, y, x)")
    if _axes(values).startswith("theta"):
        raise InputError(f"{path}: `dataset`: {name} holds {values.shape[0]} projections, not a volume; reconstruct it")
    return name


def _only_volume(path: Path, file: "h5py.File") -> str:
    candidates = {name: values for name, values in _datasets(file).items() if values.ndim == 3}
    volumes = [name for name, values in candidates.items() if not _is_projections(values)]
    if len(volumes) == 1:
        return volumes[0]
    default = preferred(file, {name: candidates[name] for name in volumes})
    if default is not None:
        return default
    if volumes:
        raise InputError(f"{path}: holds {len(volumes)} volumes ({', '.join(volumes[:6])}); name one with `dataset`")
    if candidates:
        raise InputError(
            f"{path}: holds projections and no volume ({_listing(file)}); reconstruct them first, "
            "or name one with `dataset` if it is a volume"
        )
    raise InputError(f"{path}: holds no three-dimensional dataset; {_listing(file)}")


def _datasets(file: "h5py.File") -> "dict[str, h5py.Dataset]":
    """Return all numeric datasets of an open HDF5 file by their path."""
    import h5py

    datasets: dict[str, h5py.Dataset] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "biuf":
            datasets[name] = item

    file.visititems(visit)
    for name, linked in signals(file).items():  # links are not visited
        if all(linked != item for item in datasets.values()):
            datasets[name] = linked
    return datasets


def _listing(file: "h5py.File") -> str:
    """Return the datasets of two and more dimensions as text, for an error message."""
    large = [f"{name} {'×'.join(map(str, item.shape))}" for name, item in _datasets(file).items() if item.ndim > 1]
    return f"found {', '.join(large[:6])}{', …' if len(large) > 6 else ''}" if large else "found no arrays"


def _axes(dataset: "h5py.Dataset") -> str:
    axes = dataset.attrs.get("axes", "")
    return (axes.decode(errors="replace") if isinstance(axes, bytes) else str(axes)).lower()


def _is_projections(dataset: "h5py.Dataset") -> bool:
    """Return whether a dataset is projections, a dark or a flat field: by its name, its axes and its neighbours."""
    name = dataset.name.rsplit("/", 1)[-1].lower()
    if name.endswith(_NOT_VOLUMES) or _axes(dataset).startswith("theta"):
        return True
    siblings = {key.lower(): item for key, item in dataset.parent.items()}
    angles = [siblings[key] for key in _ANGLES if key in siblings and hasattr(siblings[key], "shape")]
    return any(angle.shape == dataset.shape[:1] for angle in angles)


def _check_parts(path: Path, dataset: "h5py.Dataset") -> None:
    """Raise if a virtual dataset lacks one of its files: HDF5 would return zeros there."""
    if not dataset.is_virtual:
        return
    folder = Path(dataset.file.filename).parent
    for part in dict.fromkeys(source.file_name for source in dataset.virtual_sources()):
        if part != "." and "%" not in part and not (folder / part).is_file():
            raise InputError(
                f"{path}: its part {part} is missing; copy the folder of the parts next to it, or reconstruct again"
            )
