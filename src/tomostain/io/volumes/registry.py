"""The registry of volume readers.

A reader is a function with the decorator `register_reader` that opens a file and returns a `Source`. Another package
adds one by an entry point in the group ``tomostain.volume_readers`` whose name is the suffix without the dot, such as
``czi``. It is imported when a file with this suffix is opened.
"""

import importlib
import importlib.metadata
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from tomostain.errors import InputError
from tomostain.io.volumes.base import Source

ENTRY_POINTS = "tomostain.volume_readers"
"""Group of the entry points by which other packages add readers."""


class OpenVolume(Protocol):
    """The function of a reader."""

    def __call__(self, path: Path, dataset: str | None = None) -> Source:
        """Open the volume at `path`; `dataset` is the name of one of several in the file."""


@dataclass(frozen=True)
class Reader:
    """A reader of one format.

    Attributes
    ----------
    open : callable
        Takes the path and the name of the dataset, and returns a `Source`.
    label : str
        Name of the format in messages.
    suffixes : tuple of str
        Endings of file names, in lower case, with the dot.
    extra : str or None
        Extra of tomostain that installs what the reader imports.
    folder : callable or None
        Returns whether a folder is of this format, whatever its name. None: the format is a file.
    has_datasets : bool
        Whether a file holds several volumes, selected by `dataset`.
    """

    open: OpenVolume
    label: str
    suffixes: tuple[str, ...] = ()
    extra: str | None = None
    folder: Callable[[Path], bool] | None = None
    has_datasets: bool = False

    def source(self, path: Path, dataset: str | None) -> Source:
        """Open a volume.

        Raises
        ------
        InputError
            If it is damaged, or a package is missing that the reader needs.
        """
        try:
            return self.open(path, dataset)
        except ImportError as error:
            install = f"pip install 'tomostain[{self.extra}]'" if self.extra else "install it"
            raise InputError(f"{path}: reading {self.label} needs {error.name or error}; {install}") from None


_READERS: list[Reader] = []
_Open = TypeVar("_Open", bound=OpenVolume)


def register_reader(
    *,
    suffixes: Sequence[str],
    label: str,
    extra: str | None = None,
    folder: Callable[[Path], bool] | None = None,
    has_datasets: bool = False,
) -> Callable[[_Open], _Open]:
    """Register a function as the reader of a format.

    Parameters
    ----------
    suffixes : sequence of str
        Endings of file (or folder) names, with the dot. The longest one that fits is used, and of several readers with
        the same suffix the one that was registered last.
    label : str
        Name of the format in messages.
    extra : str, optional
        Extra of tomostain that installs what the reader imports. Import such packages inside the function.
    folder : callable, optional
        For formats that are folders: takes a path and returns whether the folder is of this format, if its name has no
        known suffix.
    has_datasets : bool
        Whether a file holds several volumes, selected by the parameter `dataset`.

    Returns
    -------
    callable
        Returns the function unchanged.

    Examples
    --------
    >>> import numpy as np
    >>> @register_reader(suffixes=(".ones",), label="ones")
    ... def open_ones(path, dataset=None):
    ...     def read(start, stop):
    ...         return np.ones((stop - start, 3, 3), np.uint8)
    ...     return Source((4, 3, 3), np.dtype(np.uint8), (5.0, 5.0, 5.0), read)
    >>> find_reader(Path("a.ones")).label
    'ones'
    >>> _ = _READERS.pop()
    """

    def decorate(function: _Open) -> _Open:
        lower = tuple(suffix.lower() for suffix in suffixes)
        _READERS.append(Reader(function, label, lower, extra, folder, has_datasets))
        return function

    return decorate


def import_modules(package: str, paths: Iterable[str]) -> None:
    """Import all modules of a package, which register their readers."""
    for module in pkgutil.iter_modules(paths):
        importlib.import_module(f"{package}.{module.name}")


def find_reader(path: Path) -> Reader | None:
    """Return the reader of a file or folder, by its name or by the content of a folder; None if there is none.

    Raises
    ------
    InputError
        If the reader belongs to another package and cannot be imported.
    """
    name, is_folder = path.name.lower(), path.is_dir()
    reader = _by_suffix(name, is_folder)
    if reader is None and is_folder:
        reader = next((each for each in reversed(_READERS) if each.folder and each.folder(path)), None)
    if reader is None:
        point = next((point for suffix, point in _entry_points().items() if name.endswith(suffix)), None)
        if point is not None:
            reader = _loaded(point, name, is_folder)
    return reader


def volume_formats() -> list[str]:
    """Return the names of all formats that files can have, and the suffixes that other packages read."""
    suffixes = {suffix for reader in _READERS for suffix in reader.suffixes}
    added = [suffix for suffix in _entry_points() if suffix not in suffixes]
    return sorted({reader.label for reader in _READERS}, key=str.lower) + sorted(added)


def _by_suffix(name: str, is_folder: bool) -> Reader | None:
    readers = [reader for reader in _READERS if reader.folder or not is_folder]
    fitting = [(suffix, reader) for reader in readers for suffix in reader.suffixes if name.endswith(suffix)]
    longest = max((len(suffix) for suffix, _ in fitting), default=0)
    return next((reader for suffix, reader in reversed(fitting) if len(suffix) == longest), None)


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    points = importlib.metadata.entry_points(group=ENTRY_POINTS)
    return {f".{point.name.lower()}": point for point in points}


def _loaded(point: importlib.metadata.EntryPoint, name: str, is_folder: bool) -> Reader:
    try:
        function = point.load()
    except Exception as error:
        raise InputError(f"{name}: cannot load its reader from {point.value}: {error}") from error
    # The module may have registered it with a label; else the suffix is its name.
    return _by_suffix(name, is_folder) or Reader(function, f".{point.name}", (f".{point.name.lower()}",))
