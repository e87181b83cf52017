"""Virtual histology for X-ray tomography: stain a greyscale µCT volume as histology would.

The public names are listed in ``__init__.pyi``. They are imported at first use, so that ``import tomostain`` imports
neither NumPy nor PyTorch:

>>> import tomostain as ts
>>> ts.PhantomConfig(material="Ti").weeks
8
>>> ts.__version__ == "0.1.0"
True
"""

import logging

import lazy_loader

__version__ = "0.1.0"

# A library prints no log messages unless the program that uses it adds a handler.
logging.getLogger("tomostain").addHandler(logging.NullHandler())

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
