"""Pairs for training: normalisation (paper section 2.5), correspondence masks (2.8), datasets on disk and folds."""

from tomostain.prepare.aligned import AlignedConfig, prepare_aligned
from tomostain.prepare.dataset import Dataset, Split, load_dataset
from tomostain.prepare.folds import SplitConfig, implant_class, make_folds
from tomostain.prepare.histology import (
    HistologyLevels,
    estimate_histology_levels,
    histology_levels_from_rois,
    normalise_histology,
    white_balance,
)
from tomostain.prepare.mask import correspondence_mask, rigid_ct, rigid_histology
from tomostain.prepare.normalise import Levels, estimate_levels, levels_from_rois, normalise_ct, volume_levels
from tomostain.prepare.pair import Pair, load_pair, save_pair
from tomostain.prepare.qc import qc_picture
from tomostain.prepare.specimens import PrepareConfig, prepare_specimens
from tomostain.prepare.writer import DatasetWriter, new_dataset, save_dataset

__all__ = [
    "AlignedConfig",
    "Dataset",
    "DatasetWriter",
    "HistologyLevels",
    "Levels",
    "Pair",
    "PrepareConfig",
    "Split",
    "SplitConfig",
    "correspondence_mask",
    "estimate_histology_levels",
    "estimate_levels",
    "histology_levels_from_rois",
    "implant_class",
    "levels_from_rois",
    "load_dataset",
    "load_pair",
    "make_folds",
    "new_dataset",
    "normalise_ct",
    "normalise_histology",
    "prepare_aligned",
    "prepare_specimens",
    "qc_picture",
    "rigid_ct",
    "rigid_histology",
    "save_dataset",
    "save_pair",
    "volume_levels",
    "white_balance",
]
