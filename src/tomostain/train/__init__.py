"""Training: networks, losses (one per equation of paper section 2.6), recipes, patches, the loop."""

from tomostain.networks.build import build_network
from tomostain.train.augment import Augment
from tomostain.train.export import export_model
from tomostain.train.loop import plan_training, train
from tomostain.train.recipes import Recipe, list_recipes, load_recipe
from tomostain.train.sampling import Batch, PatchSampler
from tomostain.train.trainer import Trainer

__all__ = [
    "Augment",
    "Batch",
    "PatchSampler",
    "Recipe",
    "Trainer",
    "build_network",
    "export_model",
    "list_recipes",
    "load_recipe",
    "plan_training",
    "train",
]
