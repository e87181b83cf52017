"""Comparison of the shards of a volume with their stored checksums, before they are read."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from tomostain.errors import InputError
from tomostain.io.ome_zarr.shards import ABSENT, SUMS, read_shard_sums, shard_checksum
from tomostain.progress import Progress, silent, track

Range = tuple[int, int]
_equal: set[tuple[str, int, int, int, str | None]] = set()
"""Path, times of change, size and checksum of the shards that this process found equal to their checksums."""


class ShardVerifier:
    """Compares each shard once in a process with its checksum, unless the file changes.

    A volume without checksums (of other software) is not checked.

    Parameters
    ----------
    path : Path
        The OME-Zarr folder.
    arrays : sequence of zarr.Array
        The levels, with axes c z y x.
    names : sequence of str
        Their paths in the folder.
    """

    def __init__(self, path: Path, arrays: Sequence[Any], names: Sequence[str]) -> None:
        self._path, self._arrays, self._names = path, arrays, names
        self._verified: set[str] = set()

    @cached_property
    def sums(self) -> dict[str, str] | None:
        """Checksums of shards by name; None if the volume has none."""
        return read_shard_sums(self._path)

    def names(self, level: int, window: Sequence[Range] = ()) -> list[str]:
        """Return the files that hold a window (half-open ranges of z, y and x) of a level, by default all."""
        array, prefix = self._arrays[level], self._names[level]
        if array.metadata.zarr_format == 3:
            prefix = f"{prefix}/c"
        side: tuple[int, ...] = (array.shards or array.chunks)[1:]
        shape: tuple[int, ...] = array.shape[1:]
        ranges = [*window, *((0, size) for size in shape[len(window) :])]
        spans = [range(start // n, -(-stop // n)) for (start, stop), n in zip(ranges, side, strict=True)]
        return [f"{prefix}/0/{z}/{y}/{x}" for z, y, x in product(*spans)]

    def verify(self, level: int, window: Sequence[Range] = (), progress: Progress = silent) -> None:
        """Compare the shards of a window of a level.

        Raises
        ------
        InputError
            If one is missing or altered. The message names it.
        """
        if self.sums is None:
            return
        pending = [name for name in self.names(level, window) if name not in self._verified]
        for name in track(pending, "checking", progress) if pending else ():
            self._verify_shard(name)

    def verify_file(self, name: str) -> None:
        """Compare one file of the folder with its checksum, if it is a shard.

        Raises
        ------
        InputError
            As `verify`.
        """
        if self.sums is not None and name not in self._verified and name in self._all_names:
            self._verify_shard(name)

    def verify_present(self) -> None:
        """Look for every shard that has a checksum, without reading it.

        Raises
        ------
        InputError
            If one is missing.
        """
        for name in sorted(self._all_names & (self.sums or {}).keys()):
            if not (self._path / name).is_file():
                raise self._error(name, "is missing")

    @cached_property
    def _all_names(self) -> frozenset[str]:
        return frozenset(name for level in range(len(self._names)) for name in self.names(level))

    def _verify_shard(self, name: str) -> None:
        key = self._key(name)
        if key not in _equal:
            if self.damaged([name]):
                is_missing = shard_checksum(self._path / name) == ABSENT
                raise self._error(name, "is missing" if is_missing else "is damaged")
            if key is not None:
                _equal.add(key)
        self._verified.add(name)

    def _error(self, name: str, state: str) -> InputError:
        return InputError(
            f"{self._path}: shard {name} {state} (its checksum is in {SUMS}); copy the volume again, or run the same "
            "stain command again to repair it"
        )

    def _key(self, name: str) -> tuple[str, int, int, int, str | None] | None:
        """Return what identifies the content of a shard; None if it is not stored."""
        file = (self._path / name).absolute()
        try:
            status = file.stat()
        except OSError:
            return None
        return str(file), status.st_mtime_ns, status.st_ctime_ns, status.st_size, (self.sums or {}).get(name)

    def damaged(self, names: Iterable[str]) -> list[str]:
        """Return those of some shards that differ from their checksums."""
        sums = self.sums or {}
        return [name for name in names if shard_checksum(self._path / name) != sums.get(name, ABSENT)]
