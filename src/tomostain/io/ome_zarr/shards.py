"""The shards of a stained volume: where they lie, and whether they are still what was written.

`0/SHA256SUMS` names every shard in the form that `sha256sum --check 0/SHA256SUMS` reads in the volume's folder. It lies
with the array of level 0, since in the group itself Zarr warns of a file that it does not know. A shard that is
black all over is not stored; its sum is that of nothing, and so it has no line.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from tomostain.errors import InputError
from tomostain.io.atomic import write_text
from tomostain.progress import Progress, silent, track

SUMS = "0/SHA256SUMS"
ABSENT = "-"
_BLOCK = 2**20


def shard_name(level: int, z0: int, slab: int) -> str:
    """Return the name of a shard within the volume's folder: Zarr's default key for the chunk (c, z, y, x).

    Examples
    --------
    >>> shard_name(1, 32, 16)
    '1/c/0/2/0/0'
    """
    return f"{level}/c/0/{z0 // slab}/0/0"


def digest(path: Path) -> str:
    """Return the SHA-256 of a file; `ABSENT` if there is none."""
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                found.update(block)
    except FileNotFoundError:
        return ABSENT
    return found.hexdigest()


def write_sums(volume: Path, sums: Mapping[str, str]) -> None:
    """Write `0/SHA256SUMS` from the digests of shards by name."""
    lines = [f"{value}  {name}\n" for name, value in sums.items() if value != ABSENT]
    write_text(volume / SUMS, "".join(lines))


def read_sums(volume: Path) -> dict[str, str] | None:
    """Return the digests of shards by name; None if the volume has no `0/SHA256SUMS`.

    Raises
    ------
    InputError
        If the file is not what `write_sums` writes.
    """
    path = volume / SUMS
    if not path.is_file():
        return None
    sums = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        value, _, name = line.partition("  ")
        if len(value) != 64 or not name:
            raise InputError(f"{path}: '{line[:80]}' is no line of checksums; restore the file or remove it")
        sums[name] = value
    return sums


def damaged(volume: Path, names: Sequence[str], progress: Progress = silent) -> list[str] | None:
    """Return which of the shards are not what was written; None where no checksums were kept.

    Parameters
    ----------
    volume : Path
        The stained volume's folder.
    names : sequence of str
        All its shards: `shard_name`.
    progress : Progress
        Told of every shard.
    """
    sums = read_sums(volume)
    if sums is None:
        return None
    return [name for name in track(names, "checking", progress) if digest(volume / name) != sums.get(name, ABSENT)]
