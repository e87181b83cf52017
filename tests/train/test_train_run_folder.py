"""The folder of a run: locked by one process, started again if nothing was saved, resumed with its own recipe."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from tests.support.training import bits, same, stop_at, toy_pair, toy_recipe
from tomostain.dataset.writer import save_dataset
from tomostain.errors import InputError, InterruptedRunError
from tomostain.io.locks import lock
from tomostain.train import checkpoint, train
from tomostain.train.checkpoint import LAST, read_checkpoint
from tomostain.train.run_folder import DESCRIPTION, LOCK, locked_run, recorded_options

SMALL = {"terms": {"l1": 1}, "generator": {"name": "resnet", "width": 1, "blocks": 1}}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    pairs = [toy_pair(f"p{seed}", seed) for seed in range(3)]
    return save_dataset(tmp_path_factory.mktemp("toy") / "dataset", pairs, folds=[["p2"]]).path


@pytest.fixture(scope="module")
def expected(dataset, tmp_path_factory):
    return train(dataset, tmp_path_factory.mktemp("whole") / "run", recipe=toy_recipe(**SMALL), max_steps=3)


def test_two_processes_do_not_train_in_one_folder(dataset, tmp_path):
    run = train(dataset, tmp_path / "run", recipe=toy_recipe(**SMALL), max_steps=1)
    before = {path.name: path.stat().st_mtime_ns for path in run.iterdir()}
    with lock(run / LOCK):
        for options in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(InputError, match=r"run: another process trains in this folder; wait until it ends"):
                train(dataset, run, recipe=toy_recipe(**SMALL), max_steps=2, **options)
        assert {name: (run / name).stat().st_mtime_ns for name in before} == before
    train(dataset, run, recipe=toy_recipe(**SMALL), max_steps=2, resume=True)
    assert not (run / LOCK).exists()


HOLD = """
import sys, time
from pathlib import Path
from tomostain.train.run_folder import locked_run
with locked_run(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(3600)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills as Unix does")
def test_the_lock_of_a_killed_process_does_not_block(dataset, tmp_path):
    run = tmp_path / "run"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(InputError, match="another process trains in this folder"):
            train(dataset, run, recipe=toy_recipe(**SMALL), max_steps=1)
    finally:
        holder.kill()
        holder.wait()
    assert (run / LOCK).exists()
    train(dataset, run, recipe=toy_recipe(**SMALL), max_steps=1)
    assert not (run / LOCK).exists()


def test_a_folder_that_got_nothing_is_removed(tmp_path):
    with locked_run(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()
    assert not (tmp_path / "run").exists()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: is a file; give another name"), locked_run(tmp_path / "file"):
        pass


# What a kill leaves before the first checkpoint, which is written after a minute.
UNFINISHED = {
    "nothing": (),
    "an empty folder": ("",),
    "a lock": (".lock",),
    "half a description": (".0123abcd-run.yaml",),
    "half a description and its lock": (".tomostain-0123abcd-run.yaml", ".tomostain-0123abcd-run.yaml.lock"),
    "a description": ("run.yaml",),
    "metrics": ("run.yaml", "recipe.yaml", "metrics.csv", "events.out.tfevents.1.host", "samples"),
    "half a checkpoint": ("run.yaml", "recipe.yaml", "metrics.csv", ".0123abcd-last", ".lock"),
    "a recipe": ("recipe.yaml",),
    "best weights": ("run.yaml", "recipe.yaml", "metrics.csv", "best-l1"),
}


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("left", UNFINISHED)
def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(dataset, expected, tmp_path, left, resume):
    run = tmp_path / "run"
    for name in UNFINISHED[left]:
        run.mkdir(exist_ok=True)
        if name == "samples":
            (run / name).mkdir()
            (run / name / "step-000099.png").touch()
        elif name in ("run.yaml", "recipe.yaml"):
            (run / name).write_bytes((expected / name).read_bytes())
        elif name == "metrics.csv":
            (run / name).write_text("step,epoch,seconds,l1,total\n99,9,1,1,1\n")
        elif name:
            (run / name).write_text("half")
    train(dataset, run, recipe=toy_recipe(**SMALL), max_steps=3, resume=resume)
    assert same(bits(run), bits(expected))
    names = {path.name for path in run.iterdir() if not path.name.startswith("events.")}
    assert names == {path.name for path in expected.iterdir() if not path.name.startswith("events.")}
    assert (run / "metrics.csv").read_text().count("\n") == (expected / "metrics.csv").read_text().count("\n")
    assert not (run / "samples" / "step-000099.png").exists()


def test_a_run_that_began_with_incomplete_data_begins_again(dataset, expected, tmp_path):
    """Files were missing for a while when it began: before the first checkpoint nothing was learned from them."""
    run = tmp_path / "run"
    run.mkdir()
    record = yaml.safe_load((expected / "run.yaml").read_text())
    (run / "run.yaml").write_text(yaml.safe_dump(record | {"data": "0" * 64}))
    (run / "best-l1").write_text("half")
    with pytest.raises(InputError, match="began with other data"):
        train(dataset, run, recipe=toy_recipe(**SMALL), max_steps=3, resume=True)
    (run / "best-l1").unlink()
    train(dataset, run, recipe=toy_recipe(**SMALL), max_steps=3, resume=True)
    assert same(bits(run), bits(expected))
    assert yaml.safe_load((run / "run.yaml").read_text())["data"] == record["data"]


def test_files_of_the_user_and_finished_models_are_preserved(dataset, expected, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "recipe.yaml").write_text("base: tomostain-cpu\nname: mine\n")
    with pytest.raises(InputError, match=r"recipe.yaml: is not the recipe of this training, and would be replaced"):
        train(dataset, mine, recipe=toy_recipe(**SMALL), max_steps=1)
    assert (mine / "recipe.yaml").read_text() == "base: tomostain-cpu\nname: mine\n"
    (mine / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not a run"):
        train(dataset, mine, recipe=toy_recipe(**SMALL), max_steps=1, resume=True)
    run = train(dataset, tmp_path / "run", recipe=toy_recipe(**SMALL), max_steps=1)
    (run / LAST).unlink()
    with pytest.raises(InputError, match="has a model but no 'last' to resume from"):
        train(dataset, run, recipe=toy_recipe(**SMALL), max_steps=2, resume=True)
    with pytest.raises(InputError, match="the run exists already"):
        train(dataset, run, recipe=toy_recipe(**SMALL), max_steps=2)
    assert (run / "model").is_dir()


@pytest.mark.parametrize("resume", [True, False])
def test_best_weights_of_another_run_are_preserved(dataset, expected, tmp_path, resume):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.yaml").write_bytes((expected / "run.yaml").read_bytes())
    (run / "best-l1").write_text("mine")
    with pytest.raises(InputError, match=r"the run began with another seed \(0 in the run, now 7\)"):
        train(dataset, run, recipe=toy_recipe(**SMALL), seed=7, max_steps=1, resume=resume)
    assert (run / "best-l1").read_text() == "mine"


def test_the_message_names_both_sides_of_a_difference(dataset, tmp_path):
    recipe = toy_recipe(**SMALL)
    run = train(dataset, tmp_path / "run", recipe=recipe, max_steps=1)
    for changes, words in [
        ({"recipe": recipe.model_copy(update={"batch": 3})}, r"recipe \('toy': batch is 2 in the run, now 3\)"),
        ({"recipe": toy_recipe(name="mine")}, r"recipe \('toy' in the run, now 'mine': terms is .* in the run, now "),
        ({"seed": 4}, r"seed \(0 in the run, now 4\)"),
        ({"fold": None}, r"fold \(0 in the run, now None\)"),
    ]:
        with pytest.raises(InputError, match=f"the run began with another {words}"):
            train(dataset, run, **({"recipe": recipe} | changes), max_steps=2, resume=True)
    assert recorded_options(run) == {"fold": 0, "seed": 0}
    assert recorded_options(tmp_path / "none") == {}


@pytest.mark.parametrize("value", [False, True])
def test_a_run_with_a_step_graph_resumes_on_a_machine_without_one(dataset, tmp_path, value):
    recipe = toy_recipe(terms={"l1": 1})
    run = train(dataset, tmp_path / "run", recipe=recipe, max_steps=1)
    description = (run / DESCRIPTION).read_text(encoding="utf-8")
    assert "compile: false" in description
    (run / DESCRIPTION).write_text(description.replace("compile: false", "compile: step-graph"), encoding="utf-8")
    train(dataset, run, recipe=recipe if value else None, max_steps=2, resume=True)
    assert read_checkpoint(run / LAST)["step"] == 2


def test_a_full_disk_gives_a_one_line_error_and_keeps_the_last_checkpoint(dataset, tmp_path, monkeypatch):
    recipe, run = toy_recipe(**SMALL), tmp_path / "run"
    train(dataset, run, recipe=recipe, max_steps=1)
    before = (run / LAST).read_bytes()

    class Full(checkpoint._File):
        def write(self, data):
            self.error = OSError(errno.ENOSPC, "No space left on device")
            raise self.error

    monkeypatch.setattr(checkpoint, "_File", Full)
    with pytest.raises(
        InputError, match="run: the disk or your quota is full; the last complete checkpoint is preserved"
    ):
        train(dataset, run, recipe=recipe, max_steps=2, resume=True)
    assert (run / LAST).read_bytes() == before
    assert not [path.name for path in run.iterdir() if path.name.startswith(".")]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_that_torch_hides_is_reported():
    # 64 MB: more than any buffer, so that the error is raised within torch.save.
    with Path("/dev/full").open("wb", buffering=0) as device:
        file = checkpoint._File(device)
        with pytest.raises((RuntimeError, OSError)):
            torch.save({"a": torch.zeros(2**24)}, file)
        assert file.error.errno == errno.ENOSPC


@pytest.mark.parametrize(
    "error", [MemoryError("no"), RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …")]
)
def test_too_little_memory_gives_a_one_line_error(dataset, tmp_path, monkeypatch, error):
    def fail(self):
        raise error

    monkeypatch.setattr("tomostain.train.trainer.Trainer._take_step", fail)
    with pytest.raises(InputError, match=r"run: not enough memory for this training \(.*\); lower batch or patch_px"):
        train(dataset, tmp_path / "run", recipe=toy_recipe(**SMALL), max_steps=2)


def test_a_resumed_run_that_was_initialised_takes_its_initial_model(dataset, expected, tmp_path):
    run = tmp_path / "tuned"
    options = {"recipe": toy_recipe(**SMALL), "max_steps": 2}
    whole = train(dataset, tmp_path / "whole", init=expected / "model", **options)
    with pytest.raises(InterruptedRunError):
        train(dataset, run, init=expected / "model", **options, **stop_at(1))
    (run / LAST).unlink()
    with pytest.raises(InputError, match="begins with the weights of 'run'; give it again with `init`"):
        train(dataset, run, resume=True, **options)
    train(dataset, run, init=expected / "model", resume=True, **options)
    assert same(bits(run), bits(whole))


def test_a_time_limit_and_not_the_epochs_ends_a_run(dataset, tmp_path):
    recipe, ticks, reports = toy_recipe(**SMALL, epochs=1), iter(range(10**6)), []
    options = {"clock": lambda: float(next(ticks)), "progress": lambda *report: reports.append(report)}
    run = train(dataset, tmp_path / "run", recipe=recipe, max_seconds=7, **options)
    assert read_checkpoint(run / LAST)["step"] == 7 > recipe.steps_per_epoch(2)
    # A step takes a second of this clock, so that each report expects seven steps.
    assert [report[1:] for report in reports] == [*((step, 7) for step in range(1, 8)), (7, 7)]
    steps = train(dataset, tmp_path / "steps", recipe=recipe, max_steps=5)
    assert read_checkpoint(steps / LAST)["step"] == 5
    epochs = train(dataset, tmp_path / "epochs", recipe=recipe)
    assert read_checkpoint(epochs / LAST)["step"] == recipe.steps_per_epoch(2) == 3


def test_processor_time_ends_a_run_and_is_counted_over_resumed_parts(dataset, tmp_path, monkeypatch):
    ticks = iter(range(10**6))
    monkeypatch.setattr(time, "process_time", lambda: float(next(ticks)))
    recipe, run = toy_recipe(**SMALL), tmp_path / "run"
    train(dataset, run, recipe=recipe, max_cpu_seconds=3)
    values = read_checkpoint(run / LAST)
    assert (values["step"], values["cpu_seconds"]) == (3, 3.0)
    train(dataset, run, recipe=recipe, max_cpu_seconds=5, resume=True)
    assert read_checkpoint(run / LAST)["step"] == 5


def test_a_description_that_is_broken_is_named(tmp_path):
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"fold": "x", "seed": None}))
    with pytest.raises(InputError, match=r"run.yaml: fold 'x' and seed None are not numbers"):
        recorded_options(tmp_path)
