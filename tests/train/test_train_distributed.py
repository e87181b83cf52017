"""Several processes train one model together and reach the result of one process with the same batch."""

import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import yaml

from tests.support import distributed_worker
from tests.support.distributed_worker import RECIPES, SEED, train_noting
from tests.support.training import bits, rows, same, stop_at, toy_pair, toy_recipe
from tomostain.dataset.writer import save_dataset
from tomostain.errors import InterruptedRunError
from tomostain.io import load_model
from tomostain.train import train
from tomostain.train.checkpoint import LAST, read_checkpoint

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch is built without distributed")

WORKER = Path(distributed_worker.__file__)
# Sums of float64 in another order. Adam divides by the gradient: weights whose gradient is only rounding (biases
# before a normalisation) move by it relative to its ε of 1e-8, and everything else stays together more closely.
LOSSES = {"rel": 1e-8, "abs": 1e-12}
WEIGHTS = {"rtol": 0, "atol": 1e-7}


@contextmanager
def free_port():
    """Yield a free port. Meanwhile the system gives it only to a server that asks for this number, as TCPStore does."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def environment(**more):
    """Return this process's variables without any launcher's, for one thread a process."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "TORCHELASTIC_"))}
    paths = [str(WORKER.parents[2]), *sys.path]
    return inherited | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))} | more


def write_recipe(path, **changes):
    path.write_text(yaml.safe_dump(toy_recipe(**changes).model_dump(mode="json")))
    return path


def torchrun(*command):
    """Run two processes of a command under torchrun; return it when done."""
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1"]
    with free_port() as port:
        whole = [sys.executable, *launcher, f"--master-port={port}", *map(str, command)]
        return subprocess.run(whole, env=environment(), capture_output=True, text=True, timeout=900, check=False)


def srun(*command):
    """Run two processes of a command with the variables that srun sets; return (exit code, stdout, stderr) of each."""
    with free_port() as port:
        return run_tasks(port, *command)


