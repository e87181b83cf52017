"""Which z chunks of an array are written: one marker file for each, so that many processes can share the work."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tomostain.io.atomic import write_text
from tomostain.io.locks import lock

_INNER = 64


class ChunkProgress:
    """The progress of an array that is written by z chunks, each once, in any order and by any number of processes.

    Parameters
    ----------
    folder : Path
        Where the markers and locks are. It need not exist yet.
    depth : int
        Slices of the array.
    size : int
        Slices of a chunk. The last chunk may have fewer.
    prefix : str
        Start of the names of the files.
    """

    def __init__(self, folder: Path, depth: int, size: int, prefix: str = "") -> None:
        self._folder, self._depth, self._size, self._prefix = folder, depth, size, prefix

    def chunks(self) -> list[tuple[int, int]]:
        """Return the half-open ranges of slices of all chunks."""
        return [(z, min(z + self._size, self._depth)) for z in range(0, self._depth, self._size)]

    def pending(self) -> list[tuple[int, int]]:
        """Return the chunks that are not written yet."""
        return [chunk for chunk in self.chunks() if not self.is_done(chunk[0])]

    def is_done(self, start: int) -> bool:
        """Return whether the chunk that starts at a slice is written."""
        return self.marker(start).exists()

    @contextmanager
    def lock(self, start: int) -> Iterator[bool]:
        """Lock a chunk for the length of a block. Yields False if another process holds it or it is written.

        Raises
        ------
        FileNotFoundError
            If the folder does not exist.
        """
        with lock(self.marker(start).with_suffix(".lock")) as is_locked:
            yield is_locked and not self.is_done(start)

    @contextmanager
    def lock_written(self, start: int) -> Iterator[None]:
        """Wait for the lock of a chunk that may be written, and hold it for the length of a block.

        Raises
        ------
        FileNotFoundError
            If the folder does not exist.
        """
        with lock(self.marker(start).with_suffix(".lock"), wait=True):
            yield

    def record(self, start: int, text: str = "") -> None:
        """Mark a chunk as written; `text` is the content of its marker."""
        write_text(self.marker(start), text)

    def text(self, start: int) -> str:
        """Return the content of a marker.

        Raises
        ------
        FileNotFoundError
            If the chunk is not written, or the folder does not exist.
        """
        return self.marker(start).read_text(encoding="utf-8")

    def forget(self, start: int) -> None:
        """Mark a chunk as not written."""
        self.marker(start).unlink(missing_ok=True)

    def marker(self, start: int) -> Path:
        """Return the path of a marker."""
        return self._folder / f"{self._prefix}{start:06d}.done"


def plane_chunks(rows: int, columns: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the chunk (y, x) of a plane, and the shard that holds the whole plane.

    Examples
    --------
    >>> plane_chunks(100, 40)
    ((64, 40), (128, 40))
    """
    inner_y, inner_x = min(_INNER, rows), min(_INNER, columns)
    return (inner_y, inner_x), (-(-rows // inner_y) * inner_y, -(-columns // inner_x) * inner_x)
