"""The type of a path that a function takes."""

import os
from typing import TypeAlias

StrPath: TypeAlias = str | os.PathLike[str]
"""A path, as a text or as an object such as `pathlib.Path`."""
