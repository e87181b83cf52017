"""Volumes in HDF5, in MHA, NRRD and NIfTI, and in OME-Zarr: what they say of themselves and how a slab is read."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.sizes import Spacing, to_um
from tomostain.io.volume_itk import itk_header, itk_region, map_nrrd

_ANGLES = ("theta", "rotation_angle", "angles", "angle")
_NOT_VOLUMES = ("_dark", "_white", "_flat", "darks", "flats")


@dataclass(frozen=True)
class Source:
    """What every reader returns: the facts of a stored volume and a function that reads its slices ``start:stop``."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    spacing: Spacing
    read: Callable[[int, int], NDArray[Any]]


def hdf5_source(path: Path, dataset: str | None) -> Source:
    """Open the volume in an HDF5 file: the dataset named or, if only one is three-dimensional, that one.

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
            shape, dtype, spacing = tuple(found.shape), found.dtype, _hdf5_spacing(found)
    except OSError as error:
        raise InputError(f"{path}: cannot be read as HDF5 ({error}); the file is truncated or damaged") from None

    def read(start: int, stop: int) -> NDArray[Any]:
        try:
            with h5py.File(path, "r") as file:
                return np.asarray(file[name][start:stop])
        except OSError as error:
            raise InputError(
                f"{path}: dataset {name} cannot be read ({str(error)[:120]}); the file is damaged, or its compression "
                "needs hdf5plugin (pip install 'tomostain[io]')"
            ) from None

    return Source(shape, dtype, spacing, read)


def _named_dataset(path: Path, file: Any, name: str) -> str:
    import h5py

    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise InputError(f"{path}: --dataset {name} is not in the file; {_listing(file)}")
    if found.ndim != 3 or found.dtype.kind not in "biuf":
        raise InputError(f"{path}: --dataset {name} is {found.dtype} of shape {found.shape}, not a volume (z, y, x)")
    if _axes(found).startswith("theta"):
        raise InputError(f"{path}: --dataset {name} holds {found.shape[0]} projections, not a volume; reconstruct it")
    return name


def _only_volume(path: Path, file: Any) -> str:
    candidates = {name: found for name, found in _datasets(file).items() if found.ndim == 3}
    volumes = [name for name, found in candidates.items() if not _is_projections(found)]
    if len(volumes) == 1:
        return volumes[0]
    if volumes:
        raise InputError(f"{path}: holds {len(volumes)} volumes ({', '.join(volumes[:6])}); name one with --dataset")
    if candidates:
        raise InputError(f"{path}: holds no volume but projections ({_listing(file)}); reconstruct them first")
    raise InputError(f"{path}: holds no three-dimensional dataset; {_listing(file)}")


def _datasets(file: Any) -> dict[str, Any]:
    """Return all datasets of numbers in an open HDF5 file by their path."""
    import h5py

    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "biuf":
            found[name] = item

    file.visititems(visit)
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


def _hdf5_spacing(dataset: Any) -> Spacing:
    """Read the voxel size from ``element_size_um`` (z, y, x; ilastik and Fiji's HDF5 plugin) or ``voxel_um``."""
    for holder in (dataset, dataset.parent):
        for key in ("element_size_um", "voxel_um", "voxel_size_um"):
            if key in holder.attrs:
                try:
                    values = np.broadcast_to(np.asarray(holder.attrs[key], dtype=float).squeeze(), (3,))
                except (TypeError, ValueError):
                    continue
                z, y, x = (to_um(float(value), "µm") for value in values)
                return z, y, x
    return None, None, None


def itk_source(path: Path) -> Source:
    """Open MHA, NRRD or NIfTI; a slab is streamed or mapped from the file.

    Raises
    ------
    InputError
        If it is damaged, two-dimensional or in colour.
    """
    header = itk_header(path)
    shape = header.shape
    while len(shape) > 3 and shape[0] == 1:
        shape = shape[1:]
    if header.components > 1:
        raise InputError(f"{path}: has {header.components} values a voxel; a µCT volume is grey")
    if len(shape) != 3:
        raise InputError(f"{path}: holds an array of shape {header.shape}, not a volume (z, y, x)")
    extra = len(header.shape) - 3
    if path.suffix.lower() in (".nrrd", ".nhdr"):
        mapped = map_nrrd(path, header)
        if mapped is not None:
            values = mapped.reshape(shape)
            return Source(shape, header.dtype, header.spacing, lambda start, stop: np.array(values[start:stop]))

    def read(start: int, stop: int) -> NDArray[Any]:
        if extra:
            return itk_region(path, header, 0, 1).reshape(shape)[start:stop]
        return itk_region(path, header, start, stop)

    return Source(shape, header.dtype, header.spacing, read)


def zarr_source(path: Path) -> Source:
    """Open level 0 of an OME-Zarr image (0.4 or 0.5) with one channel and one time point, or a plain 3D Zarr array.

    Raises
    ------
    InputError
        If it is no Zarr, has more channels (a stained volume, say), or is damaged.
    """
    import zarr

    try:
        node = zarr.open(path, mode="r")
        attributes = dict(node.attrs)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path}: cannot be read as Zarr ({reason[:120]}); the folder is damaged or incomplete"
        ) from None
    if isinstance(node, zarr.Array):
        array, axes = node, "zyx"[-node.ndim :]
        spacing: Spacing = (None, None, None)
    else:
        array, axes, spacing = _multiscale(path, node, attributes)
    lengths = dict(zip(axes, array.shape, strict=False))
    others = {axis: size for axis, size in lengths.items() if axis not in "zyx" and size != 1}
    if others or not axes.endswith("zyx") or len(axes) != array.ndim:
        named = ", ".join(f"{axis} {size}" for axis, size in lengths.items())
        raise InputError(f"{path}: its axes are {named or array.shape}; a µCT volume has z, y, x and one channel")

    def read(start: int, stop: int) -> NDArray[Any]:
        try:
            return np.asarray(array[(0,) * (array.ndim - 3) + (slice(start, stop),)])
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{path}: slices {start} to {stop - 1} cannot be read ({error}); it is damaged") from None

    return Source(tuple(array.shape[-3:]), np.dtype(array.dtype), spacing, read)


def _multiscale(path: Path, group: Any, attributes: Mapping[str, Any]) -> tuple[Any, str, Spacing]:
    """Return the finest array of an OME-Zarr image, its axes, and its voxel size where units are stated."""
    try:
        image = attributes.get("ome", attributes)["multiscales"][0]
        axes = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in image["axes"]]
        level = image["datasets"][0]
        array = group[level["path"]]
        scale = np.ones(len(axes))
        for transform in [*level.get("coordinateTransformations", []), *image.get("coordinateTransformations", [])]:
            if transform.get("type") == "scale":
                scale = scale * np.asarray(transform["scale"], dtype=float)
        names = "".join(str(axis["name"]) for axis in axes)
        steps = {axis["name"]: to_um(float(s), axis.get("unit")) for axis, s in zip(axes, scale, strict=True)}
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: is no OME-Zarr image ({type(error).__name__}: {error}); give the image's folder"
        ) from None
    return array, names, (steps.get("z"), steps.get("y"), steps.get("x"))
