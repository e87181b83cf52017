"""Virtual histology for X-ray tomography: a greyscale µCT volume in, the same volume stained out.

The stages are modules and are imported when first used, so that ``import tomostain`` loads neither torch nor a
graphical toolkit:

>>> import tomostain
>>> tomostain.__version__ == "0.1.0"
True
"""

import logging
from importlib import import_module
from types import ModuleType

__version__ = "0.1.0"

# A library prints no log messages unless the program that uses it adds a handler.
logging.getLogger("tomostain").addHandler(logging.NullHandler())

_STAGES = ("evaluate", "io", "phantom", "prepare", "register", "stain", "train", "view")

__all__ = ["__version__", *_STAGES]


def __getattr__(name: str) -> ModuleType:
    if name in _STAGES:
        return import_module(f"tomostain.{name}")
    raise AttributeError(f"module 'tomostain' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_STAGES])
