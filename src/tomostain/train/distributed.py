"""The processes that train one model together: which part of a batch each takes, and how they stay of one mind.

torchrun or srun starts them; alone, a process is a team of one, and nothing here costs it anything. All draw the same
batch from the same random numbers and each takes its part, so that a team goes the way of one process: everything that
looks at more than one patch (gradients, losses, image buffers, dropout) is put together again over the whole batch.
"""

import inspect
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any, Literal

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from tomostain.devices import choose_device
from tomostain.errors import InputError, PeerProcessError

# Whole sections are stained between two steps of a run that realigns: nobody waits so long for a process that hangs.
_PATIENCE = timedelta(minutes=30)


def leads() -> bool:
    """Whether this process is the first of its team, which alone writes and tells; by the environment, at any time."""
    return _started_by() is None or _number("RANK" if _started_by() == "torchrun" else "SLURM_PROCID") == 0


class Team:
    """The processes that train one model together.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; in a team each process takes the GPU of its number on its machine.

    Attributes
    ----------
    size : int
        Processes.
    rank : int
        Which of them this is, from 0; the first one leads.

    Raises
    ------
    InputError
        If the device cannot be had.

    Notes
    -----
    All methods but `fabric` are no-ops for a team of one. They are collective: every process must call them alike.
    """

    def __init__(self, device: str) -> None:
        self._environment = _cluster_environment()
        self.size, self.rank = 1, 0
        self.place = choose_device(device)
        if self._environment is not None:
            self.size, self.rank = self._environment.world_size(), self._environment.global_rank()
            self.place = _own_place(self.place, device, self._environment.local_rank())
            self.fabric("32-true")  # the processes meet

    @property
    def leads(self) -> bool:
        """Whether this is the first process, which alone writes and tells."""
        return self.rank == 0

    def fabric(self, precision: Literal["32-true", "bf16-mixed"]) -> Any:
        """Return Lightning Fabric on this process's device, for modules and optimisers of this precision."""
        try:
            from lightning_fabric import Fabric
            from lightning_fabric.plugins.environments import LightningEnvironment
            from lightning_fabric.strategies import DDPStrategy
        except ImportError:  # the whole of Lightning carries it under another name
            from lightning.fabric import Fabric  # type: ignore[no-redef]
            from lightning.fabric.plugins.environments import LightningEnvironment  # type: ignore[no-redef]
            from lightning.fabric.strategies import DDPStrategy  # type: ignore[no-redef]
        kind = self.place.type
        if self._environment is None:
            number = [self.place.index or 0] if kind == "cuda" else 1
            # Or Fabric would take the variables of a batch job's shell for those of srun.
            return Fabric(accelerator=kind, devices=number, precision=precision, plugins=[LightningEnvironment()])
        # The first process draws pictures while the others do not: no buffers may be sent round. torch 2.13 renamed it.
        known = inspect.signature(nn.parallel.DistributedDataParallel).parameters
        sync: dict[str, Any] = {
            "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False
        }
        strategy = DDPStrategy(
            # Fabric wants the devices of a machine and looks at this process's alone: srun may show it no others.
            parallel_devices=[self.place] * self.size,
            cluster_environment=self._environment,
            timeout=_PATIENCE,
            **sync,
        )
        fabric = Fabric(accelerator=kind, strategy=strategy, precision=precision)
        fabric.launch()
        return fabric

    def check_batch(self, batch: int, parts: int = 1) -> None:
        """Raise `InputError` if a batch cannot be divided evenly, and each process's share in so many parts."""
        if batch % (self.size * parts):
            each = self.size * parts
            shares = f"{self.size}" if parts == 1 else f"{self.size} of {parts} parts each (accumulate)"
            raise InputError(
                f"batch {batch}: a batch is divided among the processes, and {shares} do not divide it; start "
                f"another number of them, or give a recipe with `batch: {-(-batch // each) * each}`"
            )

    def part(self, batch: Tensor) -> Tensor:
        """Return this process's part of a whole batch (B, ...)."""
        if self.size == 1:
            return batch
        each = len(batch) // self.size
        return batch[self.rank * each : (self.rank + 1) * each]

    def whole(self, part: Tensor) -> Tensor:
        """Return the whole batch of everybody's parts; without gradients."""
        if self.size == 1:
            return part
        parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(self.size)]
        distributed.all_gather(parts, part.detach().contiguous())
        return torch.cat(parts)

    def total(self, value: Tensor) -> Tensor:
        """Return the sum of everybody's tensors, without gradients."""
        if self.size == 1:
            return value
        value = value.detach().clone()
        distributed.all_reduce(value)
        return value

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Return the means of everybody's numbers."""
        if self.size == 1:
            return values
        sums = self.total(torch.tensor(list(values.values()), dtype=torch.float64, device=self.place))
        return dict(zip(values, (sums / self.size).tolist(), strict=True))

    def hear(self, seconds: float, stop: bool) -> tuple[float, bool]:
        """Return the first process's time, and whether anybody was asked to stop."""
        if self.size == 1:
            return seconds, stop
        told = torch.tensor([seconds if self.leads else 0.0, float(stop)], dtype=torch.float64, device=self.place)
        seconds, asked = self.total(told).tolist()
        return seconds, asked > 0

    @contextmanager
    def agree(self) -> Iterator[None]:
        """Do what may fail for one process alone: then all fail, and the first that did tells why.

        Raises
        ------
        PeerProcessError
            If it is another one that tells.
        """
        if self.size == 1:
            yield
            return
        failure: Exception | None = None
        try:
            yield
        except Exception as error:
            failure = error
        first = torch.tensor(self.size if failure is None else self.rank, device=self.place)
        distributed.all_reduce(first, distributed.ReduceOp.MIN)
        if failure is not None and int(first) == self.rank:
            raise failure
        if int(first) < self.size:
            raise PeerProcessError(f"process {int(first)} of this training failed") from failure

    def share_dropout(self, network: nn.Module) -> nn.Module:
        """Make a network drop out for a part what it would of the whole batch; return it."""
        if self.size > 1:
            for module in list(network.modules()):
                for name, child in module.named_children():
                    if isinstance(child, nn.Dropout):
                        setattr(module, name, _PartDropout(child.p, self))
        return network

    def frozen(self, fabric: Any, modules: Any) -> ExitStack:
        """Return a context in which modules run that are not to learn, or not yet: no gradients are put together."""
        stack = ExitStack()
        if self.size > 1:
            for module in modules:
                stack.enter_context(fabric.no_backward_sync(module))
        return stack


