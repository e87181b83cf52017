"""Training: losses (one per equation of paper section 2.6), recipes, patches, the loop."""

from tomostain.dataset.loaded import LoadedDataset
from tomostain.networks.build import build_network
from tomostain.train.augment import Augment
from tomostain.train.default_recipe import choose_recipe, default_recipe, describe_recipes
from tomostain.train.determinism import deterministic
from tomostain.train.export import ModelLabels, export_model
from tomostain.train.fine_tune import FineTune
from tomostain.train.initial_model import InitialModel
from tomostain.train.loop import train, train_model
from tomostain.train.plan import plan_training
from tomostain.train.recipes import Recipe, list_recipes, load_recipe
from tomostain.train.sampling import PatchSampler
from tomostain.train.step import Step
from tomostain.train.terms import Term, register_term
from tomostain.train.trained_model import TrainedModel
from tomostain.train.trainer import Trainer
from tomostain.train.windows import Batch

__all__ = [
    "Augment",
    "Batch",
    "FineTune",
    "InitialModel",
    "LoadedDataset",
    "ModelLabels",
    "PatchSampler",
    "Recipe",
    "Step",
    "Term",
    "TrainedModel",
    "Trainer",
    "build_network",
    "choose_recipe",
    "default_recipe",
    "describe_recipes",
    "deterministic",
    "export_model",
    "list_recipes",
    "load_recipe",
    "plan_training",
    "register_term",
    "train",
    "train_model",
]
