"""Writing a whole shard of a Zarr array: its inner chunks are compressed on all cores, and the checksum is computed
while they are written.

The file has the same bytes as one that Zarr writes. Zarr itself writes a shard by reading what is there, handing each
inner chunk from task to task, and joining them in memory. The checksum would need to read the file again.

Source: the "sharding_indexed" codec of the Zarr 3 specification. Inner chunks are in Morton order, as zarr-python
orders them; the index is at the end: offset and length of each chunk (uint64, little-endian) and the CRC-32C of both.
"""

import hashlib
import sys
import uuid
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import google_crc32c
import numpy as np
from numcodecs.zstd import Zstd
from numpy.typing import NDArray

from tomostain.installation import available_cores
from tomostain.io.ome_zarr.shards import ABSENT
from tomostain.io.parallel import iterate_in_parallel

_EMPTY = 2**64 - 1
_TASK_BYTES = 2**20
"""Bytes that one task compresses: large compared with the cost of a task, small compared with a shard."""


@dataclass(frozen=True)
class ShardLayout:
    """How the shards of an array are stored.

    Attributes
    ----------
    shard, inner : tuple of int
        Shapes of a shard and of its inner chunks.
    dtype : numpy.dtype
    zstd_level : int
        Compression level of the inner chunks.
    """

    shard: tuple[int, ...]
    inner: tuple[int, ...]
    dtype: np.dtype[Any]
    zstd_level: int

    @classmethod
    def of(cls, metadata: Mapping[str, Any], dtype: np.dtype[Any]) -> Self | None:
        """Return the layout from the metadata (``zarr.json``) of an array; None if it is stored in another way.

        Parameters
        ----------
        metadata : mapping
            As ``zarr.Array.metadata.to_dict()`` returns it.
        dtype : numpy.dtype
            Of the array.
        """
        try:
            (sharding,) = metadata["codecs"]
            options = sharding["configuration"]
            as_bytes, zstd = options["codecs"]
            index_bytes, crc = options["index_codecs"]
            is_known = (
                (sharding["name"], as_bytes["name"], zstd["name"], crc["name"])
                == ("sharding_indexed", "bytes", "zstd", "crc32c")
                and index_bytes == {"name": "bytes", "configuration": {"endian": "little"}}
                and (dtype.itemsize == 1 or as_bytes["configuration"] == {"endian": "little"})
                and not zstd["configuration"]["checksum"]
                and options["index_location"] == "end"
                and metadata["chunk_key_encoding"] == {"name": "default", "configuration": {"separator": "/"}}
                and metadata["fill_value"] == 0
                and sys.byteorder == "little"
            )
            shard, inner = metadata["chunk_grid"]["configuration"]["chunk_shape"], options["chunk_shape"]
            level = int(zstd["configuration"]["level"])
        except (KeyError, TypeError, ValueError):
            return None
        return cls(tuple(shard), tuple(inner), dtype, level) if is_known else None

    @cached_property
    def grid(self) -> tuple[int, ...]:
        """Number of inner chunks along each axis."""
        return tuple(side // chunk for side, chunk in zip(self.shard, self.inner, strict=True))

    def write(self, path: Path, values: NDArray[Any]) -> str:
        """Write a shard, or remove the file if all values are 0: Zarr does not store such a shard.

        Parameters
        ----------
        path : Path
        values : ndarray of `dtype`
            At most of the shape `shard`; beyond it, the shard is filled with 0.

        Returns
        -------
        str
            The SHA-256 of the file; `tomostain.io.ome_zarr.shards.ABSENT` if it is not stored.
        """
        index = np.full((*self.grid, 2), _EMPTY, "<u8")
        size = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")  # removed by `OmeZarrWriter.finish`
        try:
            with partial.open("wb") as file, closing(self._encoded(values)) as chunks, _Checksum() as checksum:
                for position, chunk in chunks:
                    index[position] = size, len(chunk)
                    size += len(chunk)
                    checksum.update(chunk)
                    file.write(chunk)
                end = index.tobytes()
                end += int(google_crc32c.value(end)).to_bytes(4, "little")
                checksum.update(end)
                file.write(end)
            if not size:
                path.unlink(missing_ok=True)
                return ABSENT
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return checksum.hexdigest()

    def _encoded(self, values: NDArray[Any]) -> Generator[tuple[tuple[int, ...], bytes]]:
        """Yield position and bytes of the inner chunks that are not 0, in Morton order."""
        used = [-(-side // chunk) for side, chunk in zip(values.shape, self.inner, strict=True)]
        positions = [position for position in morton_order(self.grid) if all(map(int.__lt__, position, used))]
        number = max(1, _TASK_BYTES // (int(np.prod(self.inner)) * self.dtype.itemsize))
        tasks = [positions[first : first + number] for first in range(0, len(positions), number)]

        def encode(task: Sequence[tuple[int, ...]]) -> list[bytes]:
            codec, buffer = Zstd(level=self.zstd_level), np.zeros(self.inner, self.dtype)
            return [self._encode(codec, buffer, values, position) for position in task]

        with closing(iterate_in_parallel(encode, tasks)) as results:
            for task, chunks in zip(tasks, results, strict=True):
                yield from ((position, chunk) for position, chunk in zip(task, chunks, strict=True) if chunk)

    def _encode(self, codec: Zstd, buffer: NDArray[Any], values: NDArray[Any], position: tuple[int, ...]) -> bytes:
        """Return the bytes of an inner chunk; b"" if all its values are 0."""
        part = values[tuple(slice(n * side, (n + 1) * side) for n, side in zip(position, self.inner, strict=True))]
        if part.shape != self.inner:
            buffer.fill(0)
        buffer[tuple(map(slice, part.shape))] = part
        return bytes(codec.encode(buffer)) if buffer.view(np.uint8).any() else b""


class _Checksum:
    """The SHA-256 of parts, computed in a thread of its own while the caller writes them."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        # One thread, so that the parts stay in order.
        self._thread = ThreadPoolExecutor(1, "tomostain-checksum") if available_cores() > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=True)

    def update(self, part: bytes) -> None:
        """Add a part."""
        if self._thread is None:
            self._digest.update(part)
        else:
            self._thread.submit(self._digest.update, part)

    def hexdigest(self) -> str:
        """Return the checksum of all parts; after the end of the block."""
        return self._digest.hexdigest()


def morton_order(grid: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the positions in a grid in Morton order: by the bits of all coordinates, taken in turn, the last first.

    An axis takes part only with the bits that its length needs ("compressed Morton code").

    Examples
    --------
    >>> morton_order((2, 3))
    [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]
    """
    coordinates = np.indices(grid).reshape(len(grid), -1)
    bits = [(side - 1).bit_length() for side in grid]
    code, place = np.zeros(coordinates.shape[1], np.int64), 0
    for bit in range(max(bits, default=0)):
        for axis, needed in enumerate(bits):
            if bit < needed:
                code |= ((coordinates[axis] >> bit) & 1) << place
                place += 1
    return [tuple(map(int, coordinates[:, n])) for n in np.argsort(code, kind="stable")]
