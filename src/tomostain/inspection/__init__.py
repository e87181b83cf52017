"""What a file or folder is, and whether it is complete and undamaged."""

from tomostain.inspection.check import Inspection, check_path
from tomostain.inspection.training_comparison import TrainingComparison, check_against, compare_with_training

__all__ = ["Inspection", "TrainingComparison", "check_against", "check_path", "compare_with_training"]
