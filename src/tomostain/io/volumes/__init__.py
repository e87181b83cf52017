"""µCT volumes: one reader per format, opened lazily."""

from tomostain.io.volumes.volume import Volume, open_volume

__all__ = ["Volume", "open_volume"]
