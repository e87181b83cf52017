"""Chunks and parts of HDF5 datasets that were never written, or not copied. HDF5 returns the fill value there."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.input_files import refuse_special_file
from tomostain.io.metadata.inside import next_to
from tomostain.io.volumes.hdf5_virtual import Coverage, Part, Place, virtual_parts
from tomostain.io.volumes.missing import NOTHING_MISSING, MissingData, Ranges, format_slices, merged, missing_layers

if TYPE_CHECKING:
    import h5py

WRITE_AGAIN = (
    "write the volume again (set the program to write chunks of zeros if it leaves them out), or copy it again"
)
_MAX_DEPTH = 4


def missing_in_hdf5(dataset: "h5py.Dataset", z: int = 0) -> MissingData:
    """Find the slices of an HDF5 dataset that have a chunk which was never written.

    Parameters
    ----------
    dataset : h5py.Dataset
        Three-dimensional. Of a virtual dataset, its parts are searched.
    z : int
        The axis that is z.

    Returns
    -------
    MissingData

    Raises
    ------
    InputError
        If the parts of a virtual dataset cannot be compared with it.
    """
    slices = _unwritten(dataset, z)
    if not slices:
        return NOTHING_MISSING
    reason = f"no data were written for {format_slices(slices)} of {dataset.name}; the program that wrote it stopped"
    return MissingData(slices, reason, WRITE_AGAIN)


def _unwritten(dataset: "h5py.Dataset", z: int) -> Ranges:
    length = int(dataset.shape[z])
    if dataset.is_virtual:
        return _search_parts(dataset, z).slices
    if dataset.external:
        return _short_external(dataset, z)
    if dataset.chunks is None:
        return ((0, length),) if dataset.id.get_storage_size() == 0 and dataset.size else ()
    grid = [ceil(side / chunk) for side, chunk in zip(dataset.shape, dataset.chunks, strict=True)]
    if dataset.id.get_num_chunks() >= prod(grid):
        return ()
    layers: Counter[int] = Counter()

    def count(chunk: Any) -> None:
        layers[int(chunk.chunk_offset[z]) // dataset.chunks[z]] += 1

    dataset.id.chunk_iter(count)
    return missing_layers(layers, prod(grid) // grid[z], grid[z], dataset.chunks[z], length)


def zero_unwritten(dataset: "h5py.Dataset", values: NDArray[Any], index: Sequence[slice | int]) -> None:
    """Set what was never written to 0 instead of the fill value of the dataset.

    Parameters
    ----------
    dataset : h5py.Dataset
        Not a virtual one, see `covered_by_parts`.
    values : ndarray
        ``dataset[index]``; changed in place.
    index : sequence of slice or int
        One for each axis, without steps.
    """
    if dataset.external:  # HDF5 returns zeros
        return
    if dataset.chunks is None:
        values[...] = 0 if dataset.id.get_storage_size() == 0 else values
        return
    bounds = [
        part.indices(side)[:2] if isinstance(part, slice) else (part, part + 1)
        for part, side in zip(index, dataset.shape, strict=True)
    ]
    grid = [
        range(start - start % chunk, stop, chunk) for (start, stop), chunk in zip(bounds, dataset.chunks, strict=True)
    ]
    for corner in product(*grid):
        if dataset.id.get_chunk_info_by_coord(corner).byte_offset is None:
            axes = zip(index, corner, dataset.chunks, bounds, strict=True)
            place = [
                slice(max(first - start, 0), min(first + chunk, stop) - start)
                for part, first, chunk, (start, stop) in axes
                if isinstance(part, slice)
            ]
            values[tuple(place)] = 0


def _short_external(dataset: "h5py.Dataset", z: int) -> Ranges:
    """Compare the sizes of the raw files of a dataset with external storage; beyond their end HDF5 returns zeros."""
    available = 0
    for name, offset, size in dataset.external:
        file = next_to(Path(dataset.file.filename), name)
        refuse_special_file(file)
        if not file.is_file():
            raise InputError(f"{dataset.file.filename}: its data file {name} is missing; copy it next to it")
        available += min(max(0, file.stat().st_size - offset), size)
    plane = prod(dataset.shape[1:]) * dataset.dtype.itemsize
    whole = available // plane if plane else 0
    return ((whole if z == 0 else 0, int(dataset.shape[z])),) if whole < dataset.shape[0] else ()


@dataclass(frozen=True)
class _Search:
    """Slices of a virtual dataset that are missing, and where it has values."""

    slices: Ranges
    coverage: Coverage


def covered_by_parts(dataset: "h5py.Dataset") -> Coverage:
    """Return where a virtual dataset has values: where a part that holds them is mapped.

    A part of which some chunks were never written counts as covered if its fill value is 0.

    Raises
    ------
    InputError
        As `missing_in_hdf5`.
    """
    return _search_parts(dataset, 0).coverage


def _search_parts(dataset: "h5py.Dataset", z: int, depth: int = 0) -> _Search:
    covered: list[Place] = []
    incomplete: list[tuple[int, int]] = []
    for part in virtual_parts(dataset):
        has_values, is_complete = _state(dataset, part, depth)
        if has_values:
            covered += part.places
        if not is_complete:
            incomplete += [pair for place in part.places for pair in place[z]]
    try:
        coverage = Coverage(dataset.shape, covered)
    except ValueError as error:
        raise InputError(
            f"{dataset.file.filename}: dataset {dataset.name} is virtual, of {error}; store its values in one file"
        ) from None
    return _Search(merged([*coverage.gaps(z), *incomplete]), coverage)


def _state(dataset: "h5py.Dataset", part: Part, depth: int) -> tuple[bool, bool]:
    """Return whether a part of a virtual dataset has values (zeros where it has none), and whether it has all."""
    import h5py

    name = dataset.file.filename
    file_name = Path(name) if part.file == "." else next_to(Path(name), part.file)
    refuse_special_file(file_name)
    with h5py.File(file_name, "r") as file:
        source = file.get(part.dataset)
        if not isinstance(source, h5py.Dataset) or not _fits(part, source):
            return False, False
        if not _has_gaps(source, part.bounds, depth + 1):
            return True, True
        return not source.is_virtual and bool(source.fillvalue == 0), False


def _fits(part: Part, source: "h5py.Dataset") -> bool:
    """Return whether a dataset is as large as a part of it that is mapped."""
    if part.bounds is None:
        return bool(source.size >= part.size)
    ends = [stop for _, stop in part.bounds]
    return len(ends) == source.ndim and all(stop <= side for stop, side in zip(ends, source.shape, strict=True))


def _has_gaps(dataset: "h5py.Dataset", bounds: Sequence[tuple[int, int]] | None, depth: int) -> bool:
    """Return whether some values of a dataset within bounds were never written."""
    if dataset.is_virtual:
        return depth > _MAX_DEPTH or bool(_search_parts(dataset, 0, depth).slices)
    if dataset.chunks is None or dataset.external:
        return bool(_unwritten(dataset, 0)) if dataset.ndim else False
    sides = bounds or [(0, side) for side in dataset.shape]
    cells = [
        range(start // chunk, ceil(stop / chunk)) for (start, stop), chunk in zip(sides, dataset.chunks, strict=True)
    ]
    written = 0

    def count(chunk: Any) -> None:
        nonlocal written
        places = zip(chunk.chunk_offset, dataset.chunks, cells, strict=True)
        written += all(int(offset) // side in cell for offset, side, cell in places)

    dataset.id.chunk_iter(count)
    return written < prod(map(len, cells))
