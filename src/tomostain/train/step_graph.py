"""A whole training step as one CUDA graph: generators, discriminators, optimisers, running average and buffers.

A step launches hundreds to thousands of kernels. Launched one by one, they take longer than the GPU needs to run them.
A graph launches all of them at once, with the arguments of the step in which it was captured. Values that differ from
step to step are therefore in separate memory (`StepInputs`, the learning rates), and are copied there before each
launch.
Nothing is compiled.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace

import torch
from torch import Tensor

from tomostain.errors import InputError
from tomostain.networks.cuda_capture import capturing
from tomostain.train.buffer import Exchange
from tomostain.train.device_step import DeviceStep, Losses, StepInputs
from tomostain.train.optimisers import find_optimiser

# Steps before the capture: optimisers allocate their moments, buffers their pools, and libraries choose kernels.
PLAIN_STEPS = 3


class StaticInputs:
    """Inputs of a step at fixed addresses.

    Parameters
    ----------
    inputs : StepInputs
        Their shapes stay the same.
    """

    def __init__(self, inputs: StepInputs) -> None:
        device = inputs.x.device
        weight = torch.empty((), device=device)
        self.inputs = StepInputs(
            torch.empty_like(inputs.x),
            torch.empty_like(inputs.y),
            torch.empty_like(inputs.mask),
            None if inputs.noise is None else torch.empty_like(inputs.noise),
            {name: replace(each, **_rows(each, torch.clone)) for name, each in inputs.exchanges.items()},
            weight,
        )
        self._weight = weight
        self.copy(inputs)

    def copy(self, inputs: StepInputs) -> None:
        """Copy the inputs of a step to the fixed addresses. The host does not wait."""
        for into, value in zip(_images(self.inputs), _images(inputs), strict=True):
            if into is not None and value is not None:
                into.copy_(value)
        for name, exchange in inputs.exchanges.items():
            for field, rows in _rows(self.inputs.exchanges[name]).items():
                rows.copy_(getattr(exchange, field))
        self._weight.fill_(inputs.average_weight)


def _rows(exchange: Exchange, change: Callable[[Tensor], Tensor] = lambda rows: rows) -> dict[str, Tensor]:
    return {field.name: change(getattr(exchange, field.name)) for field in fields(exchange)}


def _images(inputs: StepInputs) -> tuple[Tensor | None, ...]:
    return inputs.x, inputs.y, inputs.mask, inputs.noise


class StepGraph:
    """Takes training steps: the first ones plainly, then by launching a CUDA graph of the whole step.

    Parameters
    ----------
    step : DeviceStep
        On a GPU, in a single process.

    Notes
    -----
    The kernels of all steps are the same, so that a run that is continued has the same bits: the first steps, too, take
    the learning rates and the weight of the average from the device.
    """

    def __init__(self, step: DeviceStep) -> None:
        self.step = step
        self._plain_steps = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: StaticInputs | None = None
        self._rates: dict[str, Tensor] = {}
        self._names: dict[str, int] = {}
        self._losses: Tensor | None = None

    def __call__(self, inputs: StepInputs) -> Losses:
        """Take a step; return the losses."""
        static = self._prepared(inputs)
        if self._plain_steps < PLAIN_STEPS:
            self._plain_steps += 1
            with self._rates_on_device():
                return self.step(static.inputs)
        if self._graph is None:
            self._capture(inputs)
        assert self._graph is not None
        assert self._losses is not None
        self._graph.replay()
        # The next launch overwrites the losses in the memory of the graph.
        scalars = iter(self._losses.clone().unbind())
        return {name: [next(scalars) for _ in range(parts)] for name, parts in self._names.items()}

    def _rate(self, name: str) -> float:
        return float(self.step.state.optimisers[name].param_groups[0]["lr"])

    def _prepared(self, inputs: StepInputs) -> StaticInputs:
        """Return the inputs at fixed addresses; the learning rates are copied there, too."""
        if self._inputs is None:
            device = inputs.x.device
            self._inputs = StaticInputs(inputs)
            self._rates = {name: torch.tensor(self._rate(name), device=device) for name in self.step.state.optimisers}
            return self._inputs
        self._inputs.copy(inputs)
        for name, rate in self._rates.items():
            rate.fill_(self._rate(name))
        return self._inputs

    def _capture(self, inputs: StepInputs) -> None:
        """Record the kernels of a step. They are not run.

        Raises
        ------
        InputError
            If a step cannot be recorded.
        """
        static, device = self._prepared(inputs), inputs.x.device
        torch.cuda.synchronize(device)
        graph = torch.cuda.CUDAGraph()
        try:
            with self._rates_on_device(capturable=True), capturing(graph, device):
                values = self.step(static.inputs)
                self._losses = torch.stack([loss.float() for parts in values.values() for loss in parts])
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:  # torch reports errors of CUDA as such
            # After a failed capture the state of torch's allocator is undefined, so that the training cannot continue.
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"step {self.step.state.step + 1}: cannot be one CUDA graph ({reason}); a loss term may read a value "
                "from the device, such as by .item(): set compile: false in the recipe",
                parameter="recipe",
            ) from error
        self._names = {name: len(parts) for name, parts in values.items()}
        self._graph = graph

    @contextmanager
    def _rates_on_device(self, *, capturable: bool = False) -> Iterator[None]:
        """Give the optimisers learning rates on the device; on exit restore the numbers, which checkpoints hold."""
        groups = [
            (name, group)
            for name, optimiser in self.step.state.optimisers.items()
            for group in find_optimiser(optimiser).param_groups
        ]
        before = [{"lr": group["lr"], "capturable": group["capturable"]} for _, group in groups]
        try:
            for name, group in groups:
                group.update(lr=self._rates[name], capturable=capturable)
            yield
        finally:
            for (_, group), values in zip(groups, before, strict=True):
                group.update(values)
