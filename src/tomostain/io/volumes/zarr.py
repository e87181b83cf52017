"""Volumes in OME-Zarr, or in a plain Zarr array."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.input_files import check_is_folder, refuse_special_file
from tomostain.io.metadata.axes import AxesError, Order, letter_of, volume_order
from tomostain.io.metadata.inside import MAX_BOMB_BYTES, check_packed_size
from tomostain.io.metadata.ngff import Level, read_levels
from tomostain.io.metadata.placement import Placement
from tomostain.io.metadata.zarr_json import METADATA_FILES, check_zarr_metadata, inside_zarr
from tomostain.io.volumes.base import Source
from tomostain.io.volumes.chunks import check_chunk, missing_in_zarr, missing_shards
from tomostain.io.volumes.fill_value import without_fill_values
from tomostain.io.volumes.registry import register_reader
from tomostain.io.volumes.rescale import rescaled, stated_rescale
from tomostain.io.volumes.signedness import with_stated_sign
from tomostain.io.volumes.zarr_blosc import BloscCheck

_DAMAGED = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    RuntimeError,
    NotImplementedError,
    AssertionError,
    OverflowError,
    MemoryError,
)


def _is_zarr(path: Path) -> bool:
    return any((path / file).is_file() for file in METADATA_FILES)


@register_reader(suffixes=(".zarr",), label="OME-Zarr", folder=_is_zarr)
def open_zarr(path: Path, dataset: str | None = None) -> Source:
    """Open level 0 of an OME-Zarr image (0.4 or 0.5) with one channel and one time point, or a plain 3D Zarr array.

    Raises
    ------
    InputError
        If it is not a Zarr, has several channels (for instance a stained volume), or is damaged, the order of its axes
        is ambiguous, or an array lies outside of the folder.
    """
    import zarr

    node, attributes = _open_node(path)
    plan = attributes.get("tomostain")
    if isinstance(plan, Mapping) and plan.get("complete") is False:
        raise InputError(f"{path}: writing was not finished; run the command that wrote it again to continue")
    array: Any
    level: Level | None = None
    if isinstance(node, zarr.Array):
        array = node
    else:
        array, level = _multiscale(path, node, attributes)
    order = _order(path, array, level)
    _check_chunk_size(path, array)
    is_own = isinstance(plan, Mapping)
    missing = missing_shards(path, array) if is_own else missing_in_zarr(path / array.path, array, order[0])
    if missing:
        array = _filled_with_zeros(array)

    shape = tuple(int(array.shape[axis]) for axis in order)
    facts = Source(shape, np.dtype(array.dtype), (None, None, None), _reader(path, array, order), missing=missing)
    facts = without_fill_values(path, facts, dict(array.attrs))
    facts = with_stated_sign(facts, dict(array.attrs))
    facts = rescaled(facts, stated_rescale(path, dict(array.attrs)))
    if level is None:
        return facts
    facts = replace(facts, unknown_unit=level.unknown_unit)
    placement = _stored_placement(attributes) or level.placement()
    return replace(facts, spacing=level.spacing, placement=placement, step=level.placement_step())


def _open_node(path: Path) -> tuple[Any, dict[str, Any]]:
    """Open the array or group of a folder. Return it with its attributes."""
    import zarr

    refuse_special_file(path)
    check_is_folder(path, "a Zarr is a folder with zarr.json or .zarray")
    for name in METADATA_FILES:
        refuse_special_file(path / name)
    check_zarr_metadata(path)
    try:
        node = zarr.open(path, mode="r")
        return node, dict(node.attrs)
    except _DAMAGED as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path}: cannot be read as Zarr ({reason[:120]}); the folder is damaged or incomplete"
        ) from None


def _check_chunk_size(path: Path, array: Any) -> None:
    """Raise if the files are too small for chunks of the stated size, or a chunk is too large."""
    chunk = int(np.prod(array.chunks, dtype=float)) * array.dtype.itemsize
    if chunk > MAX_BOMB_BYTES:
        files = [file for file in (path / array.path).rglob("*") if file.is_file() and file.name not in METADATA_FILES]
        check_packed_size(path, chunk * max(1, len(files)), sum(file.stat().st_size for file in files))
    check_chunk(path, array)


def _reader(path: Path, array: Any, order: Order) -> Callable[[int, int], NDArray[Any]]:
    """Return a function that reads slices of an array whose axes z, y, x are those of `order`."""
    blosc = BloscCheck(path / array.path, array)

    def read(start: int, stop: int) -> NDArray[Any]:
        index: list[slice | int] = [0] * array.ndim
        for axis in order:
            index[axis] = slice(None)
        index[order[0]] = slice(start, stop)
        blosc.check(index)
        try:
            values = np.asarray(array[tuple(index)])
        except _DAMAGED as error:
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"{path}: slices {start} to {stop - 1} cannot be read ({reason}); it is damaged") from None
        ranks = np.argsort(np.argsort(order))  # the places of z, y, x among the axes that are read
        return values.transpose([int(rank) for rank in ranks])

    return read


def _filled_with_zeros(array: Any) -> Any:
    """Return an array that has zeros in chunks that are not stored, whatever fill value it states."""
    import zarr

    zero = np.zeros((), array.dtype)[()]
    metadata = replace(array.metadata, fill_value=zero)
    return zarr.Array(zarr.AsyncArray(metadata, array.store_path))


def _order(path: Path, array: Any, level: Level | None) -> Order:
    """Return the axes of an array that are z, y and x, by the axes of OME-Zarr or the names of its dimensions.

    Names are stated by ``dimension_names`` of Zarr 3 or, in Zarr 2, by ``_ARRAY_DIMENSIONS`` of xarray.
    """
    stated = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    names = [None if name is None else str(name) for name in stated] if isinstance(stated, list | tuple) else None
    if names is not None and len(names) != array.ndim:
        raise InputError(
            f"{path}: names {len(names)} dimensions ({', '.join(map(str, names))[:60]}), but its array has "
            f"{array.ndim} of lengths {', '.join(map(str, array.shape))}; correct or remove the names"
        )
    try:
        if level is None:
            return volume_order(array.shape, names)
        order = volume_order(array.shape, level.names)
        of_array = None if names is None or not any(letter_of(n or "") for n in names) else names
        if of_array is not None and volume_order(array.shape, of_array) != order:
            of_ome, of_dimensions = ", ".join(level.names), ", ".join(map(str, of_array))
            raise AxesError(f"its axes are {of_ome} by OME-Zarr, and {of_dimensions} by the array; correct one of them")
    except AxesError as error:
        raise InputError(f"{path}: {error}") from None
    return order


def _multiscale(path: Path, group: Any, attributes: Mapping[str, Any]) -> tuple[Any, Level]:
    """Return the finest array of an OME-Zarr image, and its metadata."""
    import zarr

    try:
        level = read_levels(attributes)[0]
        check_zarr_metadata(inside_zarr(path, level.path))
        array = group[level.path]
        if not isinstance(array, zarr.Array):
            raise TypeError(f"{level.path} is not an array")
        return array, level
    except InputError as error:
        raise InputError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from None
    except _DAMAGED as error:
        if "multiscales" not in attributes.get("ome", attributes) and (path / "0").is_dir():
            raise InputError(
                f"{path}: holds its images in folders (as bioformats2raw writes them); give {path / '0'}"
            ) from None
        if isinstance(error, KeyError) and "multiscales" in str(error):
            raise InputError(f"{path}: describes no image (multiscales){_inside(path, group)}") from None
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{path}: is not an OME-Zarr image ({type(error).__name__}: {reason}); give the image's folder"
        ) from None


def _inside(path: Path, group: Any) -> str:
    """Return which arrays and groups a group holds, as the end of a message."""
    try:
        arrays = sorted(name for name, array in group.arrays() if array.ndim >= 3)
        groups = sorted(name for name, _ in group.groups())
    except _DAMAGED:
        return "; give the folder of an image"
    if arrays:
        return f"; it holds the arrays {', '.join(arrays[:6])}: give one of them, {path / arrays[0]}"
    if groups:
        return f"; it holds the groups {', '.join(groups[:6])}: give the folder of an image in them"
    return "; give the folder of an image"


def _stored_placement(attributes: Mapping[str, Any]) -> Placement | None:
    """Return the placement that tomostain stored with a volume: OME-Zarr cannot hold directions."""
    plan = attributes.get("tomostain")
    values = plan.get("placement") if isinstance(plan, Mapping) else None
    try:
        return None if values is None else Placement.from_dict(values)
    except (KeyError, TypeError, ValueError):
        return None
