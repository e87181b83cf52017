"""The JSON files of a Zarr folder, checked before Zarr reads them: a damaged one ends in one line."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tomostain.errors import InputError

METADATA_FILES = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
_MAX_BYTES = 2**24
_MAX_SLICES = 10**7


def check_zarr_metadata(folder: Path) -> None:
    """Raise if the metadata of a Zarr group or array are not JSON objects, or its shape or chunks are impossible.

    Parameters
    ----------
    folder : Path
        Of the group or array. Files that are not there are not checked.

    Raises
    ------
    InputError
        With the name of the file.
    """
    for name in METADATA_FILES:
        file = folder / name
        if file.exists() and not file.is_file():
            raise InputError(f"{file}: is not a regular file; the Zarr is damaged, copy it again")
        if file.is_file():
            values = _read(file)
            if name in ("zarr.json", ".zarray") and "shape" in values:
                _check_shape(file, values)


def inside_zarr(folder: Path, name: str) -> Path:
    """Return the folder of an array that the metadata name.

    Raises
    ------
    InputError
        If it lies outside of the Zarr folder.
    """
    target = folder / name
    if ".." in Path(name).parts or not target.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{folder}: its array '{name[:80]}' lies outside of it, and is not read; copy it there")
    return target


def _read(file: Path) -> Mapping[str, Any]:
    if file.stat().st_size > _MAX_BYTES:
        raise InputError(f"{file}: has more than {_MAX_BYTES // 2**20} MiB; the Zarr is damaged")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)[:80]
        raise InputError(f"{file}: cannot be read as JSON ({reason}); the Zarr is damaged, copy it again") from None
    if not isinstance(values, dict):
        raise InputError(f"{file}: holds {json.dumps(values)[:40]}, not an object of JSON; the Zarr is damaged")
    return values


def _check_shape(file: Path, values: Mapping[str, Any]) -> None:
    """Raise if shape or chunks of an array are not lists of numbers above zero."""
    grid = values.get("chunk_grid")
    chunks = values.get("chunks")
    if isinstance(grid, Mapping):
        configuration = grid.get("configuration")
        chunks = configuration.get("chunk_shape") if isinstance(configuration, Mapping) else None
    for what, sizes in (("shape", values["shape"]), ("chunks", chunks)):
        if what == "chunks" and sizes is None:
            continue  # another grid of chunks, which Zarr reads or refuses
        if not isinstance(sizes, list) or not all(type(n) is int and n > 0 for n in sizes):
            raise InputError(
                f"{file}: states the {what} {json.dumps(sizes)[:80]}, not positive numbers; the Zarr is damaged"
            )
    if chunks is not None and len(chunks) != len(values["shape"]):
        raise InputError(f"{file}: its shape has {len(values['shape'])} axes, its chunks {len(chunks)}; it is damaged")
    if values["shape"] and max(values["shape"]) > _MAX_SLICES:
        raise InputError(f"{file}: states a side of {max(values['shape'])} voxels; the Zarr is damaged")
