"""The shards of a stained volume: their names and their checksums.

``0/SHA256SUMS`` lists every shard in the form that ``sha256sum --check 0/SHA256SUMS`` reads in the folder of the
volume. It is in the folder of level 0, because Zarr warns of unknown files in the group itself. A shard that is black
everywhere is not stored and has no line.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tomostain.deprecation import renamed
from tomostain.errors import InputError
from tomostain.input_files import is_there
from tomostain.io.atomic import write_text
from tomostain.io.checksums import format_sums, read_sums, sha256
from tomostain.progress import Progress, silent, track

SUMS = "0/SHA256SUMS"
ABSENT = "-"

__getattr__ = renamed(
    __name__, {"damaged": "damaged_shards", "digest": "shard_checksum", "write_sums": "write_shard_sums"}
)


def shard_name(level: int, z0: int, z_chunk: int) -> str:
    """Return the name of a shard within the volume's folder: Zarr's default key for the chunk (c, z, y, x).

    Examples
    --------
    >>> shard_name(1, 32, 16)
    '1/c/0/2/0/0'
    """
    return f"{level}/c/0/{z0 // z_chunk}/0/0"


def shard_checksum(path: Path) -> str:
    """Return the SHA-256 of a shard; `ABSENT` if it is not stored, or is not a regular file.

    Raises
    ------
    InputError
        If the file exists and cannot be read.
    """
    if not path.is_file():
        return ABSENT
    try:
        return sha256(path)
    except FileNotFoundError:
        return ABSENT
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); copy the volume again") from None


def write_shard_sums(volume: Path, sums: Mapping[str, str]) -> None:
    """Write ``0/SHA256SUMS`` from the checksums of shards by name."""
    write_text(volume / SUMS, format_sums({name: value for name, value in sums.items() if value != ABSENT}))


def read_shard_sums(volume: Path) -> dict[str, str] | None:
    """Return the checksums of shards by name; None if the volume has none.

    Raises
    ------
    InputError
        If a line of the file is not a checksum, or it is a broken link, a folder or a pipe.
    """
    path = volume / SUMS
    if is_there(path) and not path.is_file():
        raise InputError(f"{path}: is not a regular file, so the shards cannot be checked; copy the volume again")
    return read_sums(path) if path.is_file() else None


def damaged_shards(volume: Path, names: Sequence[str], progress: Progress = silent) -> list[str] | None:
    """Return the shards that differ from their checksums; None if the volume has no checksums.

    Parameters
    ----------
    volume : Path
        The folder of the stained volume.
    names : sequence of str
        All its shards: `shard_name`.
    progress : Progress
        Called for each shard.
    """
    sums = read_shard_sums(volume)
    if sums is None:
        return None
    checked = track(names, "checking", progress)
    return [name for name in checked if shard_checksum(volume / name) != sums.get(name, ABSENT)]
