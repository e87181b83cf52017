"""Every example of `--help` ends with exit code 0 on tiny inputs, or stands in `NOT_EXECUTED` with the reason."""

import contextlib
import os

import pytest

from tests.support.help_examples import CHANGED, NOT_EXECUTED, OTHER_INPUTS, help_examples, run_example
from tests.support.help_inputs import help_inputs

LINES = help_examples()
EXECUTED = [line for line in LINES if line not in NOT_EXECUTED]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    root = tmp_path_factory.getbasetemp()
    return help_inputs(root.parent if "PYTEST_XDIST_WORKER" in os.environ else root)


@pytest.mark.parametrize("line", EXECUTED)
def test_the_example_runs(line, inputs, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    with contextlib.chdir(tmp_path):
        assert run_example(line, inputs, tmp_path) == 0, capfd.readouterr().err


def test_few_examples_are_not_executed():
    assert len(LINES) > 75
    assert set(NOT_EXECUTED) <= set(LINES)
    assert len(NOT_EXECUTED) <= 10


@pytest.mark.parametrize("text", [*CHANGED, *OTHER_INPUTS])
def test_what_is_changed_occurs_in_an_example(text):
    assert any(text in line for line in EXECUTED)
