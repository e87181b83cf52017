"""A stained volume before the first slab: its plan, its empty arrays, and whether two plans are the same work."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tomostain.io.atomic import write_text
from tomostain.io.ome_zarr.metadata import ome_metadata
from tomostain.io.ome_zarr.pyramid import Shape, level_scales, pyramid_shapes

PROGRESS = ".tomostain-progress"
PLAN = "plan.json"
_INNER = 64


def make_plan(shape: Shape, voxel_um: Sequence[float], slab: int, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return what defines the work, in the form JSON gives back."""
    plan = {"shape": list(shape), "voxel_um": list(voxel_um), "slab": slab, "provenance": dict(provenance)}
    return dict(json.loads(json.dumps(plan)))


def begin(path: Path, plan: dict[str, Any]) -> None:
    """Make the progress folder, the group and the empty arrays of all levels, or, if that fails, nothing."""
    try:
        # The progress folder comes first: from here on the volume is known to be unfinished.
        write_text(path / PROGRESS / PLAN, json.dumps(plan, indent=1))
        _make_arrays(path, plan)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise


def _make_arrays(path: Path, plan: dict[str, Any]) -> None:
    import zarr
    from zarr.codecs import ZstdCodec

    group = zarr.open_group(path, mode="a", zarr_format=3)
    shapes = pyramid_shapes(tuple(plan["shape"]))
    for level, shape in enumerate(shapes):
        inner, shard = _chunking(shape, plan["slab"])
        group.create_array(
            str(level),
            shape=(3, *shape),
            chunks=(3, *inner),
            shards=(3, *shard),
            dtype="uint8",
            compressors=ZstdCodec(level=3),
            fill_value=0,
            dimension_names=("c", "z", "y", "x"),
            overwrite=True,
        )
    scales = level_scales(shapes, tuple(plan["voxel_um"]))
    group.attrs.update({"ome": ome_metadata(path.name, scales), "tomostain": {**plan, "complete": False}})


def _chunking(shape: Shape, slab: int) -> tuple[Shape, Shape]:
    """Return the inner chunk and the shard (z, y, x): all three channels in one chunk, one z-slab in one shard."""
    _, rows, columns = shape
    inner_z = slab if slab <= _INNER else next(n for n in range(_INNER, 0, -1) if slab % n == 0)
    inner_y, inner_x = min(_INNER, rows), min(_INNER, columns)
    return (inner_z, inner_y, inner_x), (slab, -(-rows // inner_y) * inner_y, -(-columns // inner_x) * inner_x)


def unfinished(path: Path) -> bool:
    """Return whether a volume is still being written, or was broken off."""
    return (path / PROGRESS).is_dir()


def found_plan(path: Path) -> dict[str, Any] | None:
    """Return the plan of a volume that is there, finished or not; None if it is not one of ours."""
    try:
        if unfinished(path):
            found = json.loads((path / PROGRESS / PLAN).read_text(encoding="utf-8"))
        else:
            found = json.loads((path / "zarr.json").read_text(encoding="utf-8"))["attributes"]["tomostain"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, dict) else None


def difference(found: Mapping[str, Any], plan: Mapping[str, Any]) -> str | None:
    """Say in what two plans differ, first things first; None if they are the same."""
    before, now = _flat(found), _flat(plan)
    before.pop("complete", None)
    for key in [*now, *before]:
        if before.get(key) != now.get(key):
            return f"{key.removeprefix('provenance.')} was {before.get(key)!r} and is now {now.get(key)!r}"
    return None


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted keys, so that a message names the one option that differs."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
