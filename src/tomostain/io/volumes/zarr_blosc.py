"""Headers of Zarr chunks in Blosc, compared with their files: the library reads beyond the end of a truncated one."""

import struct
from collections.abc import Sequence
from itertools import product
from math import ceil, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomostain.errors import InputError

if TYPE_CHECKING:
    import zarr

_HEADER = struct.Struct("<4xIII")
"""After versions and flags: bytes before the compression, size of a block, bytes of the chunk with this header.

Source: https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst
"""


class BloscCheck:
    """Compares each chunk of an array once with the header of Blosc; nothing for other compressions.

    Parameters
    ----------
    folder : Path
        The folder of the array.
    array : zarr.Array
        Chunks in shards are not compared: the index of a shard has a checksum.
    """

    def __init__(self, folder: Path, array: "zarr.Array[Any]") -> None:
        self._folder, self._array = folder, array
        self._is_used = array.shards is None and _is_blosc(array.metadata)
        self._chunk_bytes = prod(array.chunks) * array.dtype.itemsize
        self._checked: set[str] = set()

    def check(self, index: Sequence[slice | int]) -> None:
        """Check the chunks that hold ``array[index]``.

        Raises
        ------
        InputError
            If one is shorter than its header states, or holds another number of values than a chunk.
        """
        if not self._is_used:
            return
        sides = zip(index, self._array.shape, self._array.chunks, strict=True)
        ranges = []
        for part, side, chunk in sides:
            start, stop = part.indices(side)[:2] if isinstance(part, slice) else (part, part + 1)
            ranges.append(range(start // chunk, ceil(stop / chunk)))
        for cell in product(*ranges):
            key = self._array.metadata.encode_chunk_key(cell)
            if key not in self._checked:
                self._check_chunk(self._folder / key)
                self._checked.add(key)

    def _check_chunk(self, file: Path) -> None:
        try:
            with file.open("rb") as stream:
                head, size = stream.read(_HEADER.size), file.stat().st_size
        except FileNotFoundError:
            return
        if len(head) < _HEADER.size:
            raise InputError(
                f"{file}: has {size} bytes, less than the header of a chunk; it is truncated, copy it again"
            )
        unpacked, _, packed = _HEADER.unpack(head)
        if packed > size:
            raise InputError(
                f"{file}: has {size} bytes, but its header states {packed}; it is truncated, copy it again"
            )
        if unpacked != self._chunk_bytes:
            raise InputError(
                f"{file}: holds {unpacked} bytes, but a chunk has {self._chunk_bytes}; it is damaged, copy it again"
            )


def _is_blosc(metadata: Any) -> bool:
    """Return whether the values of a chunk are compressed with Blosc alone."""
    if metadata.zarr_format == 2:
        return getattr(metadata.compressor, "codec_id", "") == "blosc" and not metadata.filters
    names = [type(codec).__name__ for codec in metadata.codecs]
    return names[-1:] == ["BloscCodec"] and set(names[:-1]) <= {"BytesCodec", "TransposeCodec"}
