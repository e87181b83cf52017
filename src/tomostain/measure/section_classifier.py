"""The classifier of the sections of a pair."""

from tomostain.dataset.pair import Pair
from tomostain.measure.config import MeasureConfig
from tomostain.measure.labelling import DEFAULT_STAIN
from tomostain.measure.tissue.classifier import TissueClassifier
from tomostain.measure.tissue.classifier_files import builtin_classifier, load_classifier
from tomostain.measure.tissue.classify import check_pixel_size
from tomostain.paths import StrPath


def select_section_classifier(pair: Pair, config: MeasureConfig, classifier: StrPath | None = None) -> TissueClassifier:
    """Return the given classifier, or the built-in one for the stain of a pair, after a check of the pixel size.

    Raises
    ------
    InputError
        If there is none for the stain, or it was trained at another pixel size.
    """
    stain = config.stain or (pair.stain if pair.stain != "unknown" else DEFAULT_STAIN)
    selected = load_classifier(classifier or builtin_classifier("section", stain))
    check_pixel_size(selected, pair.voxel_um, f"pair '{pair.id}'")
    return selected
