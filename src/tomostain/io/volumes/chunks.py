"""Chunks of Zarr arrays that were never written, or not copied. Zarr returns the fill value there."""

import logging
import os
import re
import struct
from collections import Counter
from collections.abc import Iterator
from math import ceil, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomostain.errors import InputError
from tomostain.input_files import is_file_entry, is_folder_entry, refuse_special_file
from tomostain.io.checksums import read_sums
from tomostain.io.image_size import check_decoded_size
from tomostain.io.volumes.missing import NOTHING_MISSING, MissingData, Ranges, format_slices, merged, missing_layers

if TYPE_CHECKING:
    import h5py
    import zarr

_logger = logging.getLogger("tomostain.io")

_EMPTY = 2**64 - 1
_OWN_SUMS = "0/SHA256SUMS"
_WRITE_AGAIN = (
    "write the volume again (set the program to write chunks of zeros if it leaves them out), or copy it again"
)


def check_chunk(path: Path, array: "h5py.Dataset | zarr.Array[Any]") -> None:
    """Raise if a chunk, which is decoded as a whole, does not fit into memory.

    Raises
    ------
    InputError
        See `tomostain.io.image_size.check_decoded_size`.
    """
    if array.chunks is not None:
        check_decoded_size(path, prod(array.chunks), array.dtype.itemsize, None)


def missing_shards(path: Path, array: "zarr.Array[Any]") -> MissingData:
    """Find the slices of an OME-Zarr that this package wrote of which a shard is missing.

    Shards of zeros are not stored; the list of checksums names those that were. A volume of an old version has no list.

    Parameters
    ----------
    path : Path
        The folder of the volume.
    array : zarr.Array
        Its finest level, with axes c, z, y, x.
    """
    listed = path / _OWN_SUMS
    names = list(read_sums(listed)) if listed.is_file() else []
    absent = [name for name in names if re.fullmatch(r"0/c/\d+/\d+/0/0", name) and not (path / name).is_file()]
    if not absent:
        return NOTHING_MISSING
    depth, length = (array.shards or array.chunks)[1], int(array.shape[1])
    shards = [int(name.split("/")[3]) for name in absent]
    slices = merged((shard * depth, min((shard + 1) * depth, length)) for shard in shards)
    reason = f"{format_slices(slices)} are missing (file {absent[0]})"
    return MissingData(slices, reason, "run the command that wrote it again")


def missing_in_zarr(path: Path, array: "zarr.Array[Any]", z: int) -> MissingData:
    """Find the slices of a Zarr array in a local folder that are missing: layers along z without a stored chunk.

    Programs leave out chunks of zeros (the default of Zarr 3). So a layer in which only some chunks are not stored is
    not missing if the fill value is 0; the log names its slices. Of a sharded array, every shard must exist.

    Parameters
    ----------
    path : Path
        The folder of the array.
    array : zarr.Array
    z : int
        The axis that is z; the other axes beyond y and x have one chunk.

    Returns
    -------
    MissingData

    Raises
    ------
    InputError
        If a chunk is a pipe, a device or a folder.
    """
    outer = array.shards or array.chunks
    grid = [ceil(side / chunk) for side, chunk in zip(array.shape, outer, strict=True)]
    layers: Counter[int] = Counter()
    shards: list[tuple[tuple[int, ...], Path]] = []
    broken: list[tuple[int, int]] = []
    for index, file in _stored_chunks(path, array, len(grid)):
        if file is None:  # a broken link to a chunk, or to a folder of chunks
            first, last = (index[z], index[z] + 1) if z < len(index) else (0, grid[z])
            broken.append((first * outer[z], min(last * outer[z], array.shape[z])))
            continue
        # A file under another name than the metadata state is not read: Zarr returns the fill value.
        if file.relative_to(path).as_posix() == array.metadata.encode_chunk_key(index) and all(
            0 <= i < n for i, n in zip(index, grid, strict=True)
        ):
            layers[index[z]] += 1
            shards.append((index, file))
    length, expected = array.shape[z], prod(grid) // grid[z]
    partly = missing_layers(layers, expected, grid[z], outer[z], length)
    slices = partly
    if array.shards:
        empty, partly = _empty_in_shards(array, shards, z)
        slices = merged([*slices, *empty])
    elif expected > 1:
        slices = missing_layers(layers, 1, grid[z], outer[z], length)
    if array.fill_value is not None and array.fill_value != 0:
        slices = merged([*slices, *partly])
    slices = merged([*slices, *broken])
    if not slices:
        if partly:
            _logger.warning(
                "%s: some chunks of %s are not stored; they are read as zeros, as their fill value states",
                path,
                format_slices(partly),
            )
        return NOTHING_MISSING
    verb = "has" if sum(stop - start for start, stop in slices) == 1 else "have"
    return MissingData(
        slices, f"{format_slices(slices)} {verb} chunks that are missing (folder {path.name})", _WRITE_AGAIN
    )


