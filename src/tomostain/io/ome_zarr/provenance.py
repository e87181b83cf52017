"""What the attributes of a stained volume state of it, compared with its arrays."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tomostain.errors import InputError


def checked_provenance(path: Path, attributes: Mapping[str, Any], arrays: Sequence[Any]) -> dict[str, Any]:
    """Return the provenance of a stained volume; {} if it was not written by this package.

    Parameters
    ----------
    path : Path
        Named in messages.
    attributes : mapping
        Of the group.
    arrays : sequence of zarr.Array
        All levels.

    Raises
    ------
    InputError
        If the arrays are not those of a stained volume, or the attributes contradict them.
    """
    for array in arrays:
        if array.ndim != 4 or array.shape[0] != 3 or array.dtype != np.uint8:
            raise InputError(
                f"{path}: holds {array.dtype} of shape {array.shape}, not three 8-bit channels (c, z, y, x)"
            )
    plan: Any = attributes.get("tomostain")
    if isinstance(plan, Mapping) and plan.get("shape", list(arrays[0].shape[1:])) != list(arrays[0].shape[1:]):
        raise InputError(
            f"{path}: was written with the shape {str(plan['shape'])[:60]}, but its array has {arrays[0].shape[1:]}; "
            "zarr.json was changed, so copy or stain the volume again"
        )
    shards = arrays[0].shards
    if isinstance(plan, Mapping) and shards and plan.get("slab", shards[1]) != shards[1]:
        raise InputError(
            f"{path}: was written with {str(plan['slab'])[:20]} slices in a shard, but its shards have {shards[1]}; "
            "zarr.json was changed, so copy or stain the volume again"
        )
    provenance = plan.get("provenance", {}) if isinstance(plan, Mapping) else {}
    if not isinstance(provenance, Mapping):
        raise InputError(
            f"{path}: its provenance is {type(provenance).__name__}, not a mapping; zarr.json was changed, so copy or "
            "stain the volume again"
        )
    return dict(provenance)
