"""Pairs for training: normalisation (paper section 2.5), correspondence masks (2.8), datasets on disk and folds."""

from tomostain.dataset.dataset import Dataset, Split, load_dataset
from tomostain.dataset.folds import SplitConfig, implant_class, make_folds
from tomostain.dataset.pair import Pair, load_pair, save_pair
from tomostain.dataset.qc_figure import qc_picture
from tomostain.dataset.writer import DatasetBuilder, DatasetWriter, new_dataset, save_dataset
from tomostain.deprecation import renamed
from tomostain.imaging.colour import (
    ColourReference,
    colour_reference_from_rois,
    estimate_colour_reference,
    normalise_histology,
    white_balance,
)
from tomostain.imaging.correspondence_mask import correspondence_mask, rigid_ct, rigid_histology
from tomostain.imaging.intensity import IntensityReference, normalise_ct, reference_from_rois
from tomostain.imaging.intensity_estimation import estimate_reference, volume_reference
from tomostain.prepare.aligned import AlignedConfig, prepare_aligned
from tomostain.prepare.config import PrepareConfig
from tomostain.prepare.specimen_input import Boxes, Rois, SpecimenInput
from tomostain.prepare.specimens import prepare_specimens

__all__ = [
    "AlignedConfig",
    "Boxes",
    "ColourReference",
    "Dataset",
    "DatasetBuilder",
    "DatasetWriter",
    "IntensityReference",
    "Pair",
    "PrepareConfig",
    "Rois",
    "SpecimenInput",
    "Split",
    "SplitConfig",
    "colour_reference_from_rois",
    "correspondence_mask",
    "estimate_colour_reference",
    "estimate_reference",
    "implant_class",
    "load_dataset",
    "load_pair",
    "make_folds",
    "new_dataset",
    "normalise_ct",
    "normalise_histology",
    "prepare_aligned",
    "prepare_specimens",
    "qc_picture",
    "reference_from_rois",
    "rigid_ct",
    "rigid_histology",
    "save_dataset",
    "save_pair",
    "volume_reference",
    "white_balance",
]

__getattr__ = renamed(
    __name__,
    {
        "Levels": "IntensityReference",
        "HistologyLevels": "ColourReference",
        "estimate_levels": "estimate_reference",
        "levels_from_rois": "reference_from_rois",
        "volume_levels": "volume_reference",
        "estimate_histology_levels": "estimate_colour_reference",
        "histology_levels_from_rois": "colour_reference_from_rois",
    },
)
