"""Whole networks of the recipes, by torch's own kernels and by `tomostain.networks.kernels.accelerate`: inference
and training.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measure import as_rows, paired
from tomostain.memory import keep_freed_memory
from tomostain.networks.build import build_network
from tomostain.networks.kernels import accelerate
from tomostain.train import Recipe, load_recipe

RECIPES = ("paired-cyclegan", "tomostain", "paired-cyclegan-cpu", "tomostain-cpu")


def infer(network: nn.Module, image: Tensor) -> None:
    """Run the forward pass, as in staining."""
    with torch.inference_mode():
        network(image)


def learn(network: nn.Module, image: Tensor) -> None:
    """Run the forward pass and the backward pass to the weights."""
    network.zero_grad(set_to_none=True)
    network(image).square().sum().backward()


def networks_of(recipe: Recipe) -> dict[str, tuple[Callable[[], nn.Module], Tensor]]:
    """Return how to build a recipe's generator and discriminator, and a patch for each."""
    side, layers = recipe.patch_px, {}
    specs = {"generator": (recipe.generator_spec(), recipe.in_channels)}
    if recipe.adversarial:
        judge = recipe.discriminator_spec()
        specs["discriminator"] = (judge, judge["in_channels"])
    for name, (spec, channels) in specs.items():
        build = partial(lambda chosen: build_network(chosen, torch.Generator().manual_seed(0)), spec)
        layers[name] = (build, torch.randn(1, channels, side, side))
    return layers


def measure(rounds: int, recipes: tuple[str, ...] = RECIPES) -> list[dict[str, Any]]:
    """Time each network both ways."""
    keep_freed_memory()
    results = []
    for recipe in recipes:
        for name, (build, image) in networks_of(load_recipe(recipe)).items():
            ways = {"inference": (infer, build().eval(), accelerate(build().eval(), frozen=True))}
            ways["training"] = (learn, build(), accelerate(build()))
            row: dict[str, Any] = {"layer": f"`{recipe}`, {name}", "patch_px": image.shape[-1]}
            for kind, (act, plain, fast) in ways.items():
                runs = {"torch": partial(act, plain, image), "fast": partial(act, fast, image)}
                row[kind] = as_rows(paired(runs, rounds))
            results.append(row)
    return results
