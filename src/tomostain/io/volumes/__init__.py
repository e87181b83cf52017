"""µCT volumes: one reader for each format. Volumes are opened without reading their grey values."""

from tomostain.io.volumes.base import Source, VolumeLike
from tomostain.io.volumes.opening import open_volume
from tomostain.io.volumes.registry import import_modules, register_reader, volume_formats
from tomostain.io.volumes.volume import Volume

__all__ = ["Source", "Volume", "VolumeLike", "open_volume", "register_reader", "volume_formats"]

import_modules(__name__, __path__)  # each module that defines a reader registers it
