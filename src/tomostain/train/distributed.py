"""Distributed data-parallel training: how a batch is sharded and ranks are synchronised.

torchrun or srun starts the processes. All draw the same batch from the same random numbers and each takes its shard.
Everything that depends on more than one patch (gradients, losses, image buffers, dropout) is computed over the whole
batch, so that several processes take the steps of a single one.
"""

import atexit
import inspect
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from tomostain.deprecation import renamed
from tomostain.devices import choose_device
from tomostain.errors import InputError, PeerProcessError
from tomostain.train.launcher import cluster_environment, device_of_rank

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.wrappers import _FabricModule

# Steps between two exchanges of losses, times and requests to stop by processes with GPUs; an exchange makes them wait.
EXCHANGE_EVERY_STEPS = 10
# Residual registration stains whole sections between two steps; a process that hangs is detected after this time.
_TIMEOUT = timedelta(minutes=30)
# Time in which the threads of gloo release the tensors of the last exchange; they need milliseconds.
_RELEASE_S = 0.5


class DistributedContext:
    """The processes of a distributed training, or the only process of a training that is not distributed.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. Of several processes each takes the GPU of its local rank.

    Attributes
    ----------
    size : int
        Number of processes.
    rank : int
        Rank of this process.
    device : torch.device
        Device of this process.

    Raises
    ------
    InputError
        If the device is not available.

    Notes
    -----
    All methods except `fabric` do nothing for a single process. They are collective: every process must call them in
    the same order.
    """

    def __init__(self, device: str) -> None:
        self._environment = cluster_environment()
        self.size, self.rank = 1, 0
        self.device = choose_device(device)
        if self._environment is not None:
            self.size, self.rank = self._environment.world_size(), self._environment.global_rank()
            self.device = device_of_rank(self.device, device, self._environment.local_rank())
            if not distributed.is_initialized():
                atexit.register(_let_threads_release)
            self.fabric("32-true")  # connects the processes

    @property
    def is_rank_zero(self) -> bool:
        """Whether this process has rank 0. It alone writes files and reports progress."""
        return self.rank == 0

    @property
    def exchange_every_steps(self) -> int:
        """Number of steps between two exchanges of losses, times and requests to stop.

        On a CPU 1: the host waits anyway, and a request to stop is answered after the step.
        """
        return EXCHANGE_EVERY_STEPS if self.size > 1 and self.device.type != "cpu" else 1

    def fabric(self, precision: Literal["auto", "32-true", "bf16-mixed"]) -> "Fabric":
        """Return Lightning Fabric on the device of this process, for modules and optimisers of this precision."""
        if precision == "auto":
            raise ValueError("precision 'auto': resolve it first with `Recipe.for_device`")
        # Imported here: it takes a second, and the list of recipes does not need it.
        try:
            from lightning_fabric import Fabric
            from lightning_fabric.plugins.environments import LightningEnvironment
            from lightning_fabric.strategies import DDPStrategy
        except ImportError:  # the package lightning has it under another name
            from lightning.fabric import Fabric  # type: ignore[no-redef]
            from lightning.fabric.plugins.environments import LightningEnvironment  # type: ignore[no-redef]
            from lightning.fabric.strategies import DDPStrategy  # type: ignore[no-redef]
        accelerator = self.device.type
        if self._environment is None:
            devices = [self.device.index or 0] if accelerator == "cuda" else 1
            # LightningEnvironment: Fabric would otherwise read the variables of a batch job's shell as those of srun.
            return Fabric(
                accelerator=accelerator, devices=devices, precision=precision, plugins=[LightningEnvironment()]
            )
        # Only rank 0 draws sample images, so buffers must not be broadcast. torch 2.13 renamed the option.
        options = inspect.signature(nn.parallel.DistributedDataParallel).parameters
        sync: dict[str, Any] = {
            "forward_sync_buffers" if "forward_sync_buffers" in options else "broadcast_buffers": False
        }
        strategy = DDPStrategy(
            # Fabric expects the devices of a machine but uses only that of this process; srun may hide the others.
            parallel_devices=[self.device] * self.size,
            cluster_environment=self._environment,
            timeout=_TIMEOUT,
            **sync,
        )
        fabric = Fabric(accelerator=accelerator, strategy=strategy, precision=precision)
        fabric.launch()
        return fabric

    def check_batch(self, batch: int, parts: int = 1) -> None:
        """Raise `InputError` if a batch cannot be divided evenly among the processes, and each shard into parts."""
        if batch % (self.size * parts):
            each = self.size * parts
            shares = f"{self.size}" if parts == 1 else f"{self.size} of {parts} parts each (accumulate)"
            raise InputError(
                f"batch {batch}: a batch is divided among the processes, and {shares} do not divide it; start "
                f"another number of processes, or give a recipe with `batch: {-(-batch // each) * each}`"
            )

    def shard(self, batch: Tensor) -> Tensor:
        """Return the shard of this process (B / size, ...) of a whole batch (B, ...)."""
        if self.size == 1:
            return batch
        each = len(batch) // self.size
        return batch[self.rank * each : (self.rank + 1) * each]

    def gather(self, shard: Tensor) -> Tensor:
        """Return the whole batch from the shards of all processes, without gradients."""
        if self.size == 1:
            return shard
        shards = [torch.empty_like(shard, memory_format=torch.contiguous_format) for _ in range(self.size)]
        distributed.all_gather(shards, shard.detach().contiguous())
        return torch.cat(shards)

    def total(self, value: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes, without gradients."""
        if self.size == 1:
            return value
        value = value.detach().clone()
        distributed.all_reduce(value)
        return value

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Return the mean of each number over all processes."""
        return self.means([values])[0]

    def means(self, rows: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
        """Return `mean` of several dicts, by one exchange."""
        if self.size == 1 or not rows:
            return [dict(row) for row in rows]
        flat = [value for row in rows for value in row.values()]
        sums = self.total(torch.tensor(flat, dtype=torch.float64, device=self.device))
        means = iter((sums / self.size).tolist())
        return [{name: next(means) for name in row} for row in rows]

    def sync_stop(self, times: tuple[float, ...], *, stop: bool) -> tuple[tuple[float, ...], bool]:
        """Return the times of rank zero, and whether any process was requested to stop."""
        if self.size == 1:
            return times, stop
        own_times = times if self.is_rank_zero else (0.0,) * len(times)
        values = torch.tensor([*own_times, float(stop)], dtype=torch.float64, device=self.device)
        *times_of_zero, requests = self.total(values).tolist()
        return tuple(times_of_zero), requests > 0

    @contextmanager
    def raise_on_all_ranks(self) -> Iterator[None]:
        """Run code that may fail on one rank only. All ranks then raise; the first that failed raises its own error.

        Raises
        ------
        PeerProcessError
            If a process of a lower rank failed.
        """
        if self.size == 1:
            yield
            return
        failure: Exception | None = None
        try:
            yield
        except Exception as error:
            failure = error
        first = torch.tensor(self.size if failure is None else self.rank, device=self.device)
        distributed.all_reduce(first, distributed.ReduceOp.MIN)
        if failure is not None and int(first) == self.rank:
            raise failure
        if int(first) < self.size:
            raise PeerProcessError(f"process {int(first)} of this training failed") from failure

    def share_dropout(self, network: nn.Module) -> nn.Module:
        """Make dropout of a shard equal to that of the whole batch, in place; return the network."""
        if self.size > 1:
            for module in list(network.modules()):
                for name, child in module.named_children():
                    if isinstance(child, nn.Dropout):
                        setattr(module, name, _ShardDropout(child.p, self))
        return network

    def without_sync(self, fabric: "Fabric", modules: Iterable[nn.Module]) -> ExitStack:
        """Return a context in which the gradients of these modules are not summed over the processes."""
        stack = ExitStack()
        if self.size > 1:
            for module in modules:
                stack.enter_context(fabric.no_backward_sync(cast("_FabricModule", module)))
        return stack


if not TYPE_CHECKING:
    _RENAMED = {
        "leads": "is_rank_zero",
        "agree": "raise_on_all_ranks",
        "hear": "sync_stop",
        "whole": "gather",
        "part": "shard",
        "place": "device",
    }

    def _by_older_name(self: DistributedContext, name: str) -> Any:
        if name not in _RENAMED:
            raise AttributeError(f"'DistributedContext' has no attribute '{name}'")
        warnings.warn(f"DistributedContext.{name} is now {_RENAMED[name]}", DeprecationWarning, stacklevel=2)
        return getattr(self, _RENAMED[name])

    DistributedContext.__getattr__ = _by_older_name


class _ShardDropout(nn.Dropout):
    """Dropout of a shard, drawn for the whole batch, so that the random numbers are those of a single process."""

    def __init__(self, p: float, context: DistributedContext) -> None:
        super().__init__(p)
        self.context = context

    def forward(self, image: Tensor) -> Tensor:
        """Apply dropout to the shard of this process (B / size, ...)."""
        if not self.training:
            return image
        factors = functional.dropout(image.new_ones(self.context.size * len(image), *image.shape[1:]), self.p)
        return image * self.context.shard(factors)


def _let_threads_release() -> None:
    """Wait until the threads of gloo have released the tensors of the last exchange.

    A thread takes Python's global lock for this. When Python already ends, the thread is ended in a C++ function that
    does not allow it, and the process aborts. Destroying the process group would not wait for the threads, since
    DistributedDataParallel holds a reference to it.
    """
    if distributed.is_initialized() and distributed.get_backend() == "gloo":
        time.sleep(_RELEASE_S)


__getattr__ = renamed(
    __name__,
    {
        "Team": "DistributedContext",
        "leads": "tomostain.train.launcher:is_rank_zero",
        "is_distributed": "tomostain.train.launcher:is_distributed",
        "is_rank_zero": "tomostain.train.launcher:is_rank_zero",
    },
)
