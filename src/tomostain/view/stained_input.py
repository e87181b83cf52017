"""The older place of `tomostain.io.stained_input`."""

from tomostain.deprecation import renamed

__getattr__ = renamed(__name__, {"warn_of_other_input": "tomostain.io.stained_input:warn_of_other_input"})
