"""Out of distribution: is a volume unlike the training data of a model? By grey values and by novelty."""

from tomostain.ood.check import ModelReference, VolumeReport, check_slices, check_volume
from tomostain.ood.novelty import TrainingReference, novelty, training_reference

__all__ = [
    "ModelReference",
    "TrainingReference",
    "VolumeReport",
    "check_slices",
    "check_volume",
    "novelty",
    "training_reference",
]
