"""Deprecated place of `tomostain.dataset.loaded`."""

from tomostain.deprecation import renamed

__getattr__ = renamed(
    __name__,
    {
        "LoadedDataset": "tomostain.dataset.loaded:LoadedDataset",
        "PairSource": "tomostain.dataset.loaded:PairSource",
    },
)
