"""What the browser opens: the plane view or the 3D view, and where."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tomostain.errors import InputError
from tomostain.view.browser.server import ViewServer

Viewer = Literal["planes", "3d"]
_VIEWERS: Mapping[str, Viewer] = {"planes": "planes", "3d": "3d"}
_FRAGMENT = re.compile(r"[\w=&.,+-]{0,2000}", re.ASCII)


def check_viewer(name: str) -> Viewer:
    """Return the name of a viewer.

    Raises
    ------
    InputError
        If there is no such viewer.
    """
    if name not in _VIEWERS:
        raise InputError(f"`viewer` {name}: give planes or 3d", parameter="viewer")
    return _VIEWERS[name]


@dataclass(frozen=True)
class FirstView:
    """What the browser opens.

    Attributes
    ----------
    viewer : {"planes", "3d"}
        The plane view, or the 3D view with the volume rendering (extra ``browser``).
    at : str
        A link that the plane view copied, or the part of it after ``#``: position, zoom and layers.
    """

    viewer: Viewer = "planes"
    at: str = ""

    def __post_init__(self) -> None:
        check_viewer(self.viewer)
        if not _FRAGMENT.fullmatch(self.fragment):
            raise InputError("`at`: is not a link of the plane view; its button Link copies one", parameter="at")
        if self.at and self.viewer != "planes":
            raise InputError("`at`: is a link of the plane view; omit `viewer`", parameter="at")

    @property
    def fragment(self) -> str:
        """The part of `at` after the first ``#``, or all of it."""
        return self.at.partition("#")[2] if "#" in self.at else self.at

    def url(self, server: ViewServer) -> str:
        """Return the address to open."""
        if self.viewer == "3d":
            return server.url_3d
        return f"{server.url}#{self.fragment}" if self.fragment else server.url
