"""Networks, optimisers and buffers of a recipe at the beginning of a training."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from tomostain.networks import Discriminator, build_network
from tomostain.networks.kernels import accelerate, accelerate_cuda, arrange
from tomostain.networks.layers import ChannelNorm
from tomostain.train.buffer import ImageBuffer
from tomostain.train.checkpoint import State
from tomostain.train.determinism import RandomState
from tomostain.train.distributed import DistributedContext
from tomostain.train.memory_options import (
    check_compiler,
    check_step_graph,
    compiled,
    keep_compiled_networks,
    keep_gradients,
    recomputing,
)
from tomostain.train.optimisers import adam
from tomostain.train.recipe import Recipe
from tomostain.train.step import Networks

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def build_networks(recipe: Recipe, build: Callable[[Mapping[str, Any]], nn.Module]) -> Networks:
    """Build generators, discriminators and the deformation of a recipe, each from its specification, in this order."""
    networks = Networks(build(recipe.generator_spec()), conditional=recipe.conditional)
    if recipe.needs_reverse:
        networks.g_yx = build(recipe.generator_spec(reverse=True))
    if recipe.adversarial:
        networks.d_y = build(recipe.discriminator_spec())
        networks.d_x = build(recipe.discriminator_spec(reverse=True)) if recipe.needs_reverse else None
    if recipe.needs_deformation:
        networks.deformation = build(recipe.deformation)
    return networks


def build_state(recipe: Recipe, seed: int, random: RandomState, fabric: "Fabric", context: DistributedContext) -> State:
    """Build and initialise networks, optimisers and buffers.

    Parameters
    ----------
    recipe : Recipe
    seed : int
        Seed of the weights and of the patches.
    random : RandomState
        The state of torch's global generators, already active. Networks of loss terms draw their weights from it.
    fabric : Fabric
        Sets up networks and optimisers on the device.
    context : DistributedContext
    """
    if recipe.compiles:
        check_compiler(recipe.cuda_graphs, fabric.device, context.size)
        keep_compiled_networks()
    if recipe.step_graph:
        check_step_graph(fabric.device, context.size, recomputes=recipe.checkpoint_activations)
    build = _Builder(recipe, torch.Generator().manual_seed(seed), fabric, context)
    networks = build_networks(recipe, build)
    for judge in networks.discriminators().values():
        cast(Any, judge).mark_forward_method("features")
    if recipe.average:
        average = _accelerated(build_network(recipe.generator_spec()), recipe, fabric.device)
        networks.average = fabric.setup_module(average).requires_grad_(False)
        networks.average.load_state_dict(networks.g_xy.state_dict())
    _add_loss_networks(networks, recipe, fabric)
    optimisers = {"generators": _adam(recipe, fabric, networks.optimised("generators"))}
    if recipe.adversarial:
        optimisers["discriminators"] = _adam(recipe, fabric, networks.optimised("discriminators"))
    buffers = {name: ImageBuffer(recipe.buffer) for name in networks.discriminators()}
    return State(networks, optimisers, buffers, build.draws, random)


class _Builder:
    """Builds networks of a recipe from their specifications, with weights drawn from `draws`."""

    def __init__(self, recipe: Recipe, draws: torch.Generator, fabric: "Fabric", context: DistributedContext) -> None:
        self.recipe, self.draws, self.fabric, self.context = recipe, draws, fabric, context

    def __call__(self, spec: Mapping[str, Any]) -> nn.Module:
        recipe = self.recipe
        network = self.context.share_dropout(build_network(spec, self.draws))
        network = _accelerated(network, recipe, self.fabric.device)
        if recipe.checkpoint_activations and not isinstance(network, Discriminator):
            network = recomputing(network)
        return self.fabric.setup_module(compiled(network, graphs=recipe.cuda_graphs) if recipe.compiles else network)


def _accelerated(network: nn.Module, recipe: Recipe, device: torch.device) -> nn.Module:
    """Replace layers of a network, in place, by faster ones; on a GPU, use channels last where that helps."""
    if device.type == "cuda" and recipe.kernels == "fast" and not recipe.compiles:
        network = accelerate_cuda(network, device=device)
    if device.type == "cuda" and any(isinstance(layer, ChannelNorm) for layer in network.modules()):
        # Instance normalisation is slower with channels last (pytorch/pytorch#59168).
        return cast(nn.Module, network.to(memory_format=torch.channels_last))  # type: ignore[call-overload]
    if device.type != "cpu" or recipe.compiles or recipe.kernels == "plain":
        return network
    return accelerate(network) if recipe.precision == "32-true" else arrange(network)


def _add_loss_networks(networks: Networks, recipe: Recipe, fabric: "Fabric") -> None:
    """Build the networks that loss terms declare."""
    for name, build in recipe.trained_networks().items():
        networks.trained[name] = fabric.setup_module(build(**recipe.loss_networks.get(name, {})))
    for name, build in recipe.frozen_networks().items():
        networks.frozen[name] = build().to(fabric.device).eval().requires_grad_(False)


def _adam(recipe: Recipe, fabric: "Fabric", modules: dict[str, nn.Module]) -> torch.optim.Optimizer:
    values = [value for module in modules.values() for value in module.parameters()]
    if recipe.cuda_graphs:
        keep_gradients(values)
    return cast(torch.optim.Optimizer, fabric.setup_optimizers(adam(values, recipe.learning_rate, recipe.betas)))
