"""Training: losses (one per equation of paper section 2.6), recipes, patches, the loop."""

from tomostain.networks.build import build_network
from tomostain.train.augment import Augment
from tomostain.train.data import LoadedDataset
from tomostain.train.determinism import deterministic
from tomostain.train.export import export_model
from tomostain.train.loop import plan_training, train, train_model
from tomostain.train.recipes import Recipe, list_recipes, load_recipe
from tomostain.train.sampling import Batch, PatchSampler
from tomostain.train.step import Step
from tomostain.train.terms import Term, register_term
from tomostain.train.trainer import Trainer

__all__ = [
    "Augment",
    "Batch",
    "LoadedDataset",
    "PatchSampler",
    "Recipe",
    "Step",
    "Term",
    "Trainer",
    "build_network",
    "deterministic",
    "export_model",
    "list_recipes",
    "load_recipe",
    "plan_training",
    "register_term",
    "train",
    "train_model",
]
