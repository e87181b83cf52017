"""The type of a path that a function takes, and the cache folder."""

import os
from pathlib import Path
from typing import TypeAlias

StrPath: TypeAlias = str | os.PathLike[str]
"""A path, as a text or as an object such as `pathlib.Path`."""


def cache_folder() -> Path:
    """Return the folder of tomostain in the user's cache folder: ``XDG_CACHE_HOME``, or ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tomostain"