def _stored_chunks(path: Path, array: "zarr.Array[Any]", ndim: int) -> Iterator[tuple[tuple[int, ...], Path | None]]:
    """Yield the index and the file of each stored chunk: "0.1.2" or "0/1/2", in Zarr 3 after "c".

    Of a broken link, the file is None. The index of a folder of chunks is shorter.
    """
    for entry, parts in _entries(path, (), ndim):
        words = [word for part in parts for word in part.split(".")]
        words = words[1:] if words[:1] == ["c"] else words
        if not all(word.isdigit() for word in words):
            continue
        if is_file_entry(entry):  # the listing of the folder states that: no further system call
            yield tuple(int(word) for word in words), Path(entry.path)
            continue
        refuse_special_file(Path(entry.path))
        if is_folder_entry(entry):
            raise InputError(f"{entry.path}: is a folder, but a chunk is a file; the Zarr is damaged, copy it again")
        yield tuple(int(word) for word in words), None


def _entries(folder: Path, parts: tuple[str, ...], ndim: int) -> Iterator[tuple["os.DirEntry[str]", tuple[str, ...]]]:
    """Yield what may be a chunk, to the depth that chunk keys have, and broken links to folders of chunks."""
    with os.scandir(folder) as entries:
        for entry in entries:
            names = (*parts, entry.name)
            words = [word for name in names for word in name.split(".") if word != "c"]
            if not all(word.isdigit() for word in words):
                continue
            if len(words) < ndim and is_folder_entry(entry):
                yield from _entries(Path(entry.path), names, ndim)
            elif len(words) == ndim or (len(words) < ndim and entry.is_symlink() and not is_file_entry(entry)):
                yield entry, names


def _empty_in_shards(
    array: "zarr.Array[Any]", shards: list[tuple[tuple[int, ...], Path]], z: int
) -> tuple[Ranges, Ranges]:
    """Return the slices of which all chunks, and those of which some chunks are empty in the index of their shard.

    Both are () if the index is encoded in another way.
    """
    codecs = getattr(array.metadata, "codecs", ())
    codec: Any = next((c for c in codecs if hasattr(c, "index_codecs")), None)
    names = [type(c).__name__ for c in codec.index_codecs] if codec is not None else ["none"]
    if names not in (["BytesCodec"], ["BytesCodec", "Crc32cCodec"]) or len(codecs) > 1:
        return (), ()
    assert array.shards is not None
    inner = [side // chunk for side, chunk in zip(array.shards, array.chunks, strict=True)]
    length = 16 * prod(inner)
    stored = length + (4 if len(names) == 2 else 0)
    at_end = codec.index_location.value == "end"
    endian = codec.index_codecs[0].endian
    order = ">" if endian is not None and endian.value == "big" else "<"
    ranges: Counter[tuple[int, int]] = Counter()
    for index, file in shards:
        with file.open("rb") as stream:
            if file.stat().st_size < stored:
                raise InputError(f"{file}: is shorter than the index of a shard; the Zarr is damaged, copy it again")
            stream.seek(-stored if at_end else 0, 2 if at_end else 0)
            entries = struct.unpack(f"{order}{2 * prod(inner)}Q", stream.read(length))
        ranges.update(_empty_chunks(array, index, inner, entries, z))
    sides = zip(array.shape, array.chunks, strict=True)
    expected = prod(ceil(side / chunk) for axis, (side, chunk) in enumerate(sides) if axis != z)
    return merged(layer for layer, count in ranges.items() if count >= expected), merged(ranges)


def _empty_chunks(
    array: "zarr.Array[Any]", index: tuple[int, ...], inner: list[int], entries: tuple[int, ...], z: int
) -> Iterator[tuple[int, int]]:
    """Yield the slices of the chunks of one shard that are empty; chunks beyond the array always are."""
    for number, (offset, size) in enumerate(zip(entries[::2], entries[1::2], strict=True)):
        if (offset, size) != (_EMPTY, _EMPTY):
            continue
        first: list[int] = []
        remainder = number
        for axis in reversed(range(len(inner))):
            remainder, place = divmod(remainder, inner[axis])
            first.insert(0, (index[axis] * inner[axis] + place) * array.chunks[axis])
        if all(start < side for start, side in zip(first, array.shape, strict=True)):
            yield first[z], min(first[z] + array.chunks[z], array.shape[z])
