from . import dataset, demo, evaluate, io, measure, phantom, prepare, register, stain, train, view
from .dataset.dataset import Dataset, load_dataset
from .dataset.loaded import LoadedDataset
from .dataset.pair import Pair
from .dataset.writer import save_dataset
from .demo import DemoConfig, run_demo
from .errors import (
    DamagedDataWarning,
    InputError,
    InterruptedRunError,
    OutOfDistributionWarning,
    RegistrationUncertainError,
)
from .evaluate import EvaluateConfig, evaluate_models
from .imaging.intensity import IntensityReference
from .imaging.resampled_files import ResampleOptions, resample_file
from .imaging.resampling import resample_volume
from .inspection import Inspection, TrainingComparison, check_path, compare_with_training
from .installation import describe_installation
from .io import Slide, StainedVolume, Volume, copy_model, list_models, open_slide, open_stained, open_volume
from .measure.classes import TissueClass
from .measure.config import MeasureConfig, StudyConfig
from .measure.results import MeasureResult, SectionResult
from .measure.run import measure_volume
from .measure.section import measure_section
from .measure.study import StudyResult, measure_study
from .phantom import PhantomConfig, write_specimen
from .prepare import AlignedConfig, PrepareConfig, SpecimenInput, prepare_aligned, prepare_specimens
from .register import Hint, RegisterConfig, Registration, register_slide
from .stain import StainConfig, Stainer, StainRequest, load_stainer, stain_volume
from .train import Recipe, TrainedModel, list_recipes, load_recipe, train_model
from .view import convert_model, export, view_path

__version__: str

__all__ = [
    "AlignedConfig",
    "DamagedDataWarning",
    "Dataset",
    "DemoConfig",
    "EvaluateConfig",
    "Hint",
    "InputError",
    "Inspection",
    "IntensityReference",
    "InterruptedRunError",
    "LoadedDataset",
    "MeasureConfig",
    "MeasureResult",
    "OutOfDistributionWarning",
    "Pair",
    "PhantomConfig",
    "PrepareConfig",
    "Recipe",
    "RegisterConfig",
    "Registration",
    "RegistrationUncertainError",
    "ResampleOptions",
    "SectionResult",
    "Slide",
    "SpecimenInput",
    "StainConfig",
    "StainRequest",
    "StainedVolume",
    "Stainer",
    "StudyConfig",
    "StudyResult",
    "TissueClass",
    "TrainedModel",
    "TrainingComparison",
    "Volume",
    "__version__",
    "check_path",
    "compare_with_training",
    "convert_model",
    "copy_model",
    "dataset",
    "demo",
    "describe_installation",
    "evaluate",
    "evaluate_models",
    "export",
    "io",
    "list_models",
    "list_recipes",
    "load_dataset",
    "load_recipe",
    "load_stainer",
    "measure",
    "measure_section",
    "measure_study",
    "measure_volume",
    "open_slide",
    "open_stained",
    "open_volume",
    "phantom",
    "prepare",
    "prepare_aligned",
    "prepare_specimens",
    "register",
    "register_slide",
    "resample_file",
    "resample_volume",
    "run_demo",
    "save_dataset",
    "stain",
    "stain_volume",
    "train",
    "train_model",
    "view",
    "view_path",
    "write_specimen",
]
