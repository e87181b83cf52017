"""Files that a header or a link names: only regular files in the folder of the input are read."""

from pathlib import Path

from tomostain.errors import InputError

MAX_BOMB_BYTES = 2**28
_MAX_RATIO = 850
"""Deflate packs 1032 bytes of one value into one byte; an image with some content is larger (`image_size`)."""


def next_to(path: Path, name: str) -> Path:
    """Return a file that the file `path` names: next to it or, if `path` is a link, next to the file it points to."""
    target = path.parent / name
    if path.is_symlink() and not target.exists():
        behind = path.resolve().parent / name
        return behind if behind.exists() else target
    return target


def file_inside(path: Path, name: str, role: str, way_out: str = "copy it next to the header") -> Path:
    """Return the file that the file `path` names, relative to its folder.

    Parameters
    ----------
    path : Path
        The file that names another one.
    name : str
        The name that it states.
    role : str
        What the other file is, for messages.
    way_out : str
        What to do if it is missing.

    Raises
    ------
    InputError
        If it lies outside of the folder of `path` (also through ``..`` or a symbolic link), is missing, or is not a
        regular file.
    """
    try:
        target = next_to(path, name)
        folders = {path.parent.resolve(), path.resolve().parent}
        resolved = target.resolve()
        is_inside = any(resolved.is_relative_to(folder) for folder in folders)
        exists, is_regular = resolved.exists(), resolved.is_file()
    except (OSError, ValueError, RuntimeError):
        raise InputError(
            f"{path}: its {role} '{_short(name)}' is not the name of a file; the file is damaged"
        ) from None
    if not is_inside:
        raise InputError(
            f"{path}: its {role} {_short(name)} lies outside of {path.parent}, and is not read; copy it there, and "
            "name it without a folder"
        )
    if not exists:
        raise InputError(f"{path}: its {role} {_short(name)} is missing; {way_out}")
    if not is_regular:
        raise InputError(f"{path}: its {role} {_short(name)} is not a regular file; replace it")
    return target


def check_packed_size(path: Path, declared: int, stored: int) -> None:
    """Raise if compressed data are far too small for the size that their header declares.

    Parameters
    ----------
    path : Path
        Named in the message.
    declared, stored : int
        Uncompressed and compressed size, bytes.

    Raises
    ------
    InputError
        If more than 256 MiB are declared, and more than a compression can pack into `stored` unless all values are one.
    """
    if declared > MAX_BOMB_BYTES and declared > _MAX_RATIO * max(1, stored):
        raise InputError(
            f"{path}: states {declared / 1e9:.3g} GB of values, but holds {stored / 1e6:.3g} MB of compressed data; "
            "it is truncated or damaged, or all its values are one"
        )


def check_excess(path: Path, size: int, needed: int, padding: int = 4096) -> None:
    """Raise if a file of plain values is longer than its header says: then size or type of the values is wrong.

    A line end, and a little padding of zeros, may follow the values.

    Parameters
    ----------
    path : Path
        The file of the values.
    size, needed : int
        Its size, and the size that the header states, bytes.
    padding : int
        Bytes that may follow the values.

    Raises
    ------
    InputError
    """
    spare = size - needed
    if 0 < spare <= padding:
        with path.open("rb") as file:
            file.seek(needed)
            spare = len(file.read(spare).strip(b"\0\r\n"))
    if spare > (0 if size <= needed + padding else padding):
        raise InputError(
            f"{path}: has {size} bytes, but its header states {needed}; correct the size or the type of the values in "
            "the header"
        )


def _short(text: str) -> str:
    """Return a name for a message: in one line, and not too long."""
    printable = "".join(character if character.isprintable() else "?" for character in text)
    return printable if len(printable) <= 120 else f"{printable[:117]}…"