def run_tasks(port, *command):
    """Run two processes of a command with the variables that srun sets, and this port for their connection."""
    slurm = {
        "SLURM_JOB_ID": "4711",
        "SLURM_STEP_ID": "0",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NODELIST": "127.0.0.1",
        "SLURM_NODEID": "0",
        "MASTER_PORT": str(port),
    }
    tasks = [
        subprocess.Popen(
            [sys.executable, *map(str, command)],
            env=environment(**slurm, SLURM_PROCID=number, SLURM_LOCALID=number),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in ("0", "1")
    ]
    outputs = [task.communicate(timeout=900) for task in tasks]
    return [(task.returncode, *words) for task, words in zip(tasks, outputs, strict=True)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a data set whose patches have unequal parts of the mask."""
    folder = tmp_path_factory.mktemp("together")
    pairs = [toy_pair(f"p{seed}", seed) for seed in range(4)]
    for number, pair in enumerate(pairs):
        pair.mask[: 3 + 4 * number, 5:20] = False
    save_dataset(folder / "set", pairs, test=["p3"], folds=[["p2"], ["p1"]])
    return folder


@pytest.fixture(scope="module")
def alone(folder):
    """Return the losses of every step of one process, by recipe; its runs are in `folder`/alone-<recipe>."""
    return {name: train_noting(folder, name, into=f"alone-{name}") for name in RECIPES}


@pytest.fixture(scope="module")
def launched(folder):
    """Return the ended launcher of two processes that do the jobs of distributed_worker.py."""
    with pytest.raises(InterruptedRunError):
        train_noting(folder, "paired-cyclegan", into="started-alone", **stop_at(4))
    write_recipe(folder / "odd.yaml", terms={"l1": 1}, batch=3)
    return torchrun(WORKER, folder)


@pytest.fixture(scope="module")
def together(folder, launched):
    """Return what two processes have seen of the jobs of distributed_worker.py."""
    return [json.loads((folder / f"record-{rank}.json").read_text()) for rank in range(2)]


def test_processes_end_well_while_a_thread_releases_tensors(launched):
    # At the end of Python, a thread of gloo that needs the global lock would abort the process (SIGABRT).
    assert launched.returncode == 0, launched.stderr


def check_losses(actual, expected):
    assert len(actual) == len(expected)
    for step, (a, b) in enumerate(zip(actual, expected, strict=True)):
        assert a == pytest.approx(b, **LOSSES), f"step {step + 1}"


def check_state(run, expected):
    """Compare the state: networks, optimisers and buffers. Random draws must be the same bits."""
    actual, right = bits(run), bits(expected)
    for key in ("step", "draws", "torch"):
        assert same(actual[key], right[key]), key
    for key in ("networks", "buffers", "sums", "best", "places"):
        torch.testing.assert_close(actual[key], right[key], **WEIGHTS, msg=lambda text, key=key: f"{key}: {text}")
    assert actual["optimisers"].keys() == right["optimisers"].keys()


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_train_as_one(folder, alone, together, name):
    for record in together:
        check_losses(record["losses"][name], alone[name])
    check_state(folder / name, folder / f"alone-{name}")
    written, right = rows(folder / name), rows(folder / f"alone-{name}")
    assert [row["step"] for row in written] == [row["step"] for row in right]
    for row, other in zip(written, right, strict=True):
        assert {k: float(v or 0) for k, v in row.items()} == pytest.approx(
            {k: float(v or 0) for k, v in other.items()}, rel=1e-5
        )


def test_the_recipes_cover_moved_histology_buffers_and_dropout(folder, alone):
    # A moved histology, a full buffer that gives old pictures, dropout: or nothing was compared.
    assert any(bool(place.any()) for place in bits(folder / "alone-tomostain")["places"])
    assert len(bits(folder / "alone-paired-cyclegan")["buffers"]["d_y"]["images"]) == 3
    torch_draws = [bits(folder / f"alone-{name}")["torch"] for name in ("pix2pix", "paired-cyclegan")]
    assert not same(*torch_draws)


def test_one_process_writes_one_set_of_files(folder, together):
    for name in RECIPES:
        names = {path.name for path in (folder / name).iterdir() if not path.name.startswith("events.")}
        assert names == {p.name for p in (folder / f"alone-{name}").iterdir() if not p.name.startswith("events.")}
        assert len(list((folder / name).glob("events.*"))) == 1
        assert [row["step"] for row in rows(folder / name)] == ["3", "6", "9", "10"]


def test_two_processes_resume_the_run_of_one(folder, alone, together):
    for record in together:
        check_losses(record["goes-on"], alone["paired-cyclegan"][4:])
    check_state(folder / "started-alone", folder / "alone-paired-cyclegan")


def test_a_signal_to_one_process_stops_all_at_one_step_and_one_process_resumes(folder, alone, together):
    assert [record["errors"]["stopped"] for record in together] == ["InterruptedRunError", "PeerProcessError"]
    run = folder / "started-together"
    assert read_checkpoint(run / LAST)["step"] == 4
    assert not (run / "model").exists()
    losses = train_noting(folder, "paired-cyclegan", into=run.name, resume=True)
    check_losses(losses, alone["paired-cyclegan"][4:])
    check_state(run, folder / "alone-paired-cyclegan")


@pytest.mark.parametrize("job", ["full", "full-rarely"])
def test_a_disk_that_is_full_ends_all_processes(together, job):
    assert [record["errors"][job] for record in together] == ["InputError", "PeerProcessError"]


def test_processes_that_exchange_every_fourth_step_take_the_same_steps(folder, alone, together):
    for record in together:
        # Every fourth step, at the end of each epoch of three steps, and after the last step.
        assert record["exchanges"] == [3, 4, 6, 8, 9, 10]
        check_losses(record["rarely"], alone["registered"])
    check_state(folder / "rarely", folder / "alone-registered")


def test_a_signal_between_two_exchanges_stops_all_at_the_next(folder, alone, together):
    assert [record["errors"]["stopped-rarely"] for record in together] == ["InterruptedRunError", "PeerProcessError"]
    run = folder / "stopped-rarely"
    assert read_checkpoint(run / LAST)["step"] == 4
    check_losses(train_noting(folder, "registered", into=run.name, resume=True), alone["registered"][4:])
    check_state(run, folder / "alone-registered")


def test_the_first_process_has_the_time(folder, together):
    assert read_checkpoint(folder / "timed" / LAST)["step"] == 3


def test_in_single_precision_the_first_steps_agree_within_its_rounding(folder, together, tmp_path):
    train(folder / "set", tmp_path / "one", recipe=RECIPES["paired-cyclegan"], seed=SEED, max_steps=3)
    (actual,), (right,) = rows(folder / "single"), rows(tmp_path / "one")
    assert {k: float(v) for k, v in actual.items()} == pytest.approx({k: float(v) for k, v in right.items()}, rel=1e-3)
    assert next(iter(bits(folder / "single")["networks"]["g_xy"].values())).dtype == torch.float32


def test_srun_starts_the_command_line_and_only_the_first_task_prints(folder, tmp_path):
    recipe = write_recipe(tmp_path / "mine.yaml", terms={"l1": 1})
    command = ["-m", "tomostain", "train", folder / "set", tmp_path / "run", "--recipe", recipe, "--max-steps", "3"]
    (code, out, err), (other_code, other_out, other_err) = srun(*command, "--device", "cpu")
    assert (code, other_code) == (0, 0), err + other_err
    assert out.startswith(f"device: cpu, precision 32-true\nrun:   {tmp_path / 'run'}")
    assert "training: 3/3" in err
    assert other_out == ""
    assert "training" not in other_err
    assert read_checkpoint(tmp_path / "run" / LAST)["step"] == 3
    assert load_model(tmp_path / "run" / "model").spec.steps == 3


def test_a_batch_that_cannot_be_divided_is_refused_once(folder, together):
    (code, message), (other_code, other_told) = (message["refused"] for message in together)
    assert (code, other_code) == (2, 1)
    assert message.startswith("tomostain: batch 3: a batch is divided among the processes, and 2 do not divide it")
    assert "recipe with `batch: 4`" in message
    assert other_told == ""
    assert not (folder / "refused").exists()
