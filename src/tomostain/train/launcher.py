"""The launcher of a distributed training: torchrun or srun, found by the environment variables of this process."""

import os
from typing import TYPE_CHECKING, Literal

import torch

from tomostain.errors import InputError

if TYPE_CHECKING:
    from lightning_fabric.plugins.environments import ClusterEnvironment


def is_distributed() -> bool:
    """Return whether torchrun or srun started this process."""
    return launcher_name() is not None


def is_rank_zero() -> bool:
    """Return whether this process has rank 0 by its environment. It alone writes files and reports progress."""
    return launcher_name() is None or _number("RANK" if launcher_name() == "torchrun" else "SLURM_PROCID") == 0


def launcher_name() -> Literal["torchrun", "srun"] | None:
    """Return the launcher that started this process as one of several, by its environment variables.

    The shell of a batch job has SLURM's variables too, but only srun sets those of a step. A step with a
    pseudo-terminal is an interactive shell, where a command means a single process.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return "torchrun" if _number("WORLD_SIZE", 1) > 1 else None
    several = _number("SLURM_STEP_NUM_TASKS", 1) > 1 and "SLURM_PTY_PORT" not in os.environ
    return "srun" if several else None


def cluster_environment() -> "ClusterEnvironment | None":
    """Return Fabric's environment for the launcher of this process, or None for a single process."""
    launcher = launcher_name()
    if launcher is None:
        return None
    try:
        from lightning_fabric.plugins import environments
    except ImportError:
        from lightning.fabric.plugins import environments  # type: ignore[no-redef]
    if launcher == "torchrun":
        return environments.TorchElasticEnvironment()

    class Srun(environments.SLURMEnvironment):
        """Without the checks that reject srun without --ntasks-per-node, or after salloc."""

        def __init__(self) -> None:
            environments.ClusterEnvironment.__init__(self)

        def validate_settings(self, num_devices: int, num_nodes: int) -> None:
            pass

    # Fabric's own port would be the same for all steps of a job, which may run at the same time.
    port = 15000 + (_number("SLURM_JOB_ID") + 101 * _number("SLURM_STEP_ID")) % 10000
    os.environ.setdefault("MASTER_PORT", str(port))
    nodes = os.environ.get("SLURM_STEP_NODELIST", "127.0.0.1")
    os.environ.setdefault("MASTER_ADDR", Srun.resolve_root_node_address(nodes))
    return Srun()


def device_of_rank(chosen: torch.device, device: str, local_rank: int) -> torch.device:
    """Return the device of a process of a distributed training.

    Parameters
    ----------
    chosen : torch.device
        The device of `device`.
    device : str
        As the user has given it, for messages.
    local_rank : int
        Rank among the processes of this machine.

    Raises
    ------
    InputError
        If processes would share a GPU.
    """
    if chosen.type != "cuda":
        return chosen
    if chosen.index is not None:
        raise InputError(
            f"`device` {device}: several processes cannot share a GPU; give cuda, and each takes its own",
            parameter="device",
        )
    visible = torch.cuda.device_count()
    if visible == 1 and launcher_name() == "srun":
        return torch.device("cuda", 0)  # with --gpus-per-task each task sees only its own
    if local_rank >= visible:
        raise InputError(
            f"`device` {device}: torch finds {visible} GPU(s) for more processes; start one process per GPU, or set "
            "`device` to cpu",
            parameter="device",
        )
    return torch.device("cuda", local_rank)


def _number(name: str, default: int = 0) -> int:
    return int(os.environ.get(name, default))
