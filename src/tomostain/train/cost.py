"""The cost of a training step, counted on meta tensors: they have shapes but no values, so nothing is computed.

The networks of a recipe are built without memory, and the losses of one step run on them forwards and backwards. Every
operation is counted: its multiply-adds, the bytes that it writes, and the tensors that autograd keeps for the backward
pass. This takes seconds for any recipe on any machine.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from tomostain.networks import Discriminator, build_network
from tomostain.networks.cost import count_parameters
from tomostain.networks.noise_input import add_noise
from tomostain.train.initialise import build_networks
from tomostain.train.losses import discriminator
from tomostain.train.memory_options import recomputing
from tomostain.train.objective import compute_terms, weighted_sum
from tomostain.train.recipe import Recipe
from tomostain.train.step import Networks, Step

# Weights, gradients and the two moments of Adam, float32.
_BYTES_PER_TRAINED_VALUE = 16
_BYTES = 4


@dataclass(frozen=True)
class Work:
    """What one piece of work costs on any device.

    Attributes
    ----------
    flops : float
        Floating-point operations of convolutions and matrix products; a multiply-add is two.
    written_bytes : float
        Bytes of the results of all operations.
    operations : float
        Number of operations.
    """

    flops: float = 0.0
    written_bytes: float = 0.0
    operations: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.flops + other.flops,
            self.written_bytes + other.written_bytes,
            self.operations + other.operations,
        )

    def __mul__(self, factor: float) -> "Work":
        return Work(self.flops * factor, self.written_bytes * factor, self.operations * factor)


@dataclass(frozen=True)
class StepCost:
    """What a training step of a recipe costs one process.

    Attributes
    ----------
    parameters : int
        Values of all saved networks, the running average included.
    generator_parameters : int
        Values of the generators.
    state_bytes : int
        Weights, gradients and the state of the optimisers.
    activation_bytes : int
        Maximum of the values that the forward pass stores for the backward pass.
    step : Work
        One step of generators and discriminators.
    patch : Work
        The stain of one patch, without gradients.
    """

    parameters: int
    generator_parameters: int
    state_bytes: int
    activation_bytes: int
    step: Work
    patch: Work

    @property
    def memory_bytes(self) -> int:
        """Estimate of the memory of networks and activations on the device, bytes."""
        # In the backward pass the gradients of the activations are there as well, a few at a time.
        return self.state_bytes + int(1.3 * self.activation_bytes)

    @property
    def checkpoint_bytes(self) -> int:
        """Size of the file `last` without the buffers, bytes: weights, and two moments of those that are trained."""
        return 3 * _BYTES * self.parameters

    @property
    def stored_bytes(self) -> int:
        """Size of the weights of the generators, bytes: of a model, or of the best weights for a term."""
        return _BYTES * self.generator_parameters


def count_step(recipe: Recipe, processes: int = 1) -> StepCost:
    """Count the cost of a training step of a recipe.

    Parameters
    ----------
    recipe : Recipe
    processes : int
        Number of processes that share the batch.

    Examples
    --------
    >>> from tomostain.train import load_recipe
    >>> cost = count_step(load_recipe("paired-cyclegan"))
    >>> round(cost.parameters / 1e6, 1), round(cost.step.flops / 1e12, 1)
    (28.3, 8.6)
    """
    return _count_step(recipe.model_dump_json(), processes)


@lru_cache(maxsize=16)
def _count_step(recipe_json: str, processes: int) -> StepCost:
    """Count the step of a recipe, which is given as JSON because its tables are not hashable."""
    recipe = Recipe.model_validate_json(recipe_json)
    with torch.device("meta"):
        networks = _networks(recipe)
        images = max(recipe.batch // processes // recipe.accumulate, 1)
        step = _step(recipe, networks, images)
        for judge in networks.discriminators().values():
            judge.requires_grad_(False)
        generators, saved = _count(
            lambda: weighted_sum(compute_terms(step, recipe.active), recipe.active), backward=True
        )
        discriminators, kept_by_judges = _judge(recipe, networks, step)
        patch, _ = _count(lambda: networks.staining(add_noise(step.x[:1], _first(step.noise))), backward=False)
    trained = sum(count_parameters(network) for network in _trained(networks))
    others = [networks.average, *networks.frozen.values()]
    fixed = sum(count_parameters(network) for network in others if network is not None)
    average = 0 if networks.average is None else count_parameters(networks.average)
    return StepCost(
        parameters=trained + average,
        generator_parameters=average + sum(count_parameters(network) for network in networks.generators().values()),
        state_bytes=trained * _BYTES_PER_TRAINED_VALUE + fixed * _BYTES,
        activation_bytes=max(saved, kept_by_judges),
        step=(generators + discriminators) * recipe.accumulate,
        patch=patch,
    )


def _networks(recipe: Recipe) -> Networks:
    """Build the networks of a recipe on the current device, as `tomostain.train.initialise` does."""

    def build(spec: Mapping[str, Any]) -> nn.Module:
        network = build_network(spec)
        return (
            recomputing(network)
            if recipe.checkpoint_activations and not isinstance(network, Discriminator)
            else network
        )

    networks = build_networks(recipe, build)
    if recipe.average:
        networks.average = build_network(recipe.generator_spec()).requires_grad_(False)
    for name, builder in recipe.trained_networks().items():
        networks.trained[name] = builder(**recipe.loss_networks.get(name, {}))
    for name, frozen in recipe.frozen_networks().items():
        with torch.device("cpu"):  # it may load weights, which a tensor on "meta" cannot take
            network = frozen()
        networks.frozen[name] = network.to("meta").eval().requires_grad_(False)
    return networks


def _trained(networks: Networks) -> list[nn.Module]:
    return [*networks.optimised("generators").values(), *networks.optimised("discriminators").values()]


def _step(recipe: Recipe, networks: Networks, images: int) -> Step:
    side, channels = recipe.patch_px, recipe.noise.channels
    x = torch.empty(images, recipe.ct_channels, side, side)
    y, mask = torch.empty(images, 3, side, side), torch.empty(images, 1, side, side)
    return Step(networks, x, y, mask, noise=torch.empty(images, channels, side, side) if channels else None)


def _first(noise: Tensor | None) -> Tensor | None:
    return None if noise is None else noise[:1]


def _judge(recipe: Recipe, networks: Networks, step: Step) -> tuple[Work, int]:
    """Count the step of the discriminators."""
    if not recipe.adversarial:
        return Work(), 0
    step.keep_fakes_only()
    condition = [step.x] if networks.conditional else []
    for judge in networks.discriminators().values():
        judge.requires_grad_(True)

    def loss() -> Tensor:
        losses = []
        for name, judge in networks.discriminators().items():
            real, fake = (step.y, step.fake_y) if name == "d_y" else (step.x, step.fake_x)
            losses.append(discriminator(judge(real, *condition), judge(fake.detach(), *condition)))
        return torch.stack(losses).sum()

    return _count(loss, backward=True)


def _count(compute: Callable[[], Tensor], *, backward: bool) -> tuple[Work, int]:
    """Run a function on meta tensors; return its work, and the bytes that autograd keeps."""
    storages: dict[int, Any] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            storages[storage._cdata] = storage
        return tensor

    with _Operations() as operations:
        if backward:
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                result = compute()
            result.backward()
        else:
            with torch.no_grad():
                compute()
    saved = sum(storage.nbytes() for storage in storages.values())
    return Work(float(operations.flops), float(operations.written_bytes), float(operations.number)), saved


class _Operations(TorchDispatchMode):
    """Counts operations, the bytes of their results, and their flops. Views write nothing.

    `torch.utils.flop_counter.FlopCounterMode` counts the same flops, and takes as long as the operations themselves.
    """

    def __init__(self) -> None:
        super().__init__()
        self.number = self.written_bytes = self.flops = 0

    def __torch_dispatch__(
        self, function: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        flops_of = flop_registry.get(function.overloadpacket)
        if flops_of is not None:
            self.flops += flops_of(*args, **(kwargs or {}), out_val=result)
        if not function.is_view:
            self.number += 1
            for tensor in result if isinstance(result, tuple | list) else (result,):
                if isinstance(tensor, Tensor):
                    self.written_bytes += tensor.numel() * tensor.element_size()
        return result
