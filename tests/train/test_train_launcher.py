"""The launcher that the variables of a process state, and the ranks, devices and ports that follow from it."""

import os

import pytest
import torch

from tomostain.errors import InputError
from tomostain.train.distributed import DistributedContext
from tomostain.train.launcher import cluster_environment, device_of_rank, is_distributed, is_rank_zero

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch is built without distributed")


@pytest.fixture
def variables(monkeypatch):
    """Return a function that sets the variables of a launcher, and no others."""

    def put(**values):
        for name in os.environ:
            if name.startswith(("SLURM_", "TORCHELASTIC_", "MASTER_")) or name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
                monkeypatch.delenv(name)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.mark.parametrize(
    ("values", "leading"),
    [
        ({}, True),
        # The shell of a batch job: it has tasks, but srun has not started it.
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "train"}, True),
        # srun --pty bash: commands in that shell are for one process.
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_PTY_PORT": "4000"}, True),
        # One process of torchrun's is one process.
        ({"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "1", "RANK": "0"}, True),
    ],
)
def test_an_incomplete_environment_is_one_process(variables, values, leading):
    variables(**values)
    context = DistributedContext("cpu")
    assert (context.size, context.rank, context.is_rank_zero, is_rank_zero()) == (1, 0, True, leading)
    context.check_batch(3)


@pytest.mark.parametrize(
    "values",
    [
        {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"},
        {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "RANK": "1"},
        # torchrun under srun, one for each machine: torchrun's numbers count.
        {
            "TORCHELASTIC_RUN_ID": "none",
            "WORLD_SIZE": "4",
            "RANK": "2",
            "SLURM_PROCID": "0",
            "SLURM_STEP_NUM_TASKS": "2",
        },
    ],
)
def test_others_than_the_first_do_not_lead(variables, values):
    variables(**values)
    assert not is_rank_zero()
    assert is_distributed()


def test_several_processes_are_not_put_on_one_gpu(variables, monkeypatch):
    variables(TORCHELASTIC_RUN_ID="none", WORLD_SIZE="4", RANK="1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_of_rank(torch.device("cuda"), "auto", 1) == torch.device("cuda:1")
    with pytest.raises(InputError, match="`device` cuda: torch finds 2 GPU"):
        device_of_rank(torch.device("cuda"), "cuda", 2)
    with pytest.raises(InputError, match="`device` cuda:1: several processes cannot share a GPU"):
        device_of_rank(torch.device("cuda:1"), "cuda:1", 1)
    # srun --gpus-per-task=1 shows each task its own GPU, by the number 0.
    variables(SLURM_STEP_NUM_TASKS="4", SLURM_PROCID="3")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert device_of_rank(torch.device("cuda"), "auto", 3) == torch.device("cuda:0")


def test_the_environment_of_torchrun_gives_the_ranks(variables):
    variables(TORCHELASTIC_RUN_ID="none", WORLD_SIZE="4", RANK="3", LOCAL_RANK="1")
    environment = cluster_environment()
    assert (environment.world_size(), environment.global_rank(), environment.local_rank()) == (4, 3, 1)


def test_steps_of_one_job_under_srun_use_different_ports(variables):
    ports = []
    for step in "01":
        variables(
            SLURM_STEP_NUM_TASKS="2",
            SLURM_NTASKS="2",
            SLURM_PROCID="1",
            SLURM_LOCALID="0",
            SLURM_JOB_ID="4711",
            SLURM_STEP_ID=step,
            SLURM_STEP_NODELIST="node[7-8]",
        )
        environment = cluster_environment()
        environment.validate_settings(num_devices=1, num_nodes=2)  # Fabric's own check refuses this
        assert (environment.world_size(), environment.global_rank(), environment.local_rank()) == (2, 1, 0)
        assert environment.main_address == "node7"
        ports.append(environment.main_port)
    assert len(set(ports)) == 2
    assert all(15000 <= port < 25000 for port in ports)
