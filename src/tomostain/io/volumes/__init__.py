"""µCT volumes: one reader per format, opened lazily."""

from tomostain.io.volumes.base import VolumeLike
from tomostain.io.volumes.volume import Volume, open_volume

__all__ = ["Volume", "VolumeLike", "open_volume"]
