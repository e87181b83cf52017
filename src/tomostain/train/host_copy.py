"""Deprecated place of `tomostain.host_copy`."""

from tomostain.deprecation import renamed

__getattr__ = renamed(__name__, {name: f"tomostain.host_copy:{name}" for name in ("copy_together", "pack", "unpack")})
