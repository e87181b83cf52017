"""The objects of an HDF5 file, also behind links: soft links, and external links to files in the same folder.

HDF5 opens whatever file a link names. Here each link is followed step by step, and a file outside of the folder of the
input is never opened.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomostain.errors import InputError
from tomostain.io.metadata.inside import file_inside

if TYPE_CHECKING:
    import h5py

MAX_OBJECTS = 20_000
MAX_DEPTH = 100
_MAX_LINKS = 16
_MAX_GAP = 1000
DAMAGED = (
    OSError,
    RuntimeError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
    NotImplementedError,
    UnicodeError,
)
"""What h5py raises where a file is damaged."""


class Hdf5Tree:
    """All groups and datasets of an open HDF5 file.

    Attributes
    ----------
    path : Path
        The file, for messages.
    file : h5py.File
    datasets : dict of str to h5py.Dataset
        Each numeric dataset once, by its path; hard links come first.
    groups : dict of str to h5py.Group
        The same for groups; the root is "".
    unread : list of str
        A description of each link that was not followed: its file is missing, or outside of the folder.

    Raises
    ------
    InputError
        If the groups are nested more than 100 deep, or there are more than 20,000 objects.
    """

    def __init__(self, path: Path, file: "h5py.File") -> None:
        self.path, self.file = path, file
        self.datasets: dict[str, h5py.Dataset] = {}
        self.groups: dict[str, h5py.Group] = {"": file["/"]}
        self.unread: list[str] = []
        self._names: dict[tuple[int, int], list[str]] = {}
        self._opened: dict[Path, h5py.File] = {}
        self._walk()

    def close(self) -> None:
        """Close the files that external links led to."""
        for file in self._opened.values():
            file.close()

    def names(self, item: "h5py.Dataset | h5py.Group") -> list[str]:
        """Return all paths that lead to an object."""
        return self._names.get(_identity(item), [])

    def siblings(self, name: str) -> "dict[str, h5py.Dataset | h5py.Group]":
        """Return what is in the same group as `name`, by the last part of its path."""
        group = self.groups.get(name.rpartition("/")[0])
        return {} if group is None else dict(self.members(group))

    def members(self, group: "h5py.Group") -> "Iterator[tuple[str, h5py.Dataset | h5py.Group]]":
        """Yield name and object of each member of a group that can be read."""
        for number, key in enumerate(group):
            if number >= MAX_OBJECTS:
                return
            item = self.member(group, key)
            if item is not None:
                yield key, item

    def member(self, group: "h5py.Group", path: str) -> "h5py.Dataset | h5py.Group | None":
        """Return the object at a path below a group; None if there is none, or it lies outside of the folder."""
        try:
            return self._at(group, path, 0)
        except DAMAGED:
            return None

    def dataset(self, name: str, file: "h5py.File | None" = None) -> "h5py.Dataset | None":
        """Return the dataset at a path that the user or a virtual dataset names, in this file or another one.

        Raises
        ------
        InputError
            If a link on the way leads out of the folder of the file, or to a missing file.
        """
        import h5py

        try:
            item = self._at((file or self.file)["/"], name, 0)
        except InputError:
            raise
        except DAMAGED:
            return None
        return item if isinstance(item, h5py.Dataset) else None

    def _at(self, group: "h5py.Group", path: str, links: int) -> Any:
        """Follow a path; raises InputError for files outside of the folder, KeyError for missing objects."""
        item: Any = group.file["/"] if path.startswith("/") else group
        for part in path.split("/"):
            if part not in ("", "."):
                item = self._follow(item, part, links)
        return item

    def _follow(self, group: "h5py.Group", name: str, links: int) -> Any:
        import h5py

        link = group.get(name, getlink=True)
        if isinstance(link, h5py.HardLink):
            return _opened(group, name)
        if links >= _MAX_LINKS:
            raise KeyError(name)
        if isinstance(link, h5py.SoftLink):
            return self._at(group, link.path, links + 1)
        holder = Path(group.file.filename)
        target = file_inside(holder, link.filename, f"link {name} to", "copy it next to it")
        opened = self.open(target)
        return self._at(opened["/"], link.path, links + 1)

    def open(self, path: Path) -> "h5py.File":
        """Return another file, which is closed with this tree."""
        import h5py

        if path not in self._opened:
            self._opened[path] = h5py.File(path, "r")
        return self._opened[path]

    def _walk(self) -> None:
        """Visit all objects: hard links first, so that a dataset is named by its own path, and then other links."""
        import h5py

        self._names[_identity(self.groups[""])] = [""]
        hard: list[tuple[str, Any]] = [("", self.groups[""])]
        linked: list[tuple[str, Any, str]] = []
        while hard or linked:
            if not hard:
                parent, group, key = linked.pop(0)
                item = self._linked(group, f"{parent}/{key}".lstrip("/"), key)
                if item is not None and self._is_new(f"{parent}/{key}".lstrip("/"), item):
                    hard.append((f"{parent}/{key}".lstrip("/"), item))
                continue
            parent, group = hard.pop()
            if parent.count("/") >= MAX_DEPTH:
                raise InputError(
                    f"{self.path}: its groups are nested more than {MAX_DEPTH} deep; it is damaged, copy the "
                    "volume to a separate file"
                )
            links: list[tuple[str, Any]] = []
            for key in group:
                self._check_count(len(linked))
                name = f"{parent}/{key}".lstrip("/")
                with suppress(*DAMAGED):
                    if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                        linked.append((parent, group, key))
                    elif self._is_new(name, item := _opened(group, key)):
                        links.append((name, item))
            hard += links[::-1]

    def _linked(self, group: "h5py.Group", name: str, key: str) -> Any:
        """Return what a soft or external link leads to; note why not."""
        try:
            return self._follow(group, key, 0)
        except InputError as error:
            self.unread.append(str(error).removeprefix(f"{self.path}: its "))
        except DAMAGED:
            self.unread.append(f"link {name} leads to nothing")
        return None

    def _is_new(self, name: str, item: Any) -> bool:
        """Record an object; return whether it is a group that was not visited yet."""
        import h5py

        identity = _identity(item)
        names = self._names.setdefault(identity, [])
        names.append(name)
        if len(names) > 1:
            return False
        if isinstance(item, h5py.Dataset):
            with suppress(*DAMAGED):
                if item.dtype.kind in "biuf":
                    self.datasets[name] = item
            return False
        if isinstance(item, h5py.Group):
            self.groups[name] = item
            return True
        return False

    def _check_count(self, links: int = 0) -> None:
        if len(self._names) + links > MAX_OBJECTS:
            raise InputError(
                f"{self.path}: holds more than {MAX_OBJECTS} objects; copy the volume to a separate file (h5copy)"
            )


def _opened(group: "h5py.Group", name: str) -> Any:
    """Open a member. A virtual dataset of numbered parts extends to its last part, also beyond parts that are gone."""
    import h5py

    if group.get(name, getclass=True) is not h5py.Dataset:
        return group[name]
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    access.set_virtual_printf_gap(_MAX_GAP)
    return h5py.Dataset(h5py.h5d.open(group.id, name.encode(), access))


def _identity(item: Any) -> tuple[int, int]:
    import h5py

    info = h5py.h5o.get_info(item.id)
    return int(info.fileno), int(info.addr)
