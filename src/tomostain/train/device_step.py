"""The part of a training step that runs on the device: losses, gradients, optimisers, running average.

It draws nothing on the host and does not wait for the device. So a GPU can run it as one CUDA graph
(`tomostain.train.step_graph`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tomostain.train.buffer import Exchange
from tomostain.train.checkpoint import State
from tomostain.train.distributed import DistributedContext
from tomostain.train.losses import discriminator
from tomostain.train.memory_options import begin_step
from tomostain.train.objective import compute_terms, find_term, weighted_sum
from tomostain.train.optimisers import step_if_finite, update_average
from tomostain.train.recipe import Recipe
from tomostain.train.step import Step
from tomostain.train.step_losses import SKIPPED

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Losses = dict[str, list[Tensor]]
"""Detached losses by name, for each part of the batch; and by the names of `SKIPPED`, 1 if the step was left out."""


@dataclass(frozen=True)
class StepInputs:
    """All that differs from step to step.

    Attributes
    ----------
    x, y, mask, noise : Tensor
        As of `tomostain.train.windows.Batch`.
    exchanges : mapping of str to Exchange
        What the buffer of each discriminator exchanges.
    average_weight : float or Tensor
        Weight of the present weights in the running average, 0 to 1. A tensor has no axes and is on the device.
    """

    x: Tensor
    y: Tensor
    mask: Tensor
    noise: Tensor | None = None
    exchanges: Mapping[str, Exchange] = field(default_factory=dict)
    average_weight: float | Tensor = 0.0


@contextmanager
def _without_gradients(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Leave out the gradients of networks that take part in a step but are not trained by it."""
    for network in networks:
        network.requires_grad_(False)
    try:
        yield
    finally:
        for network in networks:
            network.requires_grad_(True)


class DeviceStep:
    """Takes a step of generators and discriminators.

    Parameters
    ----------
    recipe : Recipe
    state : State
        Its networks, optimisers and buffers change.
    fabric : Fabric
    context : DistributedContext
    """

    def __init__(self, recipe: Recipe, state: State, fabric: "Fabric", context: DistributedContext) -> None:
        self.recipe, self.state, self.fabric, self.context = recipe, state, fabric, context
        self._planned_outputs = {output for name in recipe.active for output in find_term(name).outputs}

    def __call__(self, inputs: StepInputs) -> Losses:
        """Take a step; return the losses."""
        if self.recipe.cuda_graphs:
            begin_step()
        parts = self.divide(inputs)
        values = self.improve_generators(parts, inputs.average_weight)
        if self.recipe.adversarial:
            values |= self.improve_discriminators(parts, inputs.exchanges)
        return values

    def divide(self, inputs: StepInputs) -> list[Step]:
        """Divide this process's shard of a batch into the parts that go through the networks at once."""
        networks, total, number = self.state.networks, self.context.total, self.recipe.accumulate
        wholes = (inputs.x, inputs.y, inputs.mask)
        x, y, mask = (self.context.shard(whole).chunk(number) for whole in wholes)
        noise = [None] * number if inputs.noise is None else self.context.shard(inputs.noise).chunk(number)
        parts = zip(x, y, mask, noise, strict=True)
        planned = self._planned_outputs
        return [Step(networks, x, y, mask, total, noise=noise, planned=planned) for x, y, mask, noise in parts]

    def improve_generators(self, parts: Sequence[Step], average_weight: float | Tensor) -> Losses:
        """Descend eq. (4), (7) or (10)."""
        networks = self.state.networks
        judges = networks.discriminators().values()

        def compute(number: int) -> dict[str, Tensor]:
            terms = compute_terms(parts[number], self.recipe.active)
            return terms | {"total": weighted_sum(terms, self.recipe.active)}

        with _without_gradients(judges):
            values = self._descend("generators", compute, [step.keep_fakes_only for step in parts], judges)
            if networks.average is not None:
                update_average(list(networks.average.parameters()), list(networks.g_xy.parameters()), average_weight)
        return values

    def improve_discriminators(self, parts: Sequence[Step], exchanges: Mapping[str, Exchange]) -> Losses:
        """Train the discriminators on real and generated images, the latter partly from the buffers."""
        networks = self.state.networks
        fakes = {"d_y": [step.fake_y for step in parts]}
        if networks.d_x is not None:
            fakes["d_x"] = [step.fake_x for step in parts]
        old = {
            name: self._exchange(name, torch.cat(fake).detach(), exchanges).chunk(len(parts))
            for name, fake in fakes.items()
        }

        def compute(number: int) -> dict[str, Tensor]:
            step, losses = parts[number], {}
            condition = [step.x] if networks.conditional else []
            for name, judge in networks.discriminators().items():
                real = step.y if name == "d_y" else step.x
                # Real and generated images go through the discriminator together: fewer and larger operators.
                both = torch.cat([real, old[name][number]])
                conditions = [torch.cat([image, image]) for image in condition]
                losses[name] = discriminator(*judge(both, *conditions).chunk(2))
            return losses | {"total": torch.stack(list(losses.values())).sum()}

        values = self._descend("discriminators", compute)
        del values["total"]
        return values

    def _exchange(self, name: str, fake: Tensor, exchanges: Mapping[str, Exchange]) -> Tensor:
        """Return fakes, partly of earlier steps. Every process buffers the whole batch, so that all draw the same."""
        buffer = self.state.buffers[name]
        if not buffer.size:
            return fake
        return self.context.shard(buffer.exchange(self.context.gather(fake), exchanges[name]))

    def _descend(
        self,
        which: str,
        compute: Callable[[int], dict[str, Tensor]],
        after: Sequence[Callable[[], None]] = (),
        frozen: Iterable[nn.Module] = (),
    ) -> Losses:
        """Take a step along the mean gradient of "total" over the parts of a batch; return all losses of each part.

        Parameters
        ----------
        which : {"generators", "discriminators"}
        compute : function
            Returns the losses of a part by its number.
        after : sequence of function
            Called after the backward pass of the part with the same index.
        frozen : iterable of nn.Module
            Networks that take part but are not trained.
        """
        optimiser, parts = self.state.optimisers[which], self.recipe.accumulate
        learning = self.state.networks.optimised(which).values()
        optimiser.zero_grad(set_to_none=not self.recipe.cuda_graphs)
        values: Losses = {}
        for number in range(parts):
            # Processes sum their gradients once, after the last part.
            waiting = learning if number < parts - 1 else ()
            with self.context.without_sync(self.fabric, [*frozen, *waiting]):
                losses = compute(number)
                self.fabric.backward(losses["total"] / parts)
            for name, loss in losses.items():
                values.setdefault(name, []).append(loss.detach())
            for callback in after[number : number + 1]:
                callback()
        # Instance normalisation of a constant patch multiplies gradients by 1/√ε in every layer, up to infinity.
        values[SKIPPED[which]] = [step_if_finite(optimiser, self.recipe.clip_norm or float("inf"))]
        return values
