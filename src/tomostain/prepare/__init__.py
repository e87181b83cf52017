"""Pairs for training: normalisation (paper section 2.5), correspondence masks (2.8), datasets on disk and folds."""

from tomostain.prepare.dataset import Dataset, Split, load_dataset, new_dataset, save_dataset
from tomostain.prepare.pair import Pair, load_pair, save_pair

__all__ = ["Dataset", "Pair", "Split", "load_dataset", "load_pair", "new_dataset", "save_dataset", "save_pair"]
