"""A small part of `studies.trust.kills`: copying a model is killed, and the same command continues."""

import argparse
import subprocess
import sys

import pytest

from studies.trust import forked
from studies.trust.kills import STAGES, Harness, Stage, Trial, add_trial, read_trials, report, try_stage, turns
from tests.support.toys import toy_model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks and pidfd")


@pytest.fixture
def world(tmp_path):
    toy_model(tmp_path / "world/run/model")
    return tmp_path / "world"


def test_a_model_is_copied_whole_or_not_at_all_wherever_the_copy_is_stopped(world, tmp_path):
    times = {"kill": 4, "term": 2, "interrupt": 2}
    harness = Harness(STAGES["models"], world, tmp_path / "place")
    trials = [trial for how, count in times.items() for trial in try_stage(harness, how, range(count))]
    assert len(trials) == sum(times.values())
    assert [trial for trial in trials if trial.faults] == []


def test_the_harness_notices_another_result_half_written_files_and_leftovers(world, tmp_path):
    harness = Harness(STAGES["models"], world, tmp_path / "place")
    harness.undisturbed()
    harness.fresh()
    (harness.folder / "my-model").mkdir()
    (harness.folder / "my-model/model.yaml").write_text("generator:")
    (harness.folder / ".1234-my-model").mkdir()
    assert harness.half_written() == ["my-model/model.yaml"]
    assert harness.leftovers() == [".1234-my-model"]
    trial = Trial("models", "kill", 0, 0.0, 0)
    harness.finish(trial)
    assert len(trial.faults) == 1
    assert trial.faults[0].startswith("does not go on (2)")


def test_the_harness_notices_a_process_that_survives(tmp_path, monkeypatch):
    monkeypatch.setattr(forked, "GRACE_S", 0.5)

    def command():
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        return 0

    (tmp_path / "work").mkdir()
    outcome = forked.run_function(command, tmp_path / "work")
    assert outcome.code == 0
    assert [line.endswith("time.sleep(600)") for line in outcome.survivors] == [True]
    assert forked.run_function(lambda: 0, tmp_path / "work").survivors == []


def test_trials_are_read_again_and_the_stages_take_turns(tmp_path):
    table = tmp_path / "kills.csv"
    trials = [
        Trial("models", "kill", 0, 0.25, -9, stops=2, commit="abc"),
        Trial("view", "term", 1, 1.5, 130, stops=1, faults=["exit code 1", "leftovers: a, b"], message="tomostain: x"),
    ]
    for trial in trials:
        add_trial(table, trial)
    assert read_trials(table) == trials
    assert "| view | term | 1 | 1 | 0 | 1 |" in report(trials)
    arguments = argparse.Namespace(stage=["models", "view"], how=["kill"], times=3, round=2)
    assert list(turns(arguments, trials)) == [
        ("models", "kill", [1]),
        ("view", "kill", [0, 1]),
        ("models", "kill", [2]),
        ("view", "kill", [2]),
    ]


def test_a_stage_that_fails_undisturbed_is_named(world, tmp_path):
    stage = Stage("nothing", ("models", "copy", "WORLD/gone", "my-model"))
    with pytest.raises(SystemExit, match="nothing: does not work undisturbed"):
        Harness(stage, world, tmp_path / "place").undisturbed()