class _PartDropout(nn.Dropout):
    """Dropout of a part of a batch: drawn for the whole, as one process would, so that random numbers stay in step."""

    def __init__(self, p: float, team: Team) -> None:
        super().__init__(p)
        self.team = team

    def forward(self, image: Tensor) -> Tensor:
        """Drop out of this process's part (B / size, ...)."""
        if not self.training:
            return image
        kept = functional.dropout(image.new_ones(self.team.size * len(image), *image.shape[1:]), self.p)
        return image * self.team.part(kept)


def _started_by() -> Literal["torchrun", "srun"] | None:
    """Return what started this process as one of several, by the variables it has set.

    A batch job's own shell has SLURM's variables too; those of a step are set by srun alone, and a pseudo-terminal is
    of a person, who types a command for one process.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return "torchrun" if _number("WORLD_SIZE", 1) > 1 else None
    several = _number("SLURM_STEP_NUM_TASKS", 1) > 1 and "SLURM_PTY_PORT" not in os.environ
    return "srun" if several else None


def _number(name: str, default: int = 0) -> int:
    return int(os.environ.get(name, default))


def _cluster_environment() -> Any:
    """Return Fabric's view of what started this process as one of several, or None."""
    try:
        from lightning_fabric.plugins import environments
    except ImportError:
        from lightning.fabric.plugins import environments  # type: ignore[no-redef]
    starter = _started_by()
    if starter == "torchrun":
        return environments.TorchElasticEnvironment()
    if starter is None:
        return None

    class Srun(environments.SLURMEnvironment):
        """Without the checks that take srun without --ntasks-per-node, or after salloc, for mistakes."""

        def __init__(self) -> None:
            environments.ClusterEnvironment.__init__(self)

        def validate_settings(self, num_devices: int, num_nodes: int) -> None:
            pass

    # Fabric's own would be the same for all steps of a job, which may run at the same time.
    port = 15000 + (_number("SLURM_JOB_ID") + 101 * _number("SLURM_STEP_ID")) % 10000
    os.environ.setdefault("MASTER_PORT", str(port))
    nodes = os.environ.get("SLURM_STEP_NODELIST", "127.0.0.1")
    os.environ.setdefault("MASTER_ADDR", Srun.resolve_root_node_address(nodes))
    return Srun()


def _own_place(place: torch.device, device: str, local_rank: int) -> torch.device:
    """Return this process's own device."""
    if place.type != "cuda":
        return place
    if place.index is not None:
        raise InputError(f"--device {device}: several processes cannot share a GPU; give cuda, and each takes its own")
    visible = torch.cuda.device_count()
    if visible == 1 and _started_by() == "srun":
        return torch.device("cuda", 0)  # --gpus-per-task shows each task its own
    if local_rank >= visible:
        raise InputError(
            f"--device {device}: torch finds {visible} GPU(s) for more processes; start one a GPU, or give --device cpu"
        )
    return torch.device("cuda", local_rank)
