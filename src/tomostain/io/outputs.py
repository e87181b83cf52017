"""One rule for all outputs: inputs are never replaced, and only earlier output of tomostain is.

An output may not be an input, contain one or lie in one. With ``overwrite=True``, a folder is replaced if it has the
marker of its kind and no other files, and a file if tomostain wrote it.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tomostain.errors import InputError
from tomostain.io.atomic import IGNORED_NAMES, TEMPORARY, refuse_existing
from tomostain.io.output_folder import check_folder_name, check_sources_outside, ending_of
from tomostain.io.own_files import is_own_file
from tomostain.paths import StrPath


@dataclass(frozen=True)
class FolderKind:
    """A kind of output folder, and what such a folder holds.

    Attributes
    ----------
    name : str
        For messages: "model", "phantom specimen".
    files : str
        Regular expression of the relative names of its files, with ``/`` between the parts.
    marker : str
        Relative name of a file that every such folder has; "" if `is_own` decides about each file.
    mark : str
        Text in the marker that other software does not write.
    is_zarr : bool
        Whether it is a Zarr, and may be named so.
    is_own : callable, optional
        Whether tomostain wrote a file of the folder.
    """

    name: str
    files: str
    marker: str = ""
    mark: str = ""
    is_zarr: bool = False
    is_own: Callable[[Path], bool] | None = None


def check_output(path: StrPath, kind: FolderKind, sources: Iterable[StrPath] = (), *, overwrite: bool = False) -> bool:
    """Check an output folder before a stage reads or writes anything. Nothing is changed.

    Parameters
    ----------
    path : str or os.PathLike
        The folder.
    kind : FolderKind
        What it will hold.
    sources : iterable of str or os.PathLike
        Files and folders that are read.
    overwrite : bool
        Whether earlier output of this kind may be replaced.

    Returns
    -------
    bool
        True if the folder holds earlier output; False if it does not exist or is empty.

    Raises
    ------
    InputError
        If the folder is, contains or lies in an input; or if it exists, and `overwrite` is false, or it is not earlier
        output of this kind, or holds another file.
    """
    path = Path(path)
    check_folder_name(path, kind.name, is_zarr=kind.is_zarr)
    check_sources_outside(path, kind.name, sources)
    refuse_existing(path, overwrite, kind.name)
    if not os.path.lexists(path) or (path.is_dir() and not any(path.iterdir())):
        return False
    check_own_folder(path, kind)
    return True


def check_own_folder(path: StrPath, kind: FolderKind) -> None:
    """Check that a folder that exists is earlier output of a kind, and holds no other file.

    Raises
    ------
    InputError
        If it is not, with the reason.
    """
    path = Path(path)
    article = "an" if kind.name[0] in "aeiou" else "a"
    if not path.is_dir():
        raise InputError(f"{path}: is not a folder, but the {kind.name} is one; give another name")
    if kind.marker and not _has_mark(path / kind.marker, kind.mark):
        reason = f"no {kind.marker} of tomostain" if kind.mark else f"no {kind.marker}"
        raise InputError(
            f"{path}: exists and is not {article} {kind.name} ({reason}), so it is not replaced; give another name"
        )
    for file in _files(path):
        name = file.relative_to(path).as_posix()
        if re.fullmatch(kind.files, name) is None or (kind.is_own is not None and not kind.is_own(file)):
            raise InputError(
                f"{file}: is not a file of {article} {kind.name}, so {path} is not replaced; give another name or "
                "move the file"
            )


def check_output_file(
    path: StrPath, what: str = "output", sources: Iterable[StrPath] = (), *, overwrite: bool = False
) -> None:
    """Check an output file before a stage reads or writes anything. Nothing is changed.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    what : str
        What it will hold, for messages: "stained image".
    sources : iterable of str or os.PathLike
        Files and folders that are read.
    overwrite : bool
        Whether a file that tomostain wrote may be replaced.

    Raises
    ------
    InputError
        If the file is an input or lies in one; or if it exists, and `overwrite` is false, it is a folder, or another
        program wrote it.
    """
    path = Path(path)
    check_sources_outside(path, what, sources)
    refuse_existing(path, overwrite, what)
    if path.is_dir():
        raise InputError(f"{path}: is a folder, but a file is to be written; give a file name")
    if path.exists() and not is_own_file(path, ending_of(path)):
        raise InputError(
            f"{path}: was not written by tomostain, or by an older version, so it is not replaced; give another name, "
            "or remove it"
        )


def _has_mark(marker: Path, mark: str) -> bool:
    """Return whether a marker exists and has a text."""
    try:
        return marker.is_file() and (not mark or mark in marker.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return False


def _files(folder: Path) -> Iterator[Path]:
    """Yield everything in a folder that is not a folder, without the files of file browsers; links are not followed."""
    for name, folders, files in os.walk(folder):
        links = [each for each in folders if Path(name, each).is_symlink()]
        for each in sorted((*files, *links)):
            if each not in IGNORED_NAMES and not each.startswith(TEMPORARY):
                yield Path(name, each)
