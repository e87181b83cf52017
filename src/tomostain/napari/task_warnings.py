"""The older place of `tomostain.errors.warnings_to`."""

from tomostain.deprecation import renamed

__getattr__ = renamed(__name__, {"warnings_to": "tomostain.errors:warnings_to"})
