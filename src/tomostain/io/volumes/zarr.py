"""Volumes in OME-Zarr, or in a plain Zarr array."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.input_files import refuse_special_file
from tomostain.io.metadata.ngff import Level, read_levels
from tomostain.io.metadata.placement import Placement
from tomostain.io.volumes.base import Source
from tomostain.io.volumes.chunks import check_chunk, missing_in_zarr, missing_shards
from tomostain.io.volumes.registry import register_reader

_METADATA_FILES = ("zarr.json", ".zgroup", ".zarray", ".zattrs")


def _is_zarr(path: Path) -> bool:
    return any((path / file).is_file() for file in _METADATA_FILES)


@register_reader(suffixes=(".zarr",), label="OME-Zarr", folder=_is_zarr)
def open_zarr(path: Path, dataset: str | None = None) -> Source:
    """Open level 0 of an OME-Zarr image (0.4 or 0.5) with one channel and one time point, or a plain 3D Zarr array.

    Raises
    ------
    InputError
        If it is not a Zarr, has several channels (for instance a stained volume), or is damaged.
    """
    import zarr

    for name in _METADATA_FILES:
        refuse_special_file(path / name)
    try:
        node = zarr.open(path, mode="r")
        attributes = dict(node.attrs)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path}: cannot be read as Zarr ({reason[:120]}); the folder is damaged or incomplete"
        ) from None
    plan = attributes.get("tomostain")
    if isinstance(plan, Mapping) and plan.get("complete") is False:
        raise InputError(f"{path}: writing was not finished; run the command that wrote it again to continue")
    array: Any
    level: Level | None = None
    if isinstance(node, zarr.Array):
        array, axes = node, "zyx"[-node.ndim :]
    else:
        array, level = _multiscale(path, node, attributes)
        axes = "".join(level.names)
    lengths = dict(zip(axes, array.shape, strict=False))
    others = {axis: size for axis, size in lengths.items() if axis not in "zyx" and size != 1}
    if others or not axes.endswith("zyx") or len(axes) != array.ndim:
        named = ", ".join(f"{axis} {size}" for axis, size in lengths.items())
        raise InputError(f"{path}: its axes are {named or array.shape}; a µCT volume has z, y, x and one channel")

    check_chunk(path, array)
    is_own = isinstance(plan, Mapping)
    missing = missing_shards(path, array) if is_own else missing_in_zarr(path / array.path, array, array.ndim - 3)

    def read(start: int, stop: int) -> NDArray[Any]:
        try:
            return np.asarray(array[(0,) * (array.ndim - 3) + (slice(start, stop),)])
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{path}: slices {start} to {stop - 1} cannot be read ({error}); it is damaged") from None

    facts = Source(tuple(array.shape[-3:]), np.dtype(array.dtype), (None, None, None), read, missing=missing)
    if level is None:
        return facts
    placement = _stored_placement(attributes) or level.placement()
    return replace(facts, spacing=level.spacing, placement=placement, step=level.placement_step())


def _multiscale(path: Path, group: Any, attributes: Mapping[str, Any]) -> tuple[Any, Level]:
    """Return the finest array of an OME-Zarr image, and its metadata."""
    try:
        level = read_levels(attributes)[0]
        return group[level.path], level
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: is not an OME-Zarr image ({type(error).__name__}: {error}); give the image's folder"
        ) from None


def _stored_placement(attributes: Mapping[str, Any]) -> Placement | None:
    """Return the placement that tomostain stored with a volume: OME-Zarr cannot hold directions."""
    plan = attributes.get("tomostain")
    values = plan.get("placement") if isinstance(plan, Mapping) else None
    try:
        return None if values is None else Placement.from_dict(values)
    except (KeyError, TypeError, ValueError):
        return None
