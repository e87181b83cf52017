"""Out of distribution: is a volume unlike the training data of a model? By grey values and by novelty."""

from tomostain.ood.check import ModelReference, VolumeReport, check_slices, check_volume, share_sentence
from tomostain.ood.novelty import TrainingReference, novelty, training_reference
from tomostain.ood.regional_reference import Augmentation

__all__ = [
    "Augmentation",
    "ModelReference",
    "TrainingReference",
    "VolumeReport",
    "check_slices",
    "check_volume",
    "novelty",
    "share_sentence",
    "training_reference",
]
