"""Volumes in HDF5: which dataset is the volume, and how a slab of it is read."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.metadata.nexus import layout, preferred, signals
from tomostain.io.volumes.base import Source
from tomostain.io.volumes.registry import register_reader

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".nxs", ".nx", ".he5")
_ANGLES = ("theta", "rotation_angle", "angles", "angle")
_NOT_VOLUMES = ("_dark", "_white", "_flat", "darks", "flats")


@register_reader(suffixes=HDF5_SUFFIXES, label="HDF5", has_datasets=True)
def open_hdf5(path: Path, dataset: str | None = None) -> Source:
    """Open the volume in an HDF5 file: the dataset named or, if only one is three-dimensional, that one.

    Of several volumes the one is taken that the file itself shows first (the attributes ``default``, or an entry of
    definition NXtomoproc). The axes are brought into the order (z, y, x) where the file stores them in another.

    Projections are not a volume: a dataset whose ``axes`` attribute begins with theta, or that lies beside as many
    rotation angles as it has images (data-exchange and NXtomo files), is told apart and refused.

    Raises
    ------
    InputError
        If the file is damaged, the dataset is missing, or none or several could be meant (they are listed).
    """
    import h5py

    with suppress(ImportError):
        import hdf5plugin  # noqa: F401 (registers the compression filters of beamlines)
    try:
        with h5py.File(path, "r") as file:
            name = _named_dataset(path, file, dataset) if dataset else _only_volume(path, file)
            found = file[name]
            _check_parts(path, found)
            axes = layout(file, found)
            shape, dtype = tuple(found.shape[axis] for axis in axes.order), found.dtype
    except OSError as error:
        raise InputError(f"{path}: cannot be read as HDF5 ({error}); the file is truncated or damaged") from None

    def read(start: int, stop: int) -> NDArray[Any]:
        try:
            with h5py.File(path, "r") as file:
                wanted = [slice(None)] * 3
                wanted[axes.order[0]] = slice(start, stop)
                return np.ascontiguousarray(file[name][tuple(wanted)].transpose(axes.order))
        except OSError as error:
            raise InputError(
                f"{path}: dataset {name} cannot be read ({str(error)[:120]}); the file is damaged, or its compression "
                "needs hdf5plugin (pip install 'tomostain[io]')"
            ) from None

    return Source(shape, dtype, axes.spacing, read)


def _named_dataset(path: Path, file: Any, name: str) -> str:
    import h5py

    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise InputError(f"{path}: `dataset`: {name} is not in the file; {_listing(file)}")
    if found.ndim != 3 or found.dtype.kind not in "biuf":
        raise InputError(f"{path}: `dataset`: {name} is {found.dtype} of shape {found.shape}, not a volume (z, y, x)")
    if _axes(found).startswith("theta"):
        raise InputError(f"{path}: `dataset`: {name} holds {found.shape[0]} projections, not a volume; reconstruct it")
    return name


def _only_volume(path: Path, file: Any) -> str:
    candidates = {name: found for name, found in _datasets(file).items() if found.ndim == 3}
    volumes = [name for name, found in candidates.items() if not _is_projections(found)]
    if len(volumes) == 1:
        return volumes[0]
    shown = preferred(file, {name: candidates[name] for name in volumes})
    if shown is not None:
        return shown
    if volumes:
        raise InputError(f"{path}: holds {len(volumes)} volumes ({', '.join(volumes[:6])}); name one with `dataset`")
    if candidates:
        raise InputError(
            f"{path}: holds no volume but projections ({_listing(file)}); reconstruct them first, "
            "or name one with `dataset` if it is a volume nevertheless"
        )
    raise InputError(f"{path}: holds no three-dimensional dataset; {_listing(file)}")


def _datasets(file: Any) -> dict[str, Any]:
    """Return all datasets of numbers in an open HDF5 file by their path."""
    import h5py

    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "biuf":
            found[name] = item

    file.visititems(visit)
    for name, linked in signals(file).items():  # links are not visited
        if all(linked != item for item in found.values()):
            found[name] = linked
    return found


def _listing(file: Any) -> str:
    """Name the datasets of two and more dimensions, for an error message."""
    large = [f"{name} {'×'.join(map(str, item.shape))}" for name, item in _datasets(file).items() if item.ndim > 1]
    return f"found {', '.join(large[:6])}{', …' if len(large) > 6 else ''}" if large else "found no arrays"


def _axes(dataset: Any) -> str:
    axes = dataset.attrs.get("axes", "")
    return (axes.decode(errors="replace") if isinstance(axes, bytes) else str(axes)).lower()


def _is_projections(dataset: Any) -> bool:
    """Tell projections, dark and flat fields from reconstructed volumes by what lies beside them."""
    name = dataset.name.rsplit("/", 1)[-1].lower()
    if name.endswith(_NOT_VOLUMES) or _axes(dataset).startswith("theta"):
        return True
    beside = {key.lower(): item for key, item in dataset.parent.items()}
    angles = [beside[key] for key in _ANGLES if key in beside and hasattr(beside[key], "shape")]
    return any(angle.shape == dataset.shape[:1] for angle in angles)


def _check_parts(path: Path, dataset: Any) -> None:
    """Raise if a volume that is put together from other files lacks one: HDF5 would show zeros there."""
    if not dataset.is_virtual:
        return
    folder = Path(dataset.file.filename).parent
    for part in dict.fromkeys(source.file_name for source in dataset.virtual_sources()):
        if part != "." and "%" not in part and not (folder / part).is_file():
            raise InputError(
                f"{path}: its part {part} is missing; copy the folder with the parts beside it, or reconstruct again"
            )
